"""Which photo is for training, validation or test: at random, by lists, folders or a column."""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from pets.config import DataConfig
from pets.data.labels import read_table
from pets.data.remarks import Remarks
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


def split_photos(
    labels: dict[str, str], root: Path, config: DataConfig, remarks: Remarks
) -> dict[str, str]:
    """The split of every photo that has one: path -> train, valid or test.

    Where the source names no validation photos they are carved from train, stratified by label.
    Photos that cannot be put into a split are told to `remarks`. Raises DataError.
    """
    kind = config.split
    if kind == "auto":
        kind = "folders" if _has_split_folders(root / config.images) else "random"
        log.info("data.split=auto: %s", kind)
    if kind == "random":
        return _random(labels, config, remarks)
    named = {
        "official": _official,
        "folders": _folders,
        "column": _column,
    }[kind](labels, root, config, remarks)
    if VALID not in named.values():
        rest = {path: labels[path] for path, split in named.items() if split == TRAIN}
        named |= carve(rest, VALID, config.carve_pct, config.split_seed, remarks)
    return named


def carve(
    labels: dict[str, str], split: str, pct: float, seed: int, remarks: Remarks
) -> dict[str, str]:
    """A share of every label's photos put into `split`, at least one and never all; stratified.

    The choice depends on the seed and the paths of a label only, not on their order nor on the
    other labels. A label with a single photo is told to `remarks`.
    """
    by_label = defaultdict(list)
    for path, label in labels.items():
        by_label[label].append(path)
    carved: dict[str, str] = {}
    for label, paths in by_label.items():
        if len(paths) < 2:
            one = f"label {label}: one photo ({paths[0]}) cannot be both trained on and held out"
            remarks.error("tiny class", paths, f"{one}; add photos of it or remove it")
            continue
        count = min(max(round(pct * len(paths)), 1), len(paths) - 1)
        order = np.random.default_rng(derive(seed, split, label)).permutation(len(paths))
        ranked = sorted(paths)
        carved |= {ranked[i]: split for i in order[:count]}
    return carved


def _random(labels: dict[str, str], config: DataConfig, remarks: Remarks) -> dict[str, str]:
    splits = dict.fromkeys(labels, TRAIN)
    if config.test_pct > 0:
        splits |= carve(labels, TEST, config.test_pct, config.split_seed, remarks)
    rest = {path: label for path, label in labels.items() if splits[path] == TRAIN}
    # The share is of all photos, as the name says, not of what the test set left.
    share = config.valid_pct / (1 - config.test_pct)
    return splits | carve(rest, VALID, share, config.split_seed, remarks)


def _official(
    labels: dict[str, str], root: Path, config: DataConfig, remarks: Remarks
) -> dict[str, str]:
    """The lists of the Oxford layout: a photo's name without suffix is the first word of a line."""
    by_stem = {PurePosixPath(path).stem: path for path in labels}
    left_out = {PurePosixPath(path).stem for path in remarks.left_out}
    splits: dict[str, str] = {}
    for name, split in (("trainval.txt", TRAIN), ("test.txt", TEST)):
        file = root / "annotations" / name
        if not file.is_file():
            raise DataError(
                f"data.split=official: no {file}; use data.split=random, "
                "with data.photo_list=annotations/list.txt to keep to the listed photos"
            )
        stems = read_list(file)
        missing = [stem for stem in stems if stem not in by_stem and stem not in left_out]
        remarks.error("missing", missing, partial(_missing, file, len(stems), root / config.images))
        there = [stem for stem in stems if stem in by_stem]
        both = [by_stem[stem] for stem in there if by_stem[stem] in splits]
        remarks.error("two splits", both, partial(_in_both, file))
        splits |= {by_stem[stem]: split for stem in there}
    return splits


def _missing(file: Path, listed: int, folder: Path, stems: list[str]) -> str:
    return (
        f"{file}: names {len(stems):,} of {listed:,} photos that are not below {folder}: "
        f"{some(stems)}"
    )


def _in_both(file: Path, paths: list[str]) -> str:
    stems = [PurePosixPath(path).stem for path in paths]
    return f"{file}: photos that trainval.txt has too: {some(stems)}"


def read_list(file: Path) -> list[str]:
    """The first words of a list in the Oxford layout, without suffix; `#` starts a comment."""
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    words = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    return [PurePosixPath(word).stem if "." in word else word for word in words]


def _folders(
    labels: dict[str, str], root: Path, config: DataConfig, remarks: Remarks
) -> dict[str, str]:
    depth = len(PurePosixPath(config.images).parts)
    splits, outside = {}, []
    for path in labels:
        split = _NAMES.get(PurePosixPath(path).parts[depth].lower())
        if split is None:
            outside.append(path)
        else:
            splits[path] = split
    remarks.left_out |= set(outside)
    remarks.error(
        "no split",
        outside,
        lambda paths: (
            f"data.split=folders: {len(paths):,} photos lie in no train, valid or test folder "
            f"of {root / config.images}: {some(paths)}; move them or use data.split=random"
        ),
    )
    return splits


def _has_split_folders(folder: Path) -> bool:
    found = {_NAMES.get(path.name.lower()) for path in folder.iterdir() if path.is_dir()}
    return TRAIN in found and len(found & {VALID, TEST}) > 0


def _column(
    labels: dict[str, str], root: Path, config: DataConfig, remarks: Remarks
) -> dict[str, str]:
    table = read_table(root, config)
    prefix = PurePosixPath(config.images)
    values = {
        (prefix / path).as_posix(): value
        for path, value in zip(table["path"], table["split"], strict=True)
    }
    splits = {path: _NAMES.get(str(value).strip().lower()) for path, value in values.items()}
    strange = [path for path, split in splits.items() if split is None]
    remarks.left_out |= set(strange)
    remarks.error(
        "no split",
        strange,
        lambda paths: (
            f"data.split_column={config.split_column}: {paths[0]} has {values[paths[0]]!r}; "
            f"expected train, valid or test ({len(paths):,} such rows)"
        ),
    )
    return {path: split for path, split in splits.items() if split and path in labels}
