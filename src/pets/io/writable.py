"""A check before long work: can its results be written?"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pets.errors import ConfigError


def check_writable(*folders: Path) -> None:
    """Check that files can be written to these folders, which need not exist yet.

    Raises:
        ConfigError: A folder, or the nearest one above it that exists, takes no files.
    """
    for folder in folders:
        try:
            nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
            with tempfile.TemporaryFile(dir=nearest):
                pass
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(
                f"{folder}: cannot be written ({reason}); see that you may write there"
            ) from error
