"""Checks of one photo, from its inspection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from PIL import Image

from pets.config import VerifyConfig
from pets.verify.inspection import Inspection
from pets.verify.kinds import Finding


def faults_of(path: str, inspection: Inspection, config: VerifyConfig) -> Iterator[Finding]:
    """Yield the findings about one photo."""
    photo = (path,)
    if inspection.problem is not None:
        stops = config.data.on_bad_image == "error"
        yield Finding(
            "unreadable",
            "error" if stops else "warning",
            inspection.problem,
            photo,
            frozenset(photo),
        )
        return
    if inspection.damage is not None:
        yield Finding("damaged", "warning", inspection.damage, photo)
    suffix = PurePosixPath(path).suffix
    if not _fits(suffix, inspection.format):
        yield Finding("wrong suffix", "warning", f"a {inspection.format} named {suffix}", photo)
    if inspection.blank:
        yield Finding("blank", "warning", "all pixels are alike", photo, frozenset(photo))
    yield from _sizes(photo, inspection, config)
    if inspection.metadata is not None:
        yield Finding("metadata", "note", inspection.metadata, photo)
    if inspection.cmyk:
        yield Finding("CMYK", "note", "CMYK", photo)
    if inspection.alpha:
        yield Finding("alpha", "note", "some pixels are transparent", photo)
    if inspection.frames:
        yield Finding("animation", "note", "several pictures in one file", photo)
    if inspection.grey and not inspection.blank:
        yield Finding("grey", "note", "no colours", photo)


def _sizes(photo: tuple[str], inspection: Inspection, config: VerifyConfig) -> Iterator[Finding]:
    short, long = sorted((inspection.width, inspection.height))
    size = f"{inspection.width:,} x {inspection.height:,} pixels"
    if short < config.tiny:
        yield Finding("tiny", "warning", f"{size}, below {config.tiny}", photo, frozenset(photo))
    elif short < config.smallest:
        yield Finding("small", "note", f"{size}, below {config.smallest}", photo)
    if long > config.aspect * short:
        times = f"{long / short:.1f} times as long as wide"
        yield Finding("elongated", "warning", f"{size}, {times}", photo)
    if short * long > config.huge:
        yield Finding("huge", "note", f"{size}, {short * long / 1e6:,.0f} megapixels", photo)


def _fits(suffix: str, kind: str) -> bool:
    jpeg = suffix.lower() in (".pjpeg", ".pjp")  # as some browsers save them
    expected = "JPEG" if jpeg else Image.registered_extensions().get(suffix.lower())
    # Cameras name their JPEGs with previews .jpg, too.
    return expected == kind or {expected, kind} == {"JPEG", "MPO"}
