"""Photos that are not the run's, labelled for a model that exists."""

from __future__ import annotations

import logging
from pathlib import Path
from unicodedata import normalize

from pets.config import DataConfig, OtherDataConfig
from pets.config.validation import typed_values
from pets.data.collect import labelled, name_photos, unreadable
from pets.data.diagnostics import Remarks
from pets.data.photos import OTHER, Photo, Photos
from pets.errors import ConfigError, DataError, some

log = logging.getLogger(__name__)


def other_photos(asked: OtherDataConfig, config: DataConfig, classes: list[str]) -> Photos:
    """The photos below `asked.root` for a model that knows `classes`, all in the split `other`.

    They are labelled as the run's are, or as asked. Those without a label, and those whose label
    the model does not know, are left out, and that is said. Raises ConfigError, DataError; that
    where none is left, too.
    """
    assert asked.root is not None
    root = Path(asked.root)
    try:
        labels = labelled(name_photos(_labelled_as(asked, config), Remarks()))
    except DataError as error:
        raise DataError(
            f"{error}; for photos that are labelled in another way than the run's: "
            "data.label_from=folder, data.label_regex or data.table"
        ) from error
    known = {_composed(name): name for name in classes}
    strange = sorted({label for label in labels.values() if _composed(label) not in known})
    rows = tuple(
        Photo(path, known[_composed(label)], OTHER)
        for path, label in labels.items()
        if _composed(label) in known
    )
    if not rows:
        raise DataError(
            f"data.root={root}: no photo has a label that the model knows ({some(classes)}); it "
            f"found {some(strange)}; data.label_from and data.label_regex say how to label them"
        )
    if strange:
        alike = {name.casefold(): name for name in classes}
        close = [f"{s} is {alike[s.casefold()]} there" for s in strange if s.casefold() in alike]
        log.warning(
            "left out %s photos of %s: the model does not know them%s",
            f"{len(labels) - len(rows):,}", some(strange), f" ({some(close)})" if close else "",
        )  # fmt: skip
    return Photos(root, rows, tuple(classes))


def readable(photos: Photos) -> Photos:
    """Those that can be read; the others are said. Raises DataError where none can."""
    bad = unreadable(photos.root, [photo.path for photo in photos.rows])
    rows = tuple(photo for photo in photos.rows if photo.path not in bad)
    if not rows:
        raise DataError(f"{photos.root}: none of the photos could be read")
    return Photos(photos.root, rows, photos.known)


def place_of(others: Photos) -> str:
    """What the results on these photos are called: other photos, or labels, have another name."""
    return f"other_{others.root.resolve().name}_{others.fingerprint[:6]}"


def _labelled_as(asked: OtherDataConfig, config: DataConfig) -> DataConfig:
    """The run's data config for the other photos."""
    root, values = Path(asked.root or ""), config.model_dump(by_alias=True)
    values |= {
        "root": str(root),
        "images": config.images if (root / config.images).is_dir() else ".",
        "split": "random",
        "on_unlabelled": "skip",
        "split_folders": {} if config.split_folders == {} else None,
        **dict.fromkeys(("photo_list", "relabel", "exclude", "split_column")),
    }
    typed = dict(asked.labelling)
    if "label_regex" in typed:
        typed.setdefault("label_from", "filename")
    if "table" in typed:
        typed.setdefault("label_from", "table")
    if typed.get("label_from", config.label_from) != config.label_from:
        values |= dict.fromkeys(("label_regex", "table", "class_folder"))
    values |= typed
    if values["label_from"] == "table":
        values["path_column"] = values["path_column"] or "path"
        values["label_column"] = values["label_column"] or "label"
        # A table's paths are as of the root, unless they are as of the run's folder of images.
        if "table" in typed and config.label_from != "table":
            values["images"] = "."
        if (here := Path(values["table"] or "")).is_file() and not (root / here).is_file():
            values["table"] = str(here.resolve())  # as seen from here, not from the root
    elif strange := {"table", "path_column", "label_column"} & set(typed):
        key = sorted(strange)[0]
        raise ConfigError(
            f"data.{key}={typed[key]}: has no effect with label_from={values['label_from']}; set "
            "data.label_from=table"
        )
    return typed_values(DataConfig, values)


def _composed(label: str) -> str:
    """The same signs in the same bytes: some systems write an accent as a sign of its own."""
    return normalize("NFC", label)
