"""Split photos into train, valid and test: at random, as folds, by lists, folders or a column."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from pets.config import DataConfig
from pets.data.diagnostics import Diagnostics
from pets.data.folds import held_out_groups, one_fold, photo_groups
from pets.data.name_matching import PhotoNames
from pets.data.tables import column_of_table
from pets.errors import DataError, some
from pets.seeding import derive

log = logging.getLogger(__name__)

TRAIN, VALID, TEST = "train", "valid", "test"
_DRAWN = (
    "random",
    "kfold",
)  # values of `data.split` for which the source's own splits do not count
UNUSED = "unused"  # split of a folder that `data.split_folders` ignores
# Usual names of folders and values of split columns, in lower case.
SPLIT_NAMES = {
    "train": TRAIN, "training": TRAIN, "trainval": TRAIN,
    "valid": VALID, "val": VALID, "validation": VALID, "dev": VALID, "eval": VALID,
    "test": TEST, "testing": TEST, "holdout": TEST,
}  # fmt: skip


def split_photos(
    labels: dict[str, str], config: DataConfig, diagnostics: Diagnostics
) -> dict[str, str]:
    """Return the split of each labelled path, according to `data.split`; some may be in none.

    If the source names no validation photos, they are carved from train, stratified by label.
    Raises DataError if a list or folder of the split is missing.
    """
    kind = config.split
    folders: dict[str, str] = {}
    if kind in ("auto", "folders") or (kind in _DRAWN and config.label_from == "folder"):
        folders = split_folders(labels, config)
        if kind not in _DRAWN:
            _check_split_folders(folders, config)
        if folders or kind == "folders":
            out = _outside_splits(labels, folders, config, diagnostics)
            labels = {path: label for path, label in labels.items() if path not in out}
    if kind == "auto":
        kind = "folders" if {VALID, TEST} & set(folders.values()) else "random"
        pairs = ", ".join(f"{split}: {folder}/" for folder, split in sorted(folders.items()))
        drawn = "random, since no folder is named like valid or test"
        log.info("data.split=auto: %s", f"folders ({pairs})" if kind == "folders" else drawn)
    if kind in _DRAWN:
        return _random(labels, config, diagnostics)
    if kind == "folders":
        named = {path: folders[folders_of(path, config.images)[0]] for path in labels}
    elif kind == "official":
        named = _official(labels, config, diagnostics)
    else:
        named = _column(labels, config, diagnostics)
    if VALID not in named.values():
        rest = {path: labels[path] for path, split in named.items() if split == TRAIN}
        named |= carve(rest, VALID, config.carve_pct, config.split_seed, diagnostics)
    return named


def carve(
    labels: dict[str, str],
    split: str,
    pct: float,
    seed: int,
    diagnostics: Diagnostics,
    groups: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Assign a fraction `pct` of each label's photos to `split`, at least one and never all.

    The choice depends only on the seed and the paths of the label, not on their order or on other
    labels. Labels with a single photo are reported to `diagnostics`. With `groups`, whole groups
    are assigned, and the choice depends on all labels.
    """
    if groups is not None:
        chosen = held_out_groups(labels, groups, pct, derive(seed, split), diagnostics)
        return dict.fromkeys(chosen, split)
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


def folders_of(path: str, images: str) -> tuple[str, ...]:
    """Return the folders between the photos' folder `images` and a photo."""
    return PurePosixPath(path).parts[len(PurePosixPath(images).parts) : -1]


def split_folders(paths: Iterable[str], config: DataConfig) -> dict[str, str]:
    """Return the split of each split folder; empty if there are none.

    Folders named by `data.split_folders` always count. Folders with a usual name count if one of
    them is for training. With labels from folders, that one must contain class folders or be
    next to another split's folder, since a class may be called train.
    """
    if config.split_folders == {}:
        return {}
    deep: dict[str, bool] = {}
    for path in paths:
        if folders := folders_of(path, config.images):
            deep[folders[0]] = deep.get(folders[0], False) or len(folders) > 1
    chosen = config.named_splits
    # The usual names of a split do not count if the user has named its folder.
    usual = {name: split for name, split in SPLIT_NAMES.items() if split not in chosen.values()}
    splits = {f: s for f in deep if (s := chosen.get(f) or usual.get(f.casefold()))}
    if chosen or config.split == "folders":
        return splits
    train = [folder for folder, split in splits.items() if split == TRAIN]
    inside = config.label_from != "folder" or any(deep[folder] for folder in train)
    return splits if train and (inside or len(set(splits.values())) > 1) else {}


def _check_split_folders(splits: dict[str, str], config: DataConfig) -> None:
    """Raise DataError for two folders of the same split, and for a missing folder."""
    images = Path(config.root) / config.images
    chosen = config.named_splits
    if gone := [folder for folder in chosen if not (images / folder).is_dir()]:
        there = sorted(path.name for path in images.iterdir() if path.is_dir())
        raise DataError(
            f"data.split_folders: {images} has no folder {gone[0]}; it has {some(there, 8)}"
        )
    for split in (TRAIN, VALID, TEST):
        folders = sorted(folder for folder in splits if splits[folder] == split)
        if len(folders) > 1 and not set(folders) <= set(chosen):
            raise DataError(
                f"data.split={config.split}: {' and '.join(folders)} in {images} all mean {split}; "
                f'"data.split_folders={{{split}: {folders[0]}}}" takes one, '
                f'"data.split_folders={{{split}: [{", ".join(folders)}]}}" all of them'
            )


def _outside_splits(
    labels: dict[str, str], splits: dict[str, str], config: DataConfig, diagnostics: Diagnostics
) -> set[str]:
    """Return the photos outside of all split folders, and report them.

    Photos with a label of the training photos are an error: the user has to decide.
    Other photos, and `unused` folders, are left out. With split=random the former count as normal
    photos and are not returned.
    """
    top = {path: (folders_of(path, config.images) or ("",))[0] for path in labels}
    known = {label for path, label in labels.items() if splits.get(top[path]) == TRAIN}
    by_folder = defaultdict(list)
    for path, folder in top.items():
        if splits.get(folder, UNUSED) == UNUSED:
            by_folder[folder].append(path)
    images = Path(config.root) / config.images
    outside: set[str] = set()
    for folder, paths in sorted(by_folder.items()):
        alike = any(labels[path] in known for path in paths)
        if alike and config.split in _DRAWN:
            continue
        outside |= set(paths)
        what = f"<n> photos of {images / folder}"
        if splits.get(folder) == UNUSED:
            line = f"left out {what}: unused according to data.split_folders"
            diagnostics.note("no split", paths, line)
        elif alike or not folder or not known:
            name = f'"data.split_folders={{unused: {folder or "<folder>"}}}"'
            line = (
                f"data.split={config.split}: {what} lie in no train, valid or test folder: "
                f"<photos>; {name} leaves them out (or name it as train, valid or test); "
                "data.split=random takes all photos"
            )
            diagnostics.error("no split", paths, line)
        else:
            line = (
                f"left out {what}: its name is neither a split nor a class of the training photos"
            )
            diagnostics.warning("no split", paths, line)
    diagnostics.left_out |= outside
    return outside


def _random(labels: dict[str, str], config: DataConfig, diagnostics: Diagnostics) -> dict[str, str]:
    """Draw the test photos, then the validation photos from the rest: a share, or one fold."""
    splits, seed = dict.fromkeys(labels, TRAIN), config.split_seed
    groups = photo_groups(labels, config, diagnostics)
    if config.test_pct > 0:
        splits |= carve(labels, TEST, config.test_pct, seed, diagnostics, groups)
    rest = {path: label for path, label in labels.items() if splits[path] == TRAIN}
    if config.split == "kfold":
        fold = one_fold(rest, groups, config, derive(seed, "folds"), diagnostics)
        return splits | dict.fromkeys(fold, VALID)
    # A fraction of all photos, not of those left for training.
    share = config.valid_pct / (1 - config.test_pct)
    return splits | carve(rest, VALID, share, seed, diagnostics, groups)


def official_lists(root: Path) -> list[tuple[Path, str]]:
    """Return the Oxford data set's lists, and the split of each. Raises DataError if one lacks."""
    folder = root / "annotations"
    lists = [(folder / "trainval.txt", TRAIN), (folder / "test.txt", TEST)]
    for file, _ in lists:
        if not file.is_file():
            raise DataError(
                f"data.split=official: no {file}; use data.split=random, "
                "with data.photo_list=annotations/list.txt to keep to the listed photos"
            )
    return lists


def _official(
    labels: dict[str, str], config: DataConfig, diagnostics: Diagnostics
) -> dict[str, str]:
    """Read the Oxford data set's lists: each line begins with a photo's path or name."""
    root = Path(config.root)
    names = PhotoNames([*labels, *diagnostics.left_out], config.images, root)
    splits: dict[str, str] = {}
    for file, split in official_lists(root):
        listed = names.match_lines(file)
        listed.report(file, root / config.images, diagnostics)
        there = dict.fromkeys(path for path in listed.photos.values() if path in labels)
        both = [path for path in there if path in splits]
        diagnostics.error("two splits", both, f"{file}: trainval.txt also has these: <photos>")
        splits |= dict.fromkeys(there, split)
    return splits


def _column(labels: dict[str, str], config: DataConfig, diagnostics: Diagnostics) -> dict[str, str]:
    names = PhotoNames([*labels, *diagnostics.left_out], config.images, Path(config.root))
    values = column_of_table(names, config, str(config.split_column))
    splits = {path: SPLIT_NAMES.get(value.strip().casefold()) for path, value in values.items()}
    strange = [path for path, split in splits.items() if split is None]
    diagnostics.left_out |= set(strange)
    found = some(sorted({values[path] or "an empty cell" for path in strange}))
    column = f"data.split_column={config.split_column}"
    line = f"{column}: expected train, valid or test, found {found} for <n> photos: <photos>"
    diagnostics.error("no split", strange, line)
    return {path: split for path, split in splits.items() if split and path in labels}
