"""Folders of splits: `train/`, `valid/`, `test/` and their usual other names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath

from pets.config import DataConfig
from pets.data.diagnostics import Diagnostics
from pets.errors import DataError, some

TRAIN, VALID, TEST = "train", "valid", "test"
UNUSED = "unused"  # of a folder that `data.split_folders` ignores
# Usual names of folders and values of split columns, in lower case.
SPLIT_NAMES = {
    "train": TRAIN, "training": TRAIN, "trainval": TRAIN,
    "valid": VALID, "val": VALID, "validation": VALID, "dev": VALID, "eval": VALID,
    "test": TEST, "testing": TEST, "holdout": TEST,
}  # fmt: skip


def folders_of(path: str, images: str) -> tuple[str, ...]:
    """Return the folders between the photos' folder `images` and a photo."""
    return PurePosixPath(path).parts[len(PurePosixPath(images).parts) : -1]


def split_folders(paths: Iterable[str], config: DataConfig) -> dict[str, str]:
    """Return the split of each folder that is one; empty if there are none.

    Folders named by `data.split_folders` always count. Folders with a usual name count if one of
    them is for training. With labels from folders, that one must contain class folders or have
    another split beside it, since a class may be called train.
    """
    if config.split_folders == {}:
        return {}
    deep: dict[str, bool] = {}
    for path in paths:
        folders = folders_of(path, config.images)
        if folders:
            deep[folders[0]] = deep.get(folders[0], False) or len(folders) > 1
    chosen = config.named_splits
    splits = {
        folder: split
        for folder in deep
        if (split := chosen.get(folder) or SPLIT_NAMES.get(folder.casefold()))
        # A split that the user named has no usual names any more.
        and (folder in chosen or split not in chosen.values())
    }
    train = [folder for folder, split in splits.items() if split == TRAIN]
    inside = config.label_from != "folder" or any(deep[folder] for folder in train)
    if chosen or config.split == "folders":
        return splits
    return splits if train and (inside or len(set(splits.values())) > 1) else {}


def check_split_folders(splits: dict[str, str], config: DataConfig) -> None:
    """Raises DataError for two folders of the same split, and for a missing folder."""
    images = Path(config.root) / config.images
    chosen = config.named_splits
    gone = [folder for folder in chosen if not (images / folder).is_dir()]
    if gone:
        there = sorted(path.name for path in images.iterdir() if path.is_dir())
        raise DataError(
            f"data.split_folders: {images} has no folder {gone[0]}; it has {some(there, 8)}"
        )
    by_split = defaultdict(list)
    for folder, split in splits.items():
        by_split[split].append(folder)
    for split, folders in by_split.items():
        if split != UNUSED and len(folders) > 1 and not set(folders) <= set(chosen):
            names = " and ".join(sorted(folders))
            raise DataError(
                f"data.split={config.split}: {names} in {images} both mean {split}; "
                f'"data.split_folders={{{split}: {folders[0]}}}" takes one, '
                f'"data.split_folders={{{split}: [{", ".join(sorted(folders))}]}}" all of them'
            )


def outside_splits(
    labels: dict[str, str], splits: dict[str, str], config: DataConfig, diagnostics: Diagnostics
) -> set[str]:
    """Return the photos that lie in no folder of a split, and report them.

    Photos with a label of the training photos are an error: the user must say what they are for.
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
        if alike and config.split == "random":
            continue
        outside |= set(paths)
        if splits.get(folder) == UNUSED:
            diagnostics.note("no split", paths, partial(_unused, images / folder))
        elif alike or not folder or not known:
            diagnostics.error("no split", paths, partial(_no_split, config, folder, splits))
        else:
            diagnostics.warning("no split", paths, partial(_not_used, images / folder))
    diagnostics.left_out |= outside
    return outside


def _no_split(config: DataConfig, folder: str, splits: dict[str, str], paths: list[str]) -> str:
    line = (
        f"data.split={config.split}: {len(paths):,} photos lie in no train, valid or test folder "
        f"of {Path(config.root) / config.images}: {some(paths)}; "
    )
    if not folder or TRAIN not in splits.values():
        return f"{line}move them or use data.split=random"
    free = next((split for split in (VALID, TEST) if split not in splits.values()), UNUSED)
    return (
        f"{line}{folder}/ has the classes of the training photos, what is it for? "
        f'"data.split_folders={{{free}: {folder}}}", or train, valid, test, unused in its place'
    )


def _not_used(folder: Path, paths: list[str]) -> str:
    return (
        f"left out {len(paths):,} photos of {folder}: no split by its name, no class of the "
        f"training photos: {some(paths)}"
    )


def _unused(folder: Path, paths: list[str]) -> str:
    return f"left out {len(paths):,} photos of {folder}: data.split_folders says unused"
