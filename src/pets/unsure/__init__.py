"""When a trained network is not sure: sets of classes with a promise, and "none of these"."""
