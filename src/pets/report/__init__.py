"""The report of an analysis: one page to look at, and the same pictures in TensorBoard."""
