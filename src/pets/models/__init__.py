"""From an architecture's name to a classifier: weights, backbone, layer groups, head, metrics."""
