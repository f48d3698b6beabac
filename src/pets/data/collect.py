"""From a data config to its photos: discover, label, split, check.

`pets verify` uses the same steps, with diagnostics that do not stop at the first error.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path

import PIL

from pets.cache.memo import FileMemo
from pets.config import DataConfig
from pets.data.diagnostics import Diagnostics
from pets.data.discovery import find_photos
from pets.data.images import UnreadableImage, open_rgb
from pets.data.labels import Labels, alike, label_rule
from pets.data.name_matching import PhotoNames
from pets.data.photos import SPLITS, Photo, Photos
from pets.data.splits import TEST, TRAIN, official_lists, split_photos
from pets.data.tables import read_excluded, relabel, without_excluded
from pets.errors import DataError, some

log = logging.getLogger(__name__)


def collect_photos(config: DataConfig) -> Photos:
    """Discover, label, split and check the photos of a data config.

    Photos that are left out (unlisted, unreadable, unlabelled or excluded) are logged. Raises
    DataError if the photos cannot be trained on.
    """
    diagnostics = Diagnostics(read_excluded(config.exclude))
    named = label_photos(config, diagnostics)
    bad: set[str] = set()
    if config.on_bad_image == "skip":
        labelled = [path for path, label in named.items() if label is not None]
        bad = unreadable(Path(config.root), labelled)
    return split_and_check(named, bad, config, diagnostics)


def check_there(config: DataConfig) -> None:
    """Raise DataError unless the folder of the photos and the lists of its splits are there."""
    if not Path(config.root).is_dir():
        raise DataError(f"data.root={config.root}: no such folder")
    if config.split == "official":
        official_lists(Path(config.root))


def label_photos(config: DataConfig, diagnostics: Diagnostics) -> Labels:
    """Return every photo below `data.root` with its label. Raises DataError."""
    check_there(config)
    root, rule = Path(config.root), label_rule(config.label_from)
    paths = find_photos(root, config.images, diagnostics)
    if diagnostics.excluded:
        names = PhotoNames(paths, config.images, root)
        diagnostics.excluded = frozenset(map(names.path, diagnostics.excluded))
    paths = _listed(paths, root, config, diagnostics)
    named = rule.label(paths, config, diagnostics)
    _report_unlabelled(named, config, diagnostics)
    return named


def split_and_check(
    named: Labels, bad: Set[str], config: DataConfig, diagnostics: Diagnostics
) -> Photos:
    """Split the labelled photos, apply `data.relabel` and `data.exclude`, and check the result.

    The `bad` photos are unreadable: they are left out, but lists may still name them. Raises
    DataError if the photos cannot be trained on.
    """
    root = Path(config.root)
    diagnostics.left_out |= bad
    labels = {path: label for path, label in named.items() if label is not None and path not in bad}
    splits = split_photos(labels, config, diagnostics)
    # After the split: no photo changes its split, so runs before and after can be compared.
    if config.relabel is not None:
        labels = _relabelled(labels, splits, config.relabel)
    if config.exclude is not None:
        splits = without_excluded(config.exclude, named, splits, diagnostics)
    unused = [path for path in labels if path not in splits and path not in diagnostics.left_out]
    diagnostics.note("unused", unused, "left out <n> photos that no split names: <photos>")
    photos = Photos(root, tuple(Photo(p, labels[p], splits[p]) for p in sorted(splits)))
    _check(photos, diagnostics)
    return photos


def _report_unlabelled(named: Labels, config: DataConfig, diagnostics: Diagnostics) -> None:
    bare = [path for path, label in named.items() if label is None]
    what = label_rule(config.label_from).unlabelled.format(config=config)
    line = f"{what} <n> of {len(named):,} photos: <photos>"
    if len(bare) == len(named):
        if config.label_from == "folder":
            line += (
                "; expected a folder per class; for names like pug_1.jpg: data.label_from=filename "
                r""""data.label_regex='^(.+)_\d+'"; for a table: data=table data.table=<file>"""
            )
        diagnostics.error("unlabelled", bare, line)
    elif config.on_unlabelled == "error":
        hint = "data.on_unlabelled=skip leaves them out"
        diagnostics.error("unlabelled", bare, f"{line}; {hint}")
    else:
        diagnostics.warning("unlabelled", bare, f"left out: {line}")
        diagnostics.left_out |= set(bare)


def _listed(
    paths: list[str], root: Path, config: DataConfig, diagnostics: Diagnostics
) -> list[str]:
    if config.photo_list is None:
        return paths
    file = root / config.photo_list
    if not file.is_file():
        raise DataError(f"data.photo_list={config.photo_list}: no such file {file}")
    listed = PhotoNames(paths, config.images, root).match_lines(file)
    listed.report(file, root / config.images, diagnostics)
    kept = set(listed.photos.values())
    unused = [path for path in paths if path not in kept]
    diagnostics.note("unused", unused, f"{file}: does not name <n> photos: <photos>")
    return sorted(kept)


def _relabelled(labels: dict[str, str], splits: dict[str, str], file: str) -> dict[str, str]:
    new = relabel(labels, Path(file))
    changed = Counter(splits[path] for path in new if new[path] != labels[path] and path in splits)
    counts = ", ".join(f"{changed[split]:,} {split}" for split in SPLITS if changed[split])
    if changed:
        log.info("data.relabel=%s: changed %s labels (%s)", file, f"{changed.total():,}", counts)
    else:
        log.info("data.relabel=%s: changes no label", file)
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
_problems = FileMemo(f"read 2 by pillow {PIL.__version__}", _problem, is_final=lambda p: p is None)


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
    whole = Counter(photo.label for photo in photos.rows)
    for group in alike(photos.classes):
        # As ASCII: differently encoded accents and trailing blanks are invisible otherwise.
        named = " and ".join(f"{label!a} ({whole[label]:,} photos)" for label in group)
        line = f"classes that look the same: {named}; if they are one, give it one spelling"
        diagnostics.warning("same class", None, line)
    for split in SPLITS:
        absent = [label for label in photos.classes if not counts[split][label]]
        if absent and split == TRAIN:
            line = f"no training photo of {some(absent)}; every label needs one"
            diagnostics.error("absent class", None, line)
        elif absent and counts[split]:
            diagnostics.warning("absent class", None, f"{split} has no photo of {some(absent)}")
