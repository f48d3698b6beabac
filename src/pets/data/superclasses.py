"""Superclasses: the group of each class, such as the species of a breed (`data.superclass`)."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
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
    if given is None:
        return {}
    if isinstance(given, str):
        found = _by_column(config, given, photos)
    else:
        found = _by_pattern(given, photos.classes)
    several = {name: sorted(its) for name, its in found.items() if len(its) > 1}
    if several:
        name, its = next(iter(several.items()))
        raise DataError(
            f"data.superclass={given}: {name} has {some(its)}; expected one superclass for each "
            "class"
        )
    groups = {name: next(iter(its)) for name, its in found.items() if its}
    if not groups:
        log.warning("data.superclass=%s: none of the classes has one", given)
    return groups


def _by_pattern(patterns: Mapping[str, str], classes: list[str]) -> dict[str, set[str]]:
    return {
        name: {group for group, pattern in patterns.items() if re.search(pattern, name)}
        for name in classes
    }


def _by_column(config: DataConfig, column: str, photos: Photos) -> dict[str, set[str]]:
    names = PhotoNames([row.path for row in photos.rows], config.images, Path(config.root))
    values = column_of_table(names, config, column)
    found: dict[str, set[str]] = defaultdict(set)
    for row in photos.rows:
        if value := values.get(row.path, "").strip():
            found[row.label].add(value)
    return {name: found[name] for name in photos.classes}
