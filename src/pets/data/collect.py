"""From a data config to its photos: discover, label, split, check.

`pets verify` uses the same steps, with diagnostics that do not stop at the first error.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import PIL

from pets.cache.memo import FileMemo
from pets.config import DataConfig
from pets.data.diagnostics import Diagnostics
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


def collect_photos(config: DataConfig) -> Photos:
    """Discover, label, split and check the photos of a data config.

    Photos that are left out (unlisted, unreadable, unlabelled or excluded) are logged.

    Raises:
        DataError: The photos cannot be trained on.
    """
    diagnostics = Diagnostics(read_excluded(config.exclude, Path(config.root)))
    all_labels = label_photos(config, diagnostics)
    labels = labelled(all_labels)
    if config.on_bad_image == "skip":
        bad = unreadable(Path(config.root), list(labels))
        labels = without_unreadable(labels, bad, diagnostics)
    return split_and_check(all_labels, labels, config, diagnostics)


def label_photos(config: DataConfig, diagnostics: Diagnostics) -> Labels:
    """Return every photo below `data.root` with its label. Raises DataError."""
    root = Path(config.root)
    if not root.is_dir():
        raise DataError(f"data.root={config.root}: no such folder")
    rule, paths = LABEL_RULES[config.label_from], []
    if not rule.finds_photos:
        paths = _listed(find_photos(root, config.images, diagnostics), root, config, diagnostics)
    named = rule.label(paths, config, diagnostics)
    _report_unlabelled(named, config, diagnostics)
    return named


def labelled(named: Labels) -> dict[str, str]:
    """Return only the photos that have a label."""
    return {path: label for path, label in named.items() if label is not None}


def without_unreadable(
    labels: dict[str, str], bad: set[str], diagnostics: Diagnostics
) -> dict[str, str]:
    """Remove the unreadable photos; lists may still name them."""
    diagnostics.left_out |= bad
    return {path: label for path, label in labels.items() if path not in bad}


def split_and_check(
    named: Labels, labels: dict[str, str], config: DataConfig, diagnostics: Diagnostics
) -> Photos:
    """Split the labelled photos, apply `data.relabel` and `data.exclude`, and check the result.

    Args:
        named: all photos, with or without a label.
        labels: the photos to split.
        config: the data config.
        diagnostics: receives all problems.

    Raises:
        DataError: The photos cannot be trained on.
    """
    root = Path(config.root)
    splits = split_photos(labels, root, config, diagnostics)
    # After the split: no photo changes its split, so runs before and after can be compared.
    if config.relabel is not None:
        labels = _relabelled(labels, splits, config.relabel, root)
    if config.exclude is not None:
        splits = without_excluded(config.exclude, named, splits, diagnostics)
    diagnostics.note(
        "unused",
        [path for path in labels if path not in splits and path not in diagnostics.left_out],
        lambda paths: f"left out {len(paths):,} photos that no split names: {some(paths)}",
    )
    photos = Photos(root, tuple(Photo(p, labels[p], splits[p]) for p in sorted(splits)))
    _check(photos, diagnostics)
    return photos


def _report_unlabelled(named: Labels, config: DataConfig, diagnostics: Diagnostics) -> None:
    bare = [path for path, label in named.items() if label is None]
    all_bare = len(bare) == len(named)

    def line(paths: list[str]) -> str:
        if all_bare and config.label_from == "filename":
            names = some([PurePosixPath(path).name for path in paths])
            regex = f"data.label_regex={config.label_regex}"
            return f"{regex}: matches none of {len(paths):,} files ({names})"
        what = LABEL_RULES[config.label_from].unlabelled.format(config=config)
        problem = f"{what} {len(paths):,} of {len(named):,} photos: {some(paths)}"
        if config.on_unlabelled == "error":
            return f"{problem}; data.on_unlabelled=skip leaves them out"
        return f"left out: {problem}"

    if config.on_unlabelled == "error" or all_bare:
        diagnostics.error("unlabelled", bare, line)
    else:
        diagnostics.warning("unlabelled", bare, line)
        diagnostics.left_out |= set(bare)


def _listed(
    paths: list[str], root: Path, config: DataConfig, diagnostics: Diagnostics
) -> list[str]:
    if config.photo_list is None:
        return paths
    file = root / config.photo_list
    if not file.is_file():
        raise DataError(f"data.photo_list={config.photo_list}: no such file {file}")
    listed = read_list(file, PhotoNames(paths, config.images))
    diagnostics.error("ambiguous", list(listed.doubtful), f"{file}: {doubts(listed.doubtful)}")
    diagnostics.error(
        "missing",
        listed.missing,
        lambda left: f"{file}: names {len(left):,} photos that are not there: {some(left)}",
    )
    kept = set(listed.photos.values())
    diagnostics.note(
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
            "data.relabel=%s: %s of them are test photos: the test accuracy refers to your labels, "
            "not to the original ones",
            file, f"{changed[TEST]:,}",
        )  # fmt: skip
    return new


def unreadable(root: Path, paths: Sequence[str]) -> set[str]:
    """Decode every photo once; return and log the paths that cannot be read."""
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


# Failures are not stored: a disk error today says nothing about the photo tomorrow.
_problems = FileMemo(f"read by pillow {PIL.__version__}", _problem, is_final=lambda p: p is None)


def _check(photos: Photos, diagnostics: Diagnostics) -> None:
    """Check what training needs: two classes, and training photos of every class."""
    counts = {split: Counter(photo.label for photo in photos.of(split)) for split in SPLITS}
    if len(photos.classes) < 2:
        labels = f"one label only ({photos.classes[0]})" if photos.classes else "no label"
        diagnostics.error(
            "one class",
            None,
            f"data.root={photos.root}: {labels} on {len(photos.rows):,} photos; a classifier needs "
            "at least two",
        )
    whole = counts[TRAIN] + counts[VALID] + counts[TEST]
    for group in alike(photos.classes):
        # As ASCII: differently encoded accents and trailing blanks are invisible otherwise.
        named = " and ".join(f"{label!a} ({whole[label]:,} photos)" for label in group)
        line = f"classes that look the same: {named}; if they are one, give it one spelling"
        diagnostics.warning("same class", None, line)
    untrained = [label for label in photos.classes if not counts[TRAIN][label]]
    if untrained:
        diagnostics.error(
            "absent class", None, f"no training photo of {some(untrained)}; every label needs one"
        )
    for split in (VALID, TEST):
        absent = [label for label in photos.classes if counts[split] and not counts[split][label]]
        if absent:
            diagnostics.warning("absent class", None, f"{split} has no photo of {some(absent)}")
