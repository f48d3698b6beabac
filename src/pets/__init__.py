"""Photo classifiers by transfer learning, as experiments you can understand."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__: str = version("pets")
except PackageNotFoundError:  # a checkout on PYTHONPATH, as on a machine where nothing is installed
    __version__ = "0+checkout"
