"""External photos: not the run's own, with labels for evaluating its model."""

from __future__ import annotations

import logging
from pathlib import Path
from unicodedata import normalize

from pets.config import DataConfig, ExternalDataConfig
from pets.config.data import CARVE_PCT
from pets.config.validation import typed_values
from pets.data.collect import label_photos, unreadable
from pets.data.diagnostics import Diagnostics
from pets.data.photos import OTHER, Photo, Photos
from pets.errors import ConfigError, DataError, some

log = logging.getLogger(__name__)


def external_photos(asked: ExternalDataConfig, config: DataConfig, classes: list[str]) -> Photos:
    """Collect the photos below `asked.root`, all in the split `other`.

    They are labelled like the run's photos (`config`), unless `asked` overrides it. Photos without
    a label, or with one that is none of the model's `classes`, are left out and logged.

    Raises:
        ConfigError: The labelling options contradict each other.
        DataError: No photo is left.
    """
    assert asked.root is not None
    root = Path(asked.root)
    try:
        named = label_photos(labelled_as(asked, config), Diagnostics())
    except DataError as error:
        raise DataError(
            f"{error}; if these photos are labelled differently from the run's, set "
            "data.label_from=folder, data.label_regex or data.table"
        ) from error
    labels = {path: label for path, label in named.items() if label is not None}
    # Some systems write an accent as a character of its own.
    known = {normalize("NFC", name): name for name in classes}
    labels = {path: known.get(normalize("NFC", label), label) for path, label in labels.items()}
    strange = sorted(set(labels.values()) - set(classes))
    rows = tuple(Photo(path, label, OTHER) for path, label in labels.items() if label in classes)
    if not rows:
        raise DataError(
            f"data.root={root}: no photo has a label that the model knows ({some(classes)}); "
            f"labels found: {some(strange)}; data.label_from and data.label_regex set how to label"
        )
    if strange:
        log.warning(
            "left out %s photos of %s, which the model does not know (it knows %s)",
            f"{len(labels) - len(rows):,}", some(strange), some(classes),
        )  # fmt: skip
    return Photos(root, rows, tuple(classes))


def readable(photos: Photos) -> Photos:
    """Return the photos that can be read, and log the others. Raises DataError if none can."""
    bad = unreadable(photos.root, [photo.path for photo in photos.rows])
    rows = tuple(photo for photo in photos.rows if photo.path not in bad)
    if not rows:
        raise DataError(f"{photos.root}: none of the photos could be read")
    return Photos(photos.root, rows, photos.known)


def result_name(photos: Photos) -> str:
    """Return a name for results on these photos, unique to the photos and their labels."""
    return f"other_{photos.root.resolve().name}_{photos.fingerprint[:6]}"


def labelled_as(asked: ExternalDataConfig, config: DataConfig) -> DataConfig:
    """Return the run's data config, changed for external photos, as `asked` says."""
    root, typed = Path(asked.root or ""), dict(asked.labelling)
    values = config.model_dump(by_alias=True) | {
        "root": str(root),
        "images": config.images if (root / config.images).is_dir() else ".",
        "split": "random",
        "on_unlabelled": "skip",
        "split_folders": {} if config.split_folders == {} else None,
        **dict.fromkeys(("photo_list", "relabel", "exclude", "split_column", "folds", "fold")),
        **dict.fromkeys(("group_column", "group_regex", "group_near")),
        "carve_pct": CARVE_PCT,
    }
    for key, rule in (("label_regex", "filename"), ("table", "table")):
        if key in typed:
            typed.setdefault("label_from", rule)
    rule = typed.get("label_from", config.label_from)
    if rule != config.label_from:
        values |= dict.fromkeys(("label_regex", "table", "class_folder"))
    if rule != "superclass":
        values["superclass"] = None
    values |= typed
    if rule == "table":
        values["path_column"] = values["path_column"] or "path"
        values["label_column"] = values["label_column"] or "label"
        if values["table"] and (here := Path(values["table"])).is_file():
            values["table"] = str(here.resolve())  # relative to the working directory
    else:
        for key in ("table", "path_column", "label_column"):
            if key in typed:
                raise ConfigError(
                    f"data.{key}={typed[key]}: has no effect with label_from={rule}; set "
                    "data.label_from=table"
                )
    return typed_values(DataConfig, values)
