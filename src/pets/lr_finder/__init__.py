"""The lr finder: mock training, suggestions from its curve, their picture."""
