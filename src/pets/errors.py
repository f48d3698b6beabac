"""The mistakes a user can make, and how each becomes one clear line."""


class PetsError(Exception):
    """A user's mistake or a missing resource: shown as one line, exit code 1, no traceback.

    The message names the thing, its value, what was expected and the fix.
    """

    def __init__(self, message: str) -> None:
        # A loader's worker process sends its traceback along; the message is what comes after it.
        if message.startswith("Caught "):
            message = message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip()
        super().__init__(message)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: there, too, the line alone."""
        return [str(self)]


class ConfigError(PetsError):
    """A config value, key or signature is wrong."""


class DataError(PetsError):
    """Photos, labels or splits are not what the config says."""


class WeightsError(PetsError):
    """Pretrained weights cannot be had or do not fit."""


class CacheError(PetsError):
    """The cache on disk cannot be written."""


class RankError(PetsError):
    """One of several processes of a training is missing, has ended, or sees other files."""


class LostRankError(RankError):
    """Another one of several processes has failed or was killed, so this one ends, too."""


class RunError(PetsError):
    """A run directory or checkpoint is missing, unfinished or damaged."""


class ExportError(PetsError):
    """A run cannot be had in a form, or what was made of it does not do as it does."""


def some(names: list[str], shown: int = 3) -> str:
    """The first few names and how many more there are: `a, b, c and 12 more`."""
    head = ", ".join(printable(name, "") for name in names[:shown])
    return head if len(names) <= shown else f"{head} and {len(names) - shown:,} more"


def printable(text: str, kept: str = "\n\t") -> str:
    """Escape a text's control characters, except those in `kept`: no file's name may act on a
    terminal."""
    controls = {c for c in text if ord(c) < 32 or 127 <= ord(c) < 160}.difference(kept)
    return text.translate({ord(c): repr(c)[1:-1] for c in controls})
