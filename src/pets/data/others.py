"""Photos that are not the run's, labelled for a model that exists."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pets.config import DataConfig
from pets.data.collect import labelled, name_photos
from pets.data.photos import OTHER, Photo, Photos
from pets.data.remarks import Remarks
from pets.errors import DataError, some
from pets.validation import typed_values

log = logging.getLogger(__name__)


def other_photos(
    root: Path,
    config: DataConfig,
    classes: list[str],
    label_from: str | None = None,
    label_regex: str | None = None,
) -> Photos:
    """Photos of another folder for a model that knows `classes`, all in the split `other`.

    They are labelled as the run's are, or by the rule given here. Those whose label the model does
    not know are left out, and that is said. Raises DataError where none is left.
    """
    changes: dict[str, Any] = {
        "root": str(root),
        "photo_list": None,
        "relabel": None,
        "exclude": None,
        "split_folders": {} if config.split_folders == {} else None,
    }
    changes["images"] = config.images if (root / config.images).is_dir() else "."
    if label_from not in (None, config.label_from):
        changes |= {"label_from": label_from, "label_regex": None}
    if label_regex is not None:
        changes |= {"label_from": "filename", "label_regex": label_regex}
    values = config.model_dump(by_alias=True) | changes | {"split": "random", "split_column": None}
    if values["label_from"] != "table":
        values["table"] = None
    if values["label_from"] != "folder":
        values["class_folder"] = None
    try:
        labels = labelled(name_photos(typed_values(DataConfig, values), Remarks()))
    except DataError as error:
        raise DataError(
            f"{error}; for photos that are labelled in another way than the run's: "
            "data.label_from=folder, or data.label_regex"
        ) from error
    strange = sorted(set(labels.values()) - set(classes))
    if strange:
        without = sum(label in strange for label in labels.values())
        log.warning(
            "left out %s photos of %s: the model does not know them", f"{without:,}", some(strange)
        )
    rows = tuple(Photo(p, label, OTHER) for p, label in labels.items() if label in classes)
    if not rows:
        raise DataError(
            f"data.root={root}: no photo has a label that the model knows ({some(classes)}); it "
            f"found {some(strange)}; data.label_from and data.label_regex say how to label them"
        )
    return Photos(root, rows)
