"""What was typed for a sweep: kept in its folder, so that a resumed one means the same runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os.path import expanduser
from pathlib import Path

from pets.config import TrainConfig
from pets.errors import RunError
from pets.io.serialize import to_yaml
from pets.trust import PlainLoader, check_links, check_words

FILE = "sweep.yaml"
_RESUME = r"\+*sweep\.resume=(.*)"
# What a training is made of; the others are about this moment.
_MOMENT = ("cache_dir", "resume", "sweep", "trust")
_KEYS = [key for key in TrainConfig.model_fields if key not in _MOMENT]


def keep_words(folder: Path, overrides: Sequence[str]) -> None:
    """Write down what makes the runs of a new sweep: not where they run."""

    kept = [word for word in overrides if not _of_the_moment(word)]
    text = to_yaml({"words": kept}, width=1000)
    (folder / FILE).write_text(text, encoding="utf-8")


def kept_words(folder: Path) -> list[str]:
    """What the sweep in a folder began with; nothing where none is there.

    Raises RunError where it cannot be read.
    """
    import yaml

    file = folder / FILE
    if not file.exists():
        return []
    try:
        return [
            str(word) for word in yaml.load(file.read_text(encoding="utf-8"), PlainLoader)["words"]
        ]
    except (
        OSError,
        UnicodeDecodeError,
        yaml.YAMLError,
        LookupError,
        TypeError,
        RecursionError,
    ) as error:
        raise RunError(f"{file}: cannot be read ({' '.join(str(error).split())})") from error


def with_words_of_sweep(words: Sequence[str]) -> list[str]:
    """The words of a command line that has `sweep.resume=` and more to change in the sweep, after
    those that the sweep began with. A key that is typed again takes the place of the sweep's.

    Raises RunError where the sweep's words cannot be read.
    """
    resumed = [match[1] for word in words if (match := re.fullmatch(_RESUME, word, re.DOTALL))]
    folder = expanduser(resumed[-1].strip("'\"")) if resumed else ""  # noqa: PTH111
    if folder and "trust=true" not in words:
        check_links(Path(folder))  # before Hydra writes there
    kept = kept_words(Path(folder)) if resumed else []
    overrides = [word for word in words if re.match(r"~|[^-][^=]*=", word)]
    changes = [word for word in overrides if not _of_the_moment(word)]
    searched = "hydra/sweeper=optuna" in kept
    if not kept or (not changes and not searched):
        return list(words)  # what is unfinished, whatever was added since
    if "trust=true" not in words:
        kept = [word for word in kept if _key(word) != "cache_dir"]  # this user's own is used
        check_words(kept, Path(folder) / FILE, _KEYS)
    typed = {_key(word) for word in words}
    # Beside the others: between two groups of words Hydra takes no flag.
    place = next(at for at, word in enumerate(words) if re.match(_RESUME, word, re.DOTALL))
    return [*words[:place], *(w for w in kept if _key(w) not in typed), *words[place:]]


def _of_the_moment(word: str) -> bool:
    """What says where the runs of a sweep are trained, not which."""
    return re.match(r"\+*(sweep\.|trust=|hydra/(?!sweeper)|hydra\.(?!sweeper))", word) is not None


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
