"""The report of an analysis: one HTML page, and the same pictures in TensorBoard."""
