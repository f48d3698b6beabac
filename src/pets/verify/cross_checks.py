"""Cross-checks: copies of a photo, and classes with few photos."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from pets.config import VerifyConfig
from pets.data.diagnostics import Severity
from pets.data.duplicates import as_words, bits_apart, groups_of, look_alike
from pets.data.inspection import HASH_BITS, Inspection
from pets.data.photos import Photo
from pets.data.splits import TEST, TRAIN, VALID
from pets.verify.kinds import Finding

_KEEP_PRIORITY = (TEST, VALID, TRAIN)  # which split keeps a photo that occurs in several


def duplicates(
    rows: Sequence[Photo], inspections: Mapping[str, Inspection], near: int | None
) -> Iterator[Finding]:
    """Find copies of the same file, then images that look the same.

    Args:
        rows: the photos.
        inspections: by path.
        near: the maximum number of differing bits, of HASH_BITS, for near-duplicates; None: do
            not search for them.
    """
    left = [photo for photo in rows if inspections[photo.path].problem is None]
    copies: set[str] = set()
    for group in groups_of([inspections[photo.path].digest for photo in left]):
        finding = _group([left[index] for index in group], "", "the same file")
        copies |= finding.exclude
        yield finding
    if near is None:
        return
    left = [p for p in left if p.path not in copies and inspections[p.path].hash]
    hashes = as_words([inspections[photo.path].hash for photo in left])
    mirrored = as_words([inspections[photo.path].mirrored for photo in left])
    for group in look_alike(hashes, mirrored, near):
        first = hashes[group[:1]]
        upright, mirror = bits_apart(hashes[group], first), bits_apart(mirrored[group], first)
        most = int(upright.clip(max=mirror).max())
        what = f"look the same ({most} of {HASH_BITS} bits differ)"
        if (mirror[1:] < upright[1:]).any():
            what += ", mirrored"
        # The one with the most pixels first: it is the one to keep.
        members = sorted((left[i] for i in group), key=lambda p: -inspections[p.path].pixels)
        yield _group(members, "near ", what)


def _group(group: list[Photo], near: str, what: str) -> Finding:
    labels = sorted({photo.label for photo in group})
    splits = [split for split in (TRAIN, VALID, TEST) if any(p.split == split for p in group)]
    kind = "duplicates"
    if len(splits) > 1:
        kind, what = "leak", f"{what}, in {' and '.join(splits)}"
    if len(labels) > 1:
        kind, what = "conflict", f"{what}, labelled {' and '.join(labels)}"
    severity: Severity = "warning" if kind == "duplicates" else "error"
    paths = tuple(photo.path for photo in group)
    return Finding(near + kind, severity, what, paths, _superfluous(group), grouped=True)


def _superfluous(group: list[Photo]) -> frozenset[str]:
    """Return all copies but one. Test photos are kept first, then validation photos, so that the
    test set does not change; if labels differ within that split, none is kept."""
    order = {split: rank for rank, split in enumerate(_KEEP_PRIORITY)}
    keeper = min((p.split for p in group), key=lambda split: order.get(split, len(order)))
    stay = [photo for photo in group if photo.split == keeper]
    kept = stay[0].path if len({photo.label for photo in stay}) == 1 else None
    return frozenset(photo.path for photo in group if photo.path != kept)


def tiny_classes(rows: Sequence[Photo], config: VerifyConfig) -> Iterator[Finding]:
    """Find classes with fewer training photos than `config.few`."""
    training = Counter(photo.label for photo in rows if photo.split == TRAIN)
    paths = defaultdict(list)
    for photo in rows:
        paths[photo.label].append(photo.path)
    for label, count in sorted(training.items()):
        if count < config.few:
            what = f"{label}: {count:,} training photos, below {config.few}"
            yield Finding("tiny class", "warning", what, tuple(paths[label]), grouped=True)
