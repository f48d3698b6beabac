"""Activations of the frozen body: computed once, kept, trained on."""
