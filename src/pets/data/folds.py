"""Held-out folds by scikit-learn: stratified by label, and with the photos of a group together.

A group is what must not be in two splits: an animal, a series of shots, copies of a picture.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from pets.config import DataConfig
from pets.data.diagnostics import Diagnostics
from pets.data.duplicates import as_words, groups_of, look_alike
from pets.data.inspection import inspect_photos
from pets.data.name_matching import PhotoNames, captured
from pets.data.tables import column_of_table

log = logging.getLogger(__name__)

_FINEST = 20  # a share of the photos is held out as so many folds of this many at most
_SEEDS = 2**32  # scikit-learn's random states are below


def photo_groups(
    labels: Mapping[str, str], config: DataConfig, diagnostics: Diagnostics
) -> dict[str, str] | None:
    """Return the group of each labelled path; None if photos are not grouped.

    Groups come from `data.group_column`, `group_regex` or `group_near`.

    Photos without a group are an error.
    """
    root = Path(config.root)
    groups: Mapping[str, str | None]
    if config.group_column is not None:
        key = f"data.group_column={config.group_column}"
        names = PhotoNames([*labels, *diagnostics.left_out], config.images, root)
        groups = column_of_table(names, config, config.group_column)
    elif config.group_regex is not None:
        key = f"data.group_regex={config.group_regex}"
        groups = captured(config.group_regex, "group", labels)
    elif config.group_near is not None:
        key = f"data.group_near={config.group_near}"
        groups = _look_alikes(root, list(labels), config.group_near)
    else:
        return None
    found = {path: group.strip() for path in labels if (group := groups.get(path)) is not None}
    bare = [path for path in labels if not found.get(path)]
    what = "does not match" if config.group_regex else "has an empty cell for"
    diagnostics.error("no split", bare, f"{key}: {what} <n> photos: <photos>; each needs a group")
    # Where errors are only collected, such photos are groups of their own.
    found |= {path: path for path in bare}
    sizes = Counter(found.values())
    log.info(
        "%s: %s groups of %s photos, the largest of %s",
        key, f"{len(sizes):,}", f"{len(found):,}", f"{max(sizes.values(), default=0):,}",
    )  # fmt: skip
    return found


def one_fold(
    labels: Mapping[str, str],
    groups: Mapping[str, str] | None,
    config: DataConfig,
    seed: int,
    diagnostics: Diagnostics,
) -> set[str]:
    """Return the photos of fold `data.fold` of `data.folds`.

    Every photo is in exactly one fold. A label with fewer photos than folds is an error, and so are
    fewer groups than folds.
    """
    assert config.folds is not None
    assert config.fold is not None
    rare = [label for label, count in Counter(labels.values()).items() if count < config.folds]
    key, fix = f"data.folds={config.folds}", "expected fewer folds, or more photos"
    for label in [] if groups else sorted(rare)[:1]:
        paths = [path for path in labels if labels[path] == label]
        line = f"{key}: label {label} has only <n> photos (<photos>); {fix}"
        diagnostics.error("tiny class", paths, line)
    if groups:
        distinct = len({groups[path] for path in labels})
        if distinct < config.folds:
            line = f"{key}: there are only {distinct} groups of photos; {fix}"
            diagnostics.error("no split", None, line)
            return set()
        _check_groups(labels, groups, diagnostics)
    elif rare:
        return set()
    return list(_folds(labels, groups, config.folds, seed))[config.fold]


def held_out_groups(
    labels: Mapping[str, str],
    groups: Mapping[str, str],
    share: float,
    seed: int,
    diagnostics: Diagnostics,
) -> set[str]:
    """Return whole groups with about a `share` of each label's photos.

    A label whose photos are all of one group is an error.
    """
    _check_groups(labels, groups, diagnostics)
    distinct = len({groups[path] for path in labels})
    if distinct < 2:
        return set()
    finest = min(_FINEST, distinct)
    part = Fraction(share).limit_denominator(finest) or Fraction(1, finest)
    folds = _folds(labels, groups, part.denominator, seed)
    return set().union(*(next(folds) for _ in range(part.numerator)))


def _check_groups(
    labels: Mapping[str, str], groups: Mapping[str, str], diagnostics: Diagnostics
) -> None:
    of_label: dict[str, list[str]] = defaultdict(list)
    for path, label in labels.items():
        of_label[label].append(path)
    for label, paths in sorted(of_label.items()):
        if len({groups[path] for path in paths}) == 1:
            line = (
                f"label {label}: all its <n> photos (<photos>) are of one group, "
                f"{groups[paths[0]]}: they cannot be both trained on and held out; add photos of "
                "another group, or leave the label out"
            )
            diagnostics.error("tiny class", paths, line)


def _folds(
    labels: Mapping[str, str], groups: Mapping[str, str] | None, folds: int, seed: int
) -> Iterator[set[str]]:
    """Yield the photos of each fold; they depend on the seed, the paths, labels and groups."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    paths = sorted(labels)
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(folds, shuffle=True, random_state=seed % _SEEDS)
    with warnings.catch_warnings():
        # Of labels that are not in every fold; the split's own check names them.
        warnings.simplefilter("ignore", UserWarning)
        found = splitter.split(
            paths, [labels[path] for path in paths], groups and [groups[path] for path in paths]
        )
        yield from ({paths[index] for index in held_out} for _, held_out in found)


def _look_alikes(root: Path, paths: list[str], near: int) -> dict[str, str]:
    """Name photos that look alike by the first of them; the others by themselves."""
    inspected = inspect_photos([root / path for path in paths])
    whole = [i for i, inspection in enumerate(inspected) if inspection.hash]
    hashes, mirrored = (
        as_words([getattr(inspected[i], name) for i in whole]) for name in ("hash", "mirrored")
    )
    # Blank and unreadable pictures have no perceptual hash; copies of them have one digest.
    bare = [
        i for i, inspection in enumerate(inspected) if inspection.digest and not inspection.hash
    ]
    same = [[bare[i] for i in group] for group in groups_of([inspected[i].digest for i in bare])]
    near_by = [[whole[i] for i in group] for group in look_alike(hashes, mirrored, near)]
    names = {path: path for path in paths}
    for group in [*near_by, *same]:
        names |= {paths[i]: paths[group[0]] for i in group}
    return names
