"""Photo classifiers by transfer learning, as experiments you can understand."""

from importlib.metadata import version

from pets.cores import spin_briefly

__version__: str = version("pets")

spin_briefly()  # OpenMP reads it once, when torch is loaded
