"""The photos to label and those that the head learns from, with their features."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pets.config import LabelConfig, LearnerConfig, PrecomputeConfig
from pets.data.photos import Photo, Photos
from pets.data.splits import TRAIN, VALID
from pets.errors import DataError, RunError
from pets.features.activations import activations
from pets.interpretation.suspects import unit_length
from pets.labelling.items import NEW, Item, items_of, photos_below, without_look_alikes
from pets.labelling.queue import Floats, Rows
from pets.models.classifier import as_vectors
from pets.training.checkpoints import Trained
from pets.training.evaluation import check_same_classes
from pets.training.table import load_table
from pets.training.trainer import build_trainer

log = logging.getLogger(__name__)


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
    below = photos_below(root, trained, config)
    items, tests = items_of(root, below, table, trained)
    locked = sum(len(below.get(content, ())) for content in tests)
    items, groups, alike = without_look_alikes(items, list(filter(None, tests.values())), config)
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
    valid = sum(item.split == VALID for item in own)
    log.info("%s photos to label, %s of them new; of the run %s to learn from, %s to measure with",
             f"{len(shown):,}", f"{len(new):,}", f"{len(own) - valid:,}", f"{valid:,}")  # fmt: skip
    # Apart, so that further new photos do not repeat the pass of the run's own.
    features = [_features(trained, part, config) for part in (own, new) if part]
    whole = unit_length(np.concatenate(features))
    return Pool(root, trained.model.classes, items, whole, groups, locked + alike)


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
