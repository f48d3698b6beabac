"""A plan's stages: what is frozen, at which rates, and the Lightning module that trains one."""
