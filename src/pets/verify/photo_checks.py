"""Checks of one photo, from its inspection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from PIL import Image

from pets.config import VerifyConfig
from pets.data.diagnostics import Severity
from pets.data.inspection import Inspection
from pets.verify.kinds import Finding


def check_photo(path: str, inspection: Inspection, config: VerifyConfig) -> Iterator[Finding]:
    """Yield the findings about one photo."""
    paths, exclude = (path,), frozenset({path})
    if inspection.problem is not None:
        severity: Severity = "error" if config.data.on_bad_image == "error" else "warning"
        yield Finding("unreadable", severity, inspection.problem, paths, exclude)
        return
    if inspection.damage is not None:
        yield Finding("damaged", "warning", inspection.damage, paths)
    suffix = PurePosixPath(path).suffix
    if not _suffix_matches(suffix, inspection.format):
        yield Finding("wrong suffix", "warning", f"a {inspection.format} named {suffix}", paths)
    if inspection.blank:
        yield Finding("blank", "warning", "all pixels have one colour", paths, exclude)
    short, long = sorted((inspection.width, inspection.height))
    size = f"{inspection.width:,} x {inspection.height:,} pixels"
    if short < config.tiny:
        yield Finding("tiny", "warning", f"{size}, below {config.tiny}", paths, exclude)
    elif short < config.min_side:
        yield Finding("small", "note", f"{size}, below {config.min_side}", paths)
    if long > config.aspect * short:
        ratio = f"aspect ratio {long / short:.1f}"
        yield Finding("elongated", "warning", f"{size}, {ratio}", paths)
    for kind, applies, what in (
        ("huge", short * long > config.huge, f"{size}, {short * long / 1e6:,.0f} megapixels"),
        ("metadata", inspection.metadata is not None, inspection.metadata or ""),
        ("CMYK", inspection.cmyk, "CMYK"),
        ("alpha", inspection.alpha, "some pixels are transparent"),
        ("animation", inspection.frames, "several frames in one file"),
        ("grey", inspection.grey and not inspection.blank, "no colours"),
    ):
        if applies:
            yield Finding(kind, "note", what, paths)


def _suffix_matches(suffix: str, kind: str) -> bool:
    jpeg = suffix.lower() in (".pjpeg", ".pjp")  # as some browsers save them
    expected = "JPEG" if jpeg else Image.registered_extensions().get(suffix.lower())
    # Cameras also name JPEGs with embedded previews (MPO) .jpg.
    return expected == kind or {expected, kind} == {"JPEG", "MPO"}
