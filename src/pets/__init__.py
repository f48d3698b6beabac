"""Photo classifiers by transfer learning, as experiments you can understand."""

from importlib.metadata import version

__version__: str = version("pets")
