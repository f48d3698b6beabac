"""Activations of the frozen backbone: computed once, kept, trained on."""
