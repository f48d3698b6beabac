"""The photos to label and those that the head learns from, with their features.

A photo is its bytes: copies of a file are one photo, and a photo of the run is known wherever it
lies. Test photos of the run never get in, nor do look-alikes of photos that it held out.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pets.config import LabelConfig, LearnerConfig, PrecomputeConfig
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
from pets.errors import DataError, RunError, some
from pets.features.activations import activations
from pets.interpretation.suspects import unit_length
from pets.labelling.queue import Floats, Rows
from pets.models.classifier import as_vectors
from pets.training.checkpoints import Trained
from pets.training.evaluation import check_same_classes, load_table
from pets.training.evaluation import find_photos as find_photos_of_run
from pets.training.trainer import build_trainer

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


@dataclass(frozen=True)
class Pool:
    """All photos; row i of every array is `items[i]`.

    Attributes:
        root: The folder to label.
        classes: Of the run.
        items: First those of the run, then the new ones.
        features: (N, C), of the run's network, of unit length.
        groups: Rows of photos that look alike.
        locked: How many photos below the root are left out: test photos, and look-alikes of
            photos that the run held out.
    """

    root: Path
    classes: list[str]
    items: list[Item]
    features: Floats
    groups: list[list[int]]
    locked: int = 0

    def labels(self) -> Rows:
        """Return the class of each photo before anything is decided (N,); -1 if it has none."""
        index = {name: i for i, name in enumerate(self.classes)}
        return np.array([index.get(item.label, -1) for item in self.items], dtype=np.int64)

    def held_out(self) -> NDArray[np.bool_]:
        """Return which photos the error is measured on (N,)."""
        return np.array([item.split == VALID for item in self.items], dtype=bool)

    def shown(self) -> NDArray[np.bool_]:
        """Return which photos may be shown (N,)."""
        return np.array([bool(item.copies) for item in self.items], dtype=bool)


def make_pool(trained: Trained, config: LabelConfig) -> Pool:
    """Find the photos, and compute the features that are not in the cache.

    Raises:
        ConfigError: How new photos are labelled is wrong.
        DataError: Photos of the run are missing, or there are none to label.
        RunError: The run held no validation photos out, or is damaged.
        CacheError: The cache cannot be written.
    """
    run = trained.run
    table = load_table(run, run.root(trained.config.data.root))
    if not table.of(VALID):
        raise RunError(
            f"run={run.path}: held no validation photos out, so that no error can be measured; "
            "expected a run trained with some (data.valid_pct=0.2)"
        )
    check_same_classes(trained, table)
    root = table.root if config.data.root is None else Path(config.data.root)
    below = _photos_below(root, trained, config)
    items, tests = _items(root, below, table, trained)
    locked = sum(len(below.get(content, ())) for content in tests)
    items, groups, alike = _without_look_alikes(items, list(filter(None, tests.values())), config)
    if locked or alike:
        log.info("locked: %s test photos, and %s that look like photos that the run held out",
                 f"{locked:,}", f"{alike:,}")  # fmt: skip
    shown = [item for item in items if item.copies]
    if not shown:
        raise DataError(
            f"data.root={root}: no photo to label; its {locked + alike:,} are test photos of the "
            "run, or look like photos that it held out"
        )
    own, new = ([x for x in items if (x.split == NEW) is is_new] for is_new in (False, True))
    log.info("%s photos to label, %s of them new; %s of the run to learn from",
             f"{len(shown):,}", f"{len(new):,}", f"{len(own):,}")  # fmt: skip
    # Apart, so that further new photos do not repeat the pass of the run's own.
    features = [_features(trained, part, config) for part in (own, new) if part]
    whole = unit_length(np.concatenate(features))
    return Pool(root, trained.model.classes, items, whole, groups, locked + alike)


def _photos_below(root: Path, trained: Trained, config: LabelConfig) -> dict[str, list[Photo]]:
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


def _items(
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


def _without_look_alikes(
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
    copied = [r for r, item in enumerate(items) if len(item.copies) > 1 and r not in grouped]
    left = [row for row in range(len(items)) if row not in gone]
    now = {row: i for i, row in enumerate(left)}
    kept = [[now[row] for row in group if row in now] for group in groups]
    kept = [
        group
        for group in kept
        if len(group) > 1 or any(len(items[left[r]].copies) > 1 for r in group)
    ]
    kept += [[now[row]] for row in copied]
    alike = sum(len(items[row].copies) for row in gone)
    return [items[row] for row in left], kept, alike


def _features(trained: Trained, items: list[Item], config: LabelConfig) -> Floats:
    """Return the pooled features (len(items), C), from the cache or by one pass."""
    model = trained.model
    precompute = PrecomputeConfig(enabled=True, views=0, engine="eager", dtype="float32")
    learner: LearnerConfig = trained.fed_by(config.data, config.trainer).config.model_copy(
        update={"precompute": precompute, "cache_dir": config.cache_dir}
    )
    rows = tuple(Photo(str(item.file.absolute()), item.label, item.split) for item in items)
    photos = Photos(Path("/"), rows, tuple(model.classes))
    found = activations(learner, model, photos, model.size, build_trainer)[TRAIN]
    contents = [bytes.fromhex(item.content) for item in items]
    if not found.rows.keys() >= set(contents):
        raise DataError("a photo has changed while it was being read; start again")
    chosen = torch.tensor([found.rows[content] for content in contents])
    pooled = model.backbone.from_activations(found.values[chosen, 0].float())
    features: Floats = as_vectors(pooled).numpy()
    if not np.isfinite(features).all():
        raise RunError(f"run={trained.run.path}: the features of its network are not finite")
    return features
