"""Exceptions for user errors, each shown as one clear line."""

from textwrap import shorten


class PetsError(Exception):
    """A user's mistake or a missing resource: shown as one line, exit code 1, no traceback.

    The message names the thing, its value, what was expected and the fix.
    """

    def __init__(self, message: str) -> None:
        # A loader's worker process prepends its traceback; the message is what follows it.
        if message.startswith("Caught "):
            message = message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip()
        super().__init__(message)

    def _render_traceback_(self) -> list[str]:
        """Let IPython, too, show only the message."""
        return [str(self)]


class ConfigError(PetsError):
    """A config value, key or signature is wrong."""


class DataError(PetsError):
    """Photos, labels or splits are not what the config says."""


class WeightsError(PetsError):
    """Pretrained weights are unavailable or do not fit."""


class CacheError(PetsError):
    """The cache on disk cannot be written."""


class RankError(PetsError):
    """A process of a distributed run is missing, has ended, or has different files."""


class LostRankError(RankError):
    """Another process of the run has failed or was killed, so that this one ends, too."""


class RunError(PetsError):
    """A run directory or checkpoint is missing, unfinished or damaged."""


class ExportError(PetsError):
    """A run cannot be exported to a format, or the export does not match the run."""


def some(names: list[str], shown: int = 3) -> str:
    """Join the first few names and count the rest: `a, b, c and 12 more`."""
    head = ", ".join(printable(name, "") for name in names[:shown])
    return head if len(names) <= shown else f"{head} and {len(names) - shown:,} more"


def reason_of(error: BaseException) -> str:
    """Return another library's message as one line of at most 200 characters.

    It is cut between words. If there is no message, the name of the error's type is returned.
    """
    return shorten(str(error), 200, placeholder=" ...").strip() or type(error).__name__


def printable(text: str, kept: str = "\n\t") -> str:
    """Escape a text's control characters, except those in `kept`.

    File names can then not control the terminal.
    """
    controls = {c for c in text if ord(c) < 32 or 127 <= ord(c) < 160}.difference(kept)
    return text.translate({ord(c): repr(c)[1:-1] for c in controls})
