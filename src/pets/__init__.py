"""Photo classifiers by transfer learning, as experiments you can understand."""

from pets.system.cpu import hide_warnings_of_ranks, spin_briefly

__version__ = "0.1.0"

hide_warnings_of_ranks()
spin_briefly()  # OpenMP reads it once, when torch is loaded
