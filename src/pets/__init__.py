"""Photo classifiers by transfer learning, as experiments you can understand."""

import sys
from typing import TYPE_CHECKING

from pets.system.cpu import hide_warnings_of_ranks, spin_briefly

if sys.platform == "win32":
    raise ImportError("pets runs on Linux and macOS; on Windows use WSL, which is a Linux")

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Only when it is asked for: `import pets` is part of every command.
        from pets.system.installation import version

        return version()


hide_warnings_of_ranks()
spin_briefly()  # OpenMP reads it once, when torch is loaded
