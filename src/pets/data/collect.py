"""From a data config to its photos: found, labelled, split, checked; every step also for
`pets verify`, which goes on where a training stops."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import PIL

from pets.cache.memo import OnceAContent
from pets.config import DataConfig
from pets.data.diagnostics import Remarks
from pets.data.discovery import find_photos
from pets.data.exclude import read_excluded, without_excluded
from pets.data.images import UnreadableImage, open_rgb
from pets.data.labels import LABEL_RULES, Labels, alike
from pets.data.name_matching import PhotoNames, doubts, read_list
from pets.data.photos import SPLITS, Photo, Photos
from pets.data.splits import TEST, TRAIN, VALID, split_photos
from pets.data.tables import relabel
from pets.errors import DataError, some

log = logging.getLogger(__name__)
Named = Labels


def collect_photos(config: DataConfig) -> Photos:
    """Find, label, check and split the photos of a data config.

    What is left out (photos in no list, unreadable, unlabelled and excluded ones) is said in the
    log. Raises DataError.
    """
    remarks = Remarks(read_excluded(config.exclude, Path(config.root)))
    named = name_photos(config, remarks)
    labels = labelled(named)
    if config.on_bad_image == "skip":
        bad = unreadable(Path(config.root), list(labels))
        labels = without(labels, bad, remarks)
    return into_splits(named, labels, config, remarks)


def name_photos(config: DataConfig, remarks: Remarks) -> Named:
    """Every photo below the root and its label, as the config says. Raises DataError."""
    root = Path(config.root)
    if not root.is_dir():
        raise DataError(f"data.root={config.root}: no such folder")
    rule, paths = LABEL_RULES[config.label_from], []
    if not rule.finds_photos:
        paths = _listed(find_photos(root, config.images, remarks), root, config, remarks)
    named = rule.label(paths, config, remarks)
    _tell_unlabelled(named, config, remarks)
    return named


def labelled(named: Named) -> dict[str, str]:
    """The photos that have a label."""
    return {path: label for path, label in named.items() if label is not None}


def without(labels: dict[str, str], bad: set[str], remarks: Remarks) -> dict[str, str]:
    """Those that can be read. Lists may name the others: it is known where they are."""
    remarks.left_out |= bad
    return {path: label for path, label in labels.items() if path not in bad}


def into_splits(
    named: Named, labels: dict[str, str], config: DataConfig, remarks: Remarks
) -> Photos:
    """The labelled photos in their splits, relabelled, without the excluded ones, checked.

    Raises DataError.
    """
    root = Path(config.root)
    splits = split_photos(labels, root, config, remarks)
    # Both after the split, so that every photo stays where it was: runs before and after compare.
    if config.relabel is not None:
        labels = _relabelled(labels, splits, config.relabel, root)
    if config.exclude is not None:
        splits = without_excluded(config.exclude, named, splits, remarks)
    remarks.note(
        "unused",
        [path for path in labels if path not in splits and path not in remarks.left_out],
        lambda paths: f"left out {len(paths):,} photos that no split names: {some(paths)}",
    )
    photos = Photos(root, tuple(Photo(p, labels[p], splits[p]) for p in sorted(splits)))
    _check(photos, remarks)
    return photos


def _tell_unlabelled(named: Named, config: DataConfig, remarks: Remarks) -> None:
    bare = [path for path, label in named.items() if label is None]
    all_bare = len(bare) == len(named)

    def line(paths: list[str]) -> str:
        if all_bare and config.label_from == "filename":
            names = some([PurePosixPath(path).name for path in paths])
            regex = f"data.label_regex={config.label_regex}"
            return f"{regex}: matches none of {len(paths):,} files ({names})"
        what = LABEL_RULES[config.label_from].unlabelled.format(config=config)
        found = f"{what} {len(paths):,} of {len(named):,} photos: {some(paths)}"
        if config.on_unlabelled == "error":
            return f"{found}; data.on_unlabelled=skip leaves them out"
        return f"left out: {found}"

    if config.on_unlabelled == "error" or all_bare:
        remarks.error("unlabelled", bare, line)
    else:
        remarks.warning("unlabelled", bare, line)
        remarks.left_out |= set(bare)


def _listed(paths: list[str], root: Path, config: DataConfig, remarks: Remarks) -> list[str]:
    if config.photo_list is None:
        return paths
    file = root / config.photo_list
    if not file.is_file():
        raise DataError(f"data.photo_list={config.photo_list}: no such file {file}")
    listed = read_list(file, PhotoNames(paths, config.images))
    remarks.error("ambiguous", list(listed.doubtful), f"{file}: {doubts(listed.doubtful)}")
    remarks.error(
        "missing",
        listed.missing,
        lambda left: f"{file}: names {len(left):,} photos that are not there: {some(left)}",
    )
    kept = set(listed.photos.values())
    remarks.note(
        "unused",
        [path for path in paths if path not in kept],
        lambda left: f"{file}: does not name {len(left):,} photos: {some(left)}",
    )
    return sorted(kept)


def _relabelled(
    labels: dict[str, str], splits: dict[str, str], file: str, root: Path
) -> dict[str, str]:
    new = relabel(labels, Path(file), root)
    changed = Counter(splits[path] for path in new if new[path] != labels[path] and path in splits)
    counts = ", ".join(f"{changed[split]:,} {split}" for split in SPLITS if changed[split])
    log.info("data.relabel=%s: changed %s labels (%s)", file, f"{changed.total():,}", counts)
    if changed[TEST]:
        log.warning(
            "data.relabel=%s: %s of them are test photos: the test accuracy is then one on your "
            "labels, not on those found",
            file, f"{changed[TEST]:,}",
        )  # fmt: skip
    return new


def unreadable(root: Path, paths: Sequence[str]) -> set[str]:
    """Decode every photo once; those that cannot be read, said in the log."""
    problems = _problems.of_all([root / path for path in paths], "checking photos")
    for line in filter(None, problems):
        log.warning("left out: %s", line)
    return {path for path, problem in zip(paths, problems, strict=True) if problem}


def _problem(file: Path) -> str | None:
    try:
        open_rgb(file)
    except UnreadableImage as error:
        return str(error)
    return None


# What could not be read may be readable tomorrow: a disk's error is not the photo's.
_problems = OnceAContent(f"read by pillow {PIL.__version__}", _problem, sure=lambda p: p is None)


def _check(photos: Photos, remarks: Remarks) -> None:
    """What training needs: two classes, and every class among the training photos."""
    counts = {split: Counter(photo.label for photo in photos.of(split)) for split in SPLITS}
    if len(photos.classes) < 2:
        labels = f"one label only ({photos.classes[0]})" if photos.classes else "no label"
        remarks.error(
            "one class",
            None,
            f"data.root={photos.root}: {labels} on {len(photos.rows):,} photos; a classifier needs "
            "at least two",
        )
    whole = counts[TRAIN] + counts[VALID] + counts[TEST]
    for group in alike(photos.classes):
        # Accents in two encodings, and blanks at an end, are seen only where they are spelled out.
        named = " and ".join(f"{label!a} ({whole[label]:,} photos)" for label in group)
        line = f"classes that look the same: {named}; if they are one, give it one spelling"
        remarks.warning("same class", None, line)
    untrained = [label for label in photos.classes if not counts[TRAIN][label]]
    if untrained:
        remarks.error(
            "absent class", None, f"no training photo of {some(untrained)}; every label needs one"
        )
    for split in (VALID, TEST):
        absent = [label for label in photos.classes if counts[split] and not counts[split][label]]
        if absent:
            remarks.warning("absent class", None, f"{split} has no photo of {some(absent)}")
