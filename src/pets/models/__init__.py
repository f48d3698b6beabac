"""From an architecture's name to a classifier: weights, body, layer groups, head, metrics."""
