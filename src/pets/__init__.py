"""Photo classifiers by transfer learning, as experiments you can understand."""

from pets.system.cpu import spin_briefly

__version__ = "0.1.0"

spin_briefly()  # OpenMP reads it once, when torch is loaded
