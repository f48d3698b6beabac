"""Folders of splits: `train/`, `valid/`, `test/`, and what else people call them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath

from pets.config import DataConfig
from pets.data.diagnostics import Remarks
from pets.errors import DataError, some

TRAIN, VALID, TEST = "train", "valid", "test"
UNUSED = "unused"  # of a folder beside them
# What people call their folders and mark their rows with; letters' case does not matter.
SPLIT_NAMES = {
    "train": TRAIN, "training": TRAIN, "trainval": TRAIN,
    "valid": VALID, "val": VALID, "validation": VALID, "dev": VALID, "eval": VALID,
    "test": TEST, "testing": TEST, "holdout": TEST,
}  # fmt: skip


def folders_of(path: str, images: str) -> tuple[str, ...]:
    """The folders between the photos' folder `images` and a photo."""
    return PurePosixPath(path).parts[len(PurePosixPath(images).parts) : -1]


def split_folders(paths: Iterable[str], config: DataConfig) -> dict[str, str]:
    """The split of each folder that stands for one, by its name; empty where there are no such.

    Folders named by `data.split_folders` always stand for their split. By the usual names they do
    where there is one to train on: for labels from folders it has class folders inside, or another
    split beside it, so that a class may be called train.
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
        # What is called otherwise by the user has the usual names no more.
        and (folder in chosen or split not in chosen.values())
    }
    train = [folder for folder, split in splits.items() if split == TRAIN]
    inside = config.label_from != "folder" or any(deep[folder] for folder in train)
    if chosen or config.split == "folders":
        return splits
    return splits if train and (inside or len(set(splits.values())) > 1) else {}


def check_split_folders(splits: dict[str, str], config: DataConfig) -> None:
    """Raises DataError for two folders of the same split, and for one that is not there."""
    place = Path(config.root) / config.images
    chosen = config.named_splits
    gone = [folder for folder in chosen if not (place / folder).is_dir()]
    if gone:
        there = sorted(path.name for path in place.iterdir() if path.is_dir())
        raise DataError(
            f"data.split_folders: {place} has no folder {gone[0]}; it has {some(there, 8)}"
        )
    by_split = defaultdict(list)
    for folder, split in splits.items():
        by_split[split].append(folder)
    for split, folders in by_split.items():
        if split != UNUSED and len(folders) > 1 and not set(folders) <= set(chosen):
            names = " and ".join(sorted(folders))
            raise DataError(
                f"data.split={config.split}: {names} in {place} both mean {split}; "
                f'"data.split_folders={{{split}: {folders[0]}}}" takes one, '
                f'"data.split_folders={{{split}: [{", ".join(sorted(folders))}]}}" all of them'
            )


def outside_splits(
    labels: dict[str, str], splits: dict[str, str], config: DataConfig, remarks: Remarks
) -> set[str]:
    """The photos that lie in no folder of a split, told to `remarks`: those with labels that the
    training photos have, too, as errors, since it must be said what they are for; others, and
    folders that are `unused`, are left out. With split=random the former are just photos."""
    top = {path: (folders_of(path, config.images) or ("",))[0] for path in labels}
    known = {label for path, label in labels.items() if splits.get(top[path]) == TRAIN}
    by_folder = defaultdict(list)
    for path, folder in top.items():
        if splits.get(folder, UNUSED) == UNUSED:
            by_folder[folder].append(path)
    place = Path(config.root) / config.images
    found: set[str] = set()
    for folder, paths in sorted(by_folder.items()):
        alike = any(labels[path] in known for path in paths)
        if alike and config.split == "random":
            continue
        found |= set(paths)
        if splits.get(folder) == UNUSED:
            remarks.note("no split", paths, partial(_unused, place / folder))
        elif alike or not folder or not known:
            remarks.error("no split", paths, partial(_no_split, config, folder, splits))
        else:
            remarks.warning("no split", paths, partial(_not_used, place / folder))
    remarks.left_out |= found
    return found


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


def _not_used(place: Path, paths: list[str]) -> str:
    return (
        f"left out {len(paths):,} photos of {place}, no split by its name and without a class of "
        f"the training photos: {some(paths)}"
    )


def _unused(place: Path, paths: list[str]) -> str:
    return f"left out {len(paths):,} photos of {place}: data.split_folders says unused"
