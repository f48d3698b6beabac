"""A plan's stages: what is frozen, at which rates, one `fit` after the other."""
