"""Photo classifiers by transfer learning, as experiments you can understand."""

__version__ = "0.1.0"
