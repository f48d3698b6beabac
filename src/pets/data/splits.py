"""Split photos into train, valid and test: at random, by lists, by folders or by a column."""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from pets.config import DataConfig
from pets.data.diagnostics import Diagnostics
from pets.data.name_matching import PhotoNames, doubts, read_list
from pets.data.split_folders import (
    SPLIT_NAMES,
    UNUSED,
    check_split_folders,
    folders_of,
    outside_splits,
    split_folders,
)
from pets.data.split_folders import TEST as TEST
from pets.data.split_folders import TRAIN as TRAIN
from pets.data.split_folders import VALID as VALID
from pets.data.tables import read_table
from pets.errors import DataError, some
from pets.seeding import derive

log = logging.getLogger(__name__)


def split_photos(
    labels: dict[str, str], root: Path, config: DataConfig, diagnostics: Diagnostics
) -> dict[str, str]:
    """Split the photos as `data.split` says.

    If the source names no validation photos, they are carved from train, stratified by label.

    Args:
        labels: label by path.
        root: the data's root.
        config: the data config.
        diagnostics: receives the photos that cannot be assigned to a split.

    Returns:
        Path to train, valid or test; photos in no split are absent.

    Raises:
        DataError: A list or folder of the split is missing.
    """
    kind = config.split
    folders: dict[str, str] = {}
    if kind in ("auto", "folders") or (kind == "random" and config.label_from == "folder"):
        folders = split_folders(labels, config)
        if kind != "random":
            check_split_folders(folders, config)
        if folders or kind == "folders":
            out = outside_splits(labels, folders, config, diagnostics)
            labels = {path: label for path, label in labels.items() if path not in out}
    if kind == "auto":
        kind = "folders" if {VALID, TEST} & set(folders.values()) else "random"
        order = sorted(
            folders.items(), key=lambda item: [TRAIN, VALID, TEST, UNUSED].index(item[1])
        )
        pairs = ", ".join(f"{split}: {folder}/" for folder, split in order)
        log.info("data.split=auto: %s%s", kind, f" ({pairs})" if kind == "folders" else "")
    if kind == "random":
        return _random(labels, config, diagnostics)
    if kind == "folders":
        named = {path: folders[folders_of(path, config.images)[0]] for path in labels}
    elif kind == "official":
        named = _official(labels, root, config, diagnostics)
    else:
        named = _column(labels, root, config, diagnostics)
    if VALID not in named.values():
        rest = {path: labels[path] for path, split in named.items() if split == TRAIN}
        named |= carve(rest, VALID, config.carve_pct, config.split_seed, diagnostics)
    return named


def carve(
    labels: dict[str, str], split: str, pct: float, seed: int, diagnostics: Diagnostics
) -> dict[str, str]:
    """Assign a share `pct` of each label's photos to `split`, at least one and never all.

    The choice depends only on the seed and the paths of the label, not on their order or on other
    labels. Labels with a single photo are reported to `diagnostics`.

    Returns:
        Path to `split`, for the chosen photos.
    """
    by_label = defaultdict(list)
    for path, label in labels.items():
        by_label[label].append(path)
    carved: dict[str, str] = {}
    for label, paths in by_label.items():
        if len(paths) < 2:
            one = f"label {label}: one photo ({paths[0]}) cannot be both trained on and held out"
            diagnostics.error("tiny class", paths, f"{one}; add photos of it or remove it")
            continue
        count = min(max(round(pct * len(paths)), 1), len(paths) - 1)
        order = np.random.default_rng(derive(seed, split, label)).permutation(len(paths))
        ranked = sorted(paths)
        carved |= {ranked[i]: split for i in order[:count]}
    return carved


def _random(labels: dict[str, str], config: DataConfig, diagnostics: Diagnostics) -> dict[str, str]:
    splits = dict.fromkeys(labels, TRAIN)
    if config.test_pct > 0:
        splits |= carve(labels, TEST, config.test_pct, config.split_seed, diagnostics)
    rest = {path: label for path, label in labels.items() if splits[path] == TRAIN}
    # A share of all photos, as its name says, not of those that are left for training.
    share = config.valid_pct / (1 - config.test_pct)
    return splits | carve(rest, VALID, share, config.split_seed, diagnostics)


def _official(
    labels: dict[str, str], root: Path, config: DataConfig, diagnostics: Diagnostics
) -> dict[str, str]:
    """The lists of the Oxford data set: each line begins with a photo's path or name."""
    names = PhotoNames([*labels, *diagnostics.left_out], config.images)
    splits: dict[str, str] = {}
    for name, split in (("trainval.txt", TRAIN), ("test.txt", TEST)):
        file = root / "annotations" / name
        if not file.is_file():
            raise DataError(
                f"data.split=official: no {file}; use data.split=random, "
                "with data.photo_list=annotations/list.txt to keep to the listed photos"
            )
        listed = read_list(file, names)
        diagnostics.error("ambiguous", list(listed.doubtful), f"{file}: {doubts(listed.doubtful)}")
        total = len(listed.photos) + len(listed.missing)
        diagnostics.error(
            "missing", listed.missing, partial(_missing, file, total, root / config.images)
        )
        there = dict.fromkeys(path for path in listed.photos.values() if path in labels)
        both = [path for path in there if path in splits]
        diagnostics.error("two splits", both, partial(_in_both, file))
        splits |= dict.fromkeys(there, split)
    return splits


def _missing(file: Path, listed: int, folder: Path, names: list[str]) -> str:
    return (
        f"{file}: names {len(names):,} of {listed:,} photos that are not below {folder}: "
        f"{some(names)}"
    )


def _in_both(file: Path, paths: list[str]) -> str:
    return f"{file}: photos that trainval.txt has too: {some(paths)}"


def _column(
    labels: dict[str, str], root: Path, config: DataConfig, diagnostics: Diagnostics
) -> dict[str, str]:
    table = read_table(root, config, diagnostics)
    values = dict(zip(table["path"], table["split"], strict=True))
    splits = {path: SPLIT_NAMES.get(value.strip().casefold()) for path, value in values.items()}
    strange = [path for path, split in splits.items() if split is None]
    diagnostics.left_out |= set(strange)
    diagnostics.error(
        "no split",
        strange,
        lambda paths: (
            f"data.split_column={config.split_column}: {paths[0]} has "
            f"{repr(values[paths[0]]) if values[paths[0]] else 'an empty cell'}; expected train, "
            f"valid or test ({len(paths):,} such rows)"
        ),
    )
    return {path: split for path, split in splits.items() if split and path in labels}
