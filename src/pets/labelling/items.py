"""Which photos are labelled and learned from, known by their bytes.

Copies of a file are one photo, and a photo of the run is known wherever it lies. Test photos of the
run never get in, nor do look-alikes of photos that it held out.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pets.config import LabelConfig
from pets.data.collect import unreadable
from pets.data.content_hash import content_hashes
from pets.data.diagnostics import Diagnostics, Severity
from pets.data.discovery import find_photos
from pets.data.duplicates import as_words, look_alike
from pets.data.external import labelled_as
from pets.data.inspection import inspect_photos
from pets.data.labels import label_rule
from pets.data.photos import Photo, Photos
from pets.data.splits import TEST, TRAIN, VALID
from pets.errors import DataError, some
from pets.training.checkpoints import Trained
from pets.training.evaluation import find_photos as find_photos_of_run

log = logging.getLogger(__name__)
NEW = "new"  # no photo of the run


@dataclass(frozen=True)
class Item:
    """One photo.

    Attributes:
        content: The hash of its bytes, in hexadecimal.
        file: Where it is read.
        label: Its class, by the run or by the rule for new photos; "" if it has none.
        split: Of the run: train or valid; or new.
        copies: Its files below the folder to label, each with the label that it had; none if it
            lies elsewhere, and then it is never shown.
    """

    content: str
    file: Path
    label: str
    split: str
    copies: tuple[Photo, ...] = ()


def photos_below(root: Path, trained: Trained, config: LabelConfig) -> dict[str, list[Photo]]:
    """Return the readable photos below the root by content, with the labels that the rule gives."""
    if not root.is_dir():
        raise DataError(f"data.root={root}: no such folder")
    data = labelled_as(config.data.model_copy(update={"root": str(root)}), trained.config.data)
    typed, classes = config.data.labelling, trained.model.classes
    paths = find_photos(root, data.images, Diagnostics())
    try:
        named = label_rule(data.label_from).label(paths, data, _Quiet())
    except DataError:
        if typed:
            raise
        named = {}  # the run's rule does not suit these photos
    known = sum(named.get(path) in classes for path in paths)
    if typed and not known:
        other = sorted({label for label in named.values() if label is not None})
        raise DataError(
            f"data.root={root}: no photo has a label that the run knows ({some(classes)}); labels "
            f"found: {some(other) or 'none'}; leave data.{next(iter(typed))} away to label them all"
        )
    bad = unreadable(root, paths)
    if bad:
        log.warning("left out %s photos that cannot be read: %s", f"{len(bad):,}",
                    some(sorted(bad)))  # fmt: skip
    paths = [path for path in paths if path not in bad]
    if not paths:
        raise DataError(f"data.root={root}: none of its photos can be read")
    log.info("%s: %s of %s photos have a label of the run's classes (data.label_from=%s)",
             root, f"{known:,}", f"{len(paths):,}", data.label_from)  # fmt: skip
    below = defaultdict(list)
    for path, content in zip(paths, content_hashes([root / path for path in paths]), strict=True):
        below[content.hex()].append(Photo(path, named.get(path) or "", NEW))
    return dict(below)


class _Quiet(Diagnostics):
    """Reports errors alone: photos without a label are what this command is for."""

    def emit(self, severity: Severity, kind: str, paths: Sequence[str], message: str) -> None:
        if severity == "error":
            raise DataError(message)


def items_of(
    root: Path, below: dict[str, list[Photo]], table: Photos, trained: Trained
) -> tuple[list[Item], dict[str, Path | None]]:
    """Return the items, and the file of each test photo by content; None if it is not here."""
    tests = {photo.content for photo in table.of(TEST)}
    # A copy of a test photo is one; a copy of a validation photo is held out, too.
    own = {photo.content: photo for split in (TRAIN, VALID) for photo in table.of(split)}
    own = {content: photo for content, photo in own.items() if content not in tests}
    files = {content: root / copies[0].path for content, copies in below.items()}
    if not below.keys() >= own.keys() | tests:
        found = find_photos_of_run(trained.run, trained.config.data.root).photos
        files = {photo.content: found.root / photo.path for photo in found.rows} | files
    if lost := [photo.path for content, photo in own.items() if content not in files]:
        raise DataError(
            f"{table.root}: {len(lost):,} of the run's training and validation photos are missing "
            f"or changed ({some(lost)}), from which the head learns; put them back"
        )
    given = {photo.path: photo.label for photo in table.rows}
    items = []
    for content, photo in own.items():
        copies = tuple(
            Photo(copy.path, given.get(copy.path, photo.label), photo.split)
            for copy in below.get(content, ())
        )
        items.append(Item(content, files[content], photo.label, photo.split, copies))
    classes = trained.model.classes
    for content, photos in below.items():
        if content not in own and content not in tests:
            label = next((photo.label for photo in photos if photo.label in classes), "")
            items.append(Item(content, files[content], label, NEW, tuple(photos)))
    return items, {content: files.get(content) for content in tests}


def without_look_alikes(
    items: list[Item], tests: list[Path], config: LabelConfig
) -> tuple[list[Item], list[list[int]], int]:
    """Return the items without new ones that look like a held-out photo, groups of rows of the
    others that look alike, and how many files were left out."""
    groups: list[list[int]] = []
    gone: set[int] = set()
    if config.near is not None:
        inspections = inspect_photos([*(item.file for item in items), *tests])
        # A picture of one colour has no hash.
        rows = [row for row, inspection in enumerate(inspections) if inspection.hash]
        hashes = as_words([inspections[row].hash for row in rows])
        mirrored = as_words([inspections[row].mirrored for row in rows])
        groups = [[rows[i] for i in g] for g in look_alike(hashes, mirrored, config.near)]
        for group in groups:
            if any(row >= len(items) or items[row].split == VALID for row in group):
                gone |= {r for r in group if r < len(items) and items[r].split == NEW}
    grouped = {row for group in groups for row in group}
    groups += [[row] for row in range(len(items)) if row not in grouped]
    left = [row for row in range(len(items)) if row not in gone]
    now = {row: i for i, row in enumerate(left)}
    groups = [[row for row in group if row in now] for group in groups]
    # The copies of one photo are alike, too.
    groups = [g for g in groups if len(g) > 1 or any(len(items[row].copies) > 1 for row in g)]
    alike = sum(len(items[row].copies) for row in gone)
    return [items[row] for row in left], [[now[row] for row in g] for g in groups], alike
