"""The overrides of a sweep, saved in its folder, so that a resumed sweep means the same runs."""

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
_TRUSTED = "trust=true"
# The keys of a training; the others are about where and how it runs.
_KEYS = [k for k in TrainConfig.model_fields if k not in ("cache_dir", "resume", "sweep", "trust")]


def save_overrides(folder: Path, overrides: Sequence[str]) -> None:
    """Save the overrides of a new sweep that decide what is trained."""
    kept = [override for override in overrides if not _is_about_running(override)]
    text = to_yaml({"overrides": kept}, width=1000)
    (folder / FILE).write_text(text, encoding="utf-8")


def saved_overrides(folder: Path) -> list[str]:
    """The overrides that the sweep in a folder was started with; none where no sweep is there.

    Raises:
        RunError: the file cannot be read.
    """
    import yaml

    file = folder / FILE
    if not file.exists():
        return []
    damage = (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, RecursionError)
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), PlainLoader)
        return [str(override) for override in values["overrides"]]
    except damage as error:
        raise RunError(f"{file}: cannot be read ({' '.join(str(error).split())})") from error


def with_saved_overrides(arguments: Sequence[str]) -> list[str]:
    """Add the saved overrides to a command line that changes a sweep by `sweep.resume=<folder>`.

    A key that is typed again replaces the saved one. A command line that changes nothing stays as
    it is: it means the unfinished runs, whatever was added since.

    Raises:
        RunError: the saved overrides cannot be read, or do more than set values for a training.
    """
    resume = [match[1] for a in arguments if (match := re.fullmatch(_RESUME, a, re.DOTALL))]
    if not resume:
        return list(arguments)
    trusted = _TRUSTED in arguments
    folder = expanduser(resume[-1].strip("'\""))  # noqa: PTH111 - raises nothing without a home
    if folder and not trusted:
        check_links(Path(folder))  # before Hydra writes there
    saved = saved_overrides(Path(folder))
    overrides = [a for a in arguments if re.match(r"~|[^-][^=]*=", a)]
    changed = any(not _is_about_running(override) for override in overrides)
    if not saved or (not changed and "hydra/sweeper=optuna" not in saved):
        return list(arguments)
    if not trusted:
        saved = [override for override in saved if _key(override) != "cache_dir"]
        check_words(saved, Path(folder) / FILE, _KEYS)
    typed = {_key(argument) for argument in arguments}
    # Beside the others: Hydra takes no flag between two groups of overrides.
    at = next(i for i, a in enumerate(arguments) if re.match(_RESUME, a, re.DOTALL))
    return [*arguments[:at], *(o for o in saved if _key(o) not in typed), *arguments[at:]]


def _is_about_running(override: str) -> bool:
    """Whether it decides where and how the runs are trained, not which."""
    pattern = r"\+*(sweep\.|trust=|hydra/(?!sweeper)|hydra\.(?!sweeper))"
    return re.match(pattern, override) is not None


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
