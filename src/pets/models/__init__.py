"""From an architecture's name to a classifier: weights, body, groups, head, Lightning module."""
