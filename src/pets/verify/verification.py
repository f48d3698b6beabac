"""Verify a data config: every photo by itself, and all of them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pets.config import VerifyConfig
from pets.data.collect import label_photos, split_and_check
from pets.data.diagnostics import Diagnostics, Severity
from pets.data.images import FORMATS, SUFFIXES
from pets.data.inspection import inspect_photos
from pets.data.labels import Labels
from pets.data.photos import Photo, Photos
from pets.data.tables import read_excluded
from pets.verify.cross_checks import duplicates, tiny_classes
from pets.verify.kinds import KINDS, SEVERITIES, Finding
from pets.verify.photo_checks import check_photo

# Kinds that `data.exclude` can fix; the others need changes to tables, lists or photos.
_EXCLUDABLE = ("unlabelled", "tiny class")


class CollectedFindings(Diagnostics):
    """Diagnostics that collect findings and never raise."""

    def __init__(self, excluded: frozenset[str] = frozenset()) -> None:
        super().__init__(excluded)
        self.findings: list[Finding] = []

    def emit(self, severity: Severity, kind: str, paths: Sequence[str], message: str) -> None:
        # What is left out anyway needs no exclusion.
        exclude = frozenset(paths if kind in _EXCLUDABLE and severity == "error" else ())
        finding = Finding(kind, severity, message, tuple(paths), exclude)
        if finding not in self.findings:
            self.findings.append(finding)


@dataclass(frozen=True)
class Verification:
    """The findings of a data config.

    Attributes:
        photos: the photos that training would use.
        named: the label of every photo, None if it has none.
        inspected: how many photos were inspected.
        findings: errors first, then in the order of `KINDS`.
    """

    photos: Photos
    named: Labels
    inspected: int
    findings: tuple[Finding, ...]

    @cached_property
    def by_path(self) -> dict[str, Photo]:
        return {photo.path: photo for photo in self.photos.rows}

    @cached_property
    def excluded(self) -> list[str]:
        """The paths proposed for exclusion."""
        return sorted(set().union(*(finding.exclude for finding in self.findings)))

    def of(self, severity: Severity) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == severity]

    @property
    def totals(self) -> str:
        """`2 errors, 1 warning, 5 notes`."""
        counts = {severity: len(self.of(severity)) for severity in SEVERITIES}
        parts = [f"{n:,} {word}{'' if n == 1 else 's'}" for word, n in counts.items() if n]
        return ", ".join(parts) or "nothing found"

    def worst_is(self, limit: Severity) -> bool:
        """Whether a finding is at least as severe as `limit`."""
        severe = SEVERITIES[: SEVERITIES.index(limit) + 1]
        return any(finding.severity in severe for finding in self.findings)


def verify(config: VerifyConfig) -> Verification:
    """Inspect the photos of a config; no file is changed.

    Raises:
        DataError: The config names a missing file or folder.
    """
    root, data = Path(config.data.root), config.data
    diagnostics = CollectedFindings(read_excluded(data.exclude))
    named = label_photos(data, diagnostics)
    paths = [path for path in named if path not in diagnostics.excluded]
    inspections = dict(zip(paths, inspect_photos([root / path for path in paths]), strict=True))
    found = [f for path in paths for f in check_photo(path, inspections[path], config)]
    skip = data.on_bad_image == "skip"
    bad = {path for path in paths if skip and named[path] and inspections[path].problem}
    photos = split_and_check(named, bad, data, diagnostics)
    # Without labels or splits, photos can still be compared.
    rows = photos.rows or tuple(Photo(path, "", "") for path in paths)
    found += duplicates(rows, inspections, config.near)
    single = {path for f in diagnostics.findings if f.kind == "tiny class" for path in f.photos}
    found += [f for f in tiny_classes(photos.rows, config) if not single & set(f.photos)]
    found += diagnostics.findings
    found += _images_among_others(root, diagnostics.findings)
    order = list(KINDS)
    found.sort(key=lambda f: (SEVERITIES.index(f.severity), order.index(f.kind), f.photos[:1]))
    return Verification(photos, named, len(paths), tuple(found))


def _images_among_others(root: Path, findings: list[Finding]) -> Iterator[Finding]:
    for path in [path for f in findings if f.kind == "not a photo" for path in f.photos]:
        if Path(path).suffix.lower() in SUFFIXES:
            continue  # hidden, a link, or not a regular file
        try:
            with Image.open(root / path, formats=FORMATS) as image:
                what = f"a {image.format}, but its suffix is not that of an image"
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
            continue
        yield Finding("left out", "warning", what, (path,))
