"""Checks of one photo, from its inspection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from PIL import Image

from pets.config import VerifyConfig
from pets.data.diagnostics import Severity
from pets.verify.inspection import Inspection
from pets.verify.kinds import Finding


def faults_of(path: str, inspection: Inspection, config: VerifyConfig) -> Iterator[Finding]:
    """Yield the findings about one photo."""
    photo, out = (path,), frozenset({path})
    if inspection.problem is not None:
        severity: Severity = "error" if config.data.on_bad_image == "error" else "warning"
        yield Finding("unreadable", severity, inspection.problem, photo, out)
        return
    if inspection.damage is not None:
        yield Finding("damaged", "warning", inspection.damage, photo)
    suffix = PurePosixPath(path).suffix
    if not _fits(suffix, inspection.format):
        yield Finding("wrong suffix", "warning", f"a {inspection.format} named {suffix}", photo)
    if inspection.blank:
        yield Finding("blank", "warning", "all pixels are alike", photo, out)
    short, long = sorted((inspection.width, inspection.height))
    size = f"{inspection.width:,} x {inspection.height:,} pixels"
    if short < config.tiny:
        yield Finding("tiny", "warning", f"{size}, below {config.tiny}", photo, out)
    elif short < config.smallest:
        yield Finding("small", "note", f"{size}, below {config.smallest}", photo)
    if long > config.aspect * short:
        times = f"{long / short:.1f} times as long as wide"
        yield Finding("elongated", "warning", f"{size}, {times}", photo)
    for kind, found, what in (
        ("huge", short * long > config.huge, f"{size}, {short * long / 1e6:,.0f} megapixels"),
        ("metadata", inspection.metadata is not None, inspection.metadata or ""),
        ("CMYK", inspection.cmyk, "CMYK"),
        ("alpha", inspection.alpha, "some pixels are transparent"),
        ("animation", inspection.frames, "several pictures in one file"),
        ("grey", inspection.grey and not inspection.blank, "no colours"),
    ):
        if found:
            yield Finding(kind, "note", what, photo)


def _fits(suffix: str, kind: str) -> bool:
    jpeg = suffix.lower() in (".pjpeg", ".pjp")  # as some browsers save them
    expected = "JPEG" if jpeg else Image.registered_extensions().get(suffix.lower())
    # Cameras name their JPEGs with previews .jpg, too.
    return expected == kind or {expected, kind} == {"JPEG", "MPO"}
