"""Which photo is for training, validation or test: at random, by lists, folders or a column."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np

from pets.config import DataConfig
from pets.data.labels import read_table
from pets.errors import DataError, some
from pets.seeding import derive

log = logging.getLogger(__name__)
TRAIN, VALID, TEST = "train", "valid", "test"
# What people call their folders and mark their rows with.
_NAMES = {
    "train": TRAIN, "training": TRAIN, "trainval": TRAIN,
    "valid": VALID, "val": VALID, "validation": VALID,
    "test": TEST, "testing": TEST,
}  # fmt: skip


def split_photos(labels: dict[str, str], root: Path, config: DataConfig) -> dict[str, str]:
    """The split of every photo that has one: path -> train, valid or test.

    Where the source names no validation photos they are carved from train, stratified by label.
    Raises DataError.
    """
    kind = config.split
    if kind == "auto":
        kind = "folders" if _has_split_folders(root / config.images) else "random"
        log.info("data.split=auto: %s", kind)
    if kind == "random":
        return _random(labels, config)
    named = {
        "official": _official,
        "folders": _folders,
        "column": _column,
    }[kind](labels, root, config)
    if VALID not in named.values():
        rest = {path: labels[path] for path, split in named.items() if split == TRAIN}
        named |= carve(rest, VALID, config.carve_pct, config.split_seed)
    return named


def carve(labels: dict[str, str], split: str, pct: float, seed: int) -> dict[str, str]:
    """A share of every label's photos put into `split`, at least one and never all; stratified.

    The choice depends on the seed and the paths of a label only, not on their order nor on the
    other labels. Raises DataError for a label with a single photo.
    """
    by_label = defaultdict(list)
    for path, label in labels.items():
        by_label[label].append(path)
    carved: dict[str, str] = {}
    for label, paths in by_label.items():
        if len(paths) < 2:
            raise DataError(
                f"label {label}: one photo ({paths[0]}) cannot be both trained on and held out; "
                "add photos of it or remove it"
            )
        count = min(max(round(pct * len(paths)), 1), len(paths) - 1)
        order = np.random.default_rng(derive(seed, split, label)).permutation(len(paths))
        ranked = sorted(paths)
        carved |= {ranked[i]: split for i in order[:count]}
    return carved


def _random(labels: dict[str, str], config: DataConfig) -> dict[str, str]:
    splits = dict.fromkeys(labels, TRAIN)
    if config.test_pct > 0:
        splits |= carve(labels, TEST, config.test_pct, config.split_seed)
    rest = {path: label for path, label in labels.items() if splits[path] == TRAIN}
    # The share is of all photos, as the name says, not of what the test set left.
    share = config.valid_pct / (1 - config.test_pct)
    return splits | carve(rest, VALID, share, config.split_seed)


def _official(labels: dict[str, str], root: Path, config: DataConfig) -> dict[str, str]:
    """The lists of the Oxford layout: a photo's name without suffix is the first word of a line."""
    by_stem = {PurePosixPath(path).stem: path for path in labels}
    splits: dict[str, str] = {}
    for name, split in (("trainval.txt", TRAIN), ("test.txt", TEST)):
        file = root / "annotations" / name
        if not file.is_file():
            raise DataError(
                f"data.split=official: no {file}; use data.split=random, "
                "with data.photo_list=annotations/list.txt to keep to the listed photos"
            )
        stems = read_list(file)
        missing = [stem for stem in stems if stem not in by_stem]
        if missing:
            raise DataError(
                f"{file}: names {len(missing):,} of {len(stems):,} photos that are not below "
                f"{root / config.images}: {some(missing)}"
            )
        both = [stem for stem in stems if by_stem[stem] in splits]
        if both:
            raise DataError(f"{file}: photos that trainval.txt has too: {some(both)}")
        splits |= {by_stem[stem]: split for stem in stems}
    return splits


def read_list(file: Path) -> list[str]:
    """The first words of a list in the Oxford layout, without suffix; `#` starts a comment."""
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    words = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    return [PurePosixPath(word).stem if "." in word else word for word in words]


def _folders(labels: dict[str, str], root: Path, config: DataConfig) -> dict[str, str]:
    depth = len(PurePosixPath(config.images).parts)
    splits, outside = {}, []
    for path in labels:
        split = _NAMES.get(PurePosixPath(path).parts[depth].lower())
        if split is None:
            outside.append(path)
        else:
            splits[path] = split
    if outside:
        raise DataError(
            f"data.split=folders: {len(outside):,} photos lie in no train, valid or test folder "
            f"of {root / config.images}: {some(outside)}; move them or use data.split=random"
        )
    return splits


def _has_split_folders(folder: Path) -> bool:
    found = {_NAMES.get(path.name.lower()) for path in folder.iterdir() if path.is_dir()}
    return TRAIN in found and len(found & {VALID, TEST}) > 0


def _column(labels: dict[str, str], root: Path, config: DataConfig) -> dict[str, str]:
    table = read_table(root, config)
    prefix = PurePosixPath(config.images)
    splits: dict[str, str] = {}
    for path, value in zip(table["path"], table["split"], strict=True):
        key = (prefix / path).as_posix()
        split = _NAMES.get(str(value).strip().lower())
        if split is None:
            raise DataError(
                f"data.split_column={config.split_column}: {path} has {value!r}; "
                "expected train, valid or test"
            )
        if key in labels:
            splits[key] = split
    return splits
