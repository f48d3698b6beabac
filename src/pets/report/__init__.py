"""The report of a study: one page to look at, and the same pictures in TensorBoard."""
