"""The overrides of a sweep, saved in its folder, so that a resumed sweep has the same runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from os.path import expanduser
from pathlib import Path

from pets.config import TrainConfig
from pets.errors import RunError
from pets.io.atomic import regular
from pets.io.serialize import to_yaml
from pets.trust import PlainLoader, check_links, check_words

FILE = "sweep.yaml"
_RESUME = re.compile(r"\+*sweep\.resume=(.*)", re.DOTALL)
# Overrides that decide where and how the runs are trained, not which.
_ABOUT_RUNNING = re.compile(r"\+*(sweep\.|trust=|hydra/(?!sweeper)|hydra\.(?!sweeper))")
# The keys that define a training run; the others are about where and how it runs.
_KEYS = [k for k in TrainConfig.model_fields if k not in ("cache_dir", "resume", "sweep", "trust")]


def save_overrides(folder: Path, overrides: Sequence[str]) -> None:
    """Save the overrides of a new sweep that decide what is trained."""
    kept = [override for override in overrides if not _ABOUT_RUNNING.match(override)]
    text = to_yaml({"overrides": kept}, width=1000)
    (folder / FILE).write_text(text, encoding="utf-8")


def saved_overrides(folder: Path) -> list[str]:
    """Return the overrides that the sweep in a folder was started with; [] if there is none.

    Raises:
        RunError: The file cannot be read.
    """
    import yaml

    file = folder / FILE
    if not file.exists():
        return []
    try:
        values = yaml.load(regular(file).read_text(encoding="utf-8"), PlainLoader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise RunError(f"{file}: cannot be read ({' '.join(str(error).split())})") from error
    overrides = values.get("overrides") if isinstance(values, dict) else None
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise RunError(
            f"{file}: is not a file of a sweep; expected overrides: with a list of <key>=<value>, "
            "as pets train writes it"
        )
    return overrides


def with_saved_overrides(arguments: Sequence[str]) -> list[str]:
    """Add the saved overrides to a command line that changes a sweep by `sweep.resume=<folder>`.

    A key that is typed again replaces the saved one. A command line without changes is returned as
    it is: it refers to all unfinished runs, including runs added later.

    Raises:
        RunError: The saved overrides cannot be read, or do more than set values of a run.
    """
    resume = {i: match[1] for i, a in enumerate(arguments) if (match := _RESUME.fullmatch(a))}
    if not resume:
        return list(arguments)
    trusted = "trust=true" in arguments
    given = list(resume.values())[-1].strip("'\"")
    folder = Path(expanduser(given))  # noqa: PTH111 - raises nothing without a home
    if given and not trusted:
        check_links(folder)  # before Hydra writes there
    saved = saved_overrides(folder)
    overrides = [a for a in arguments if re.match(r"~|[^-][^=]*=", a)]
    changed = not all(map(_ABOUT_RUNNING.match, overrides))
    if not saved or (not changed and "hydra/sweeper=optuna" not in saved):
        return list(arguments)
    if not trusted:
        saved = [override for override in saved if _key(override) != "cache_dir"]
        check_words(saved, folder / FILE, _KEYS)
    typed = {_key(argument) for argument in arguments}
    # Next to the others: Hydra allows no flag between two groups of overrides.
    at = min(resume)
    return [*arguments[:at], *(o for o in saved if _key(o) not in typed), *arguments[at:]]


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
