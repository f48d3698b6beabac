"""Superclasses: the group of each class, such as the species of a breed (`data.superclass`)."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from pets.config import DataConfig
from pets.data.name_matching import PhotoNames
from pets.data.photos import Photos
from pets.data.tables import column_of_table
from pets.errors import DataError, some

log = logging.getLogger(__name__)


def superclasses_of(config: DataConfig, photos: Photos) -> dict[str, str]:
    """Return the superclass of each class that has one, by `data.superclass`.

    Raises:
        DataError: A class has several.
    """
    given = config.superclass
    if given is None or config.label_from == "superclass":  # then the classes are the groups
        return {}
    if isinstance(given, str):
        groups = _only(given, _by_column(config, given, photos))
    else:
        groups = by_pattern(given, photos.classes)
    if not groups:
        log.warning("data.superclass=%s: none of the classes has one", given)
    return groups


def by_pattern(patterns: Mapping[str, str], classes: Iterable[str]) -> dict[str, str]:
    """Return the superclass of each class whose name matches its pattern.

    Raises:
        DataError: A class matches several.
    """
    found = {
        name: {group for group, pattern in patterns.items() if re.search(pattern, name)}
        for name in classes
    }
    return _only(patterns, found)


def _only(given: object, found: dict[str, set[str]]) -> dict[str, str]:
    several = {name: sorted(its) for name, its in found.items() if len(its) > 1}
    if several:
        name, its = next(iter(several.items()))
        raise DataError(
            f"data.superclass={given}: {name} has {some(its)}; expected one superclass for each "
            "class"
        )
    return {name: next(iter(its)) for name, its in found.items() if its}


def _by_column(config: DataConfig, column: str, photos: Photos) -> dict[str, set[str]]:
    names = PhotoNames([row.path for row in photos.rows], config.images, Path(config.root))
    values = column_of_table(names, config, column)
    found: dict[str, set[str]] = defaultdict(set)
    for row in photos.rows:
        if value := values.get(row.path, "").strip():
            found[row.label].add(value)
    return {name: found[name] for name in photos.classes}
