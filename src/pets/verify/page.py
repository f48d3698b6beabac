"""The findings as one HTML file that loads nothing from the network."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from PIL import Image

from pets.data.diagnostics import Severity
from pets.data.images import UnreadableImage, open_rgb
from pets.report.template import own, template
from pets.verify.kinds import KINDS, SEVERITIES, Finding
from pets.verify.verification import Verification

_REPORT = "pets.report"
_OWN = "pets.verify"
_SIDE = 200  # pixels of a picture's longer side


@dataclass(frozen=True)
class Section:
    """The findings of one kind and severity: how many there are, and those that are shown."""

    kind: str
    severity: Severity
    about: str
    count: int
    photos: int
    shown: list[Finding]
    hidden: int  # photos that are in the table alone
    pictures: bool
    cards: bool  # a finding has a sentence over its photos; else each photo its own below it


def as_page(verification: Verification, table: Path, shown: int) -> str:
    """The page, with at most so many pictures `shown` of a kind."""
    sections = list(_sections(verification, shown))
    paths = {p for s in sections if s.pictures for f in s.shown for p in f.photos}
    files = {path: verification.photos.root / path for path in paths}
    with ThreadPoolExecutor() as pool:
        pictures = dict(zip(files, pool.map(_picture, files.values()), strict=True))
    page = template(_OWN, "page.html").render(
        verification=verification,
        totals=verification.totals,
        counts={severity: len(verification.of(severity)) for severity in SEVERITIES},
        by_severity={s: [x for x in sections if x.severity == s] for s in SEVERITIES},
        sections=sections,
        pictures=pictures,
        table=table,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        style=own(_REPORT, "page.css") + own(_OWN, "page.css"),
        script=own(_REPORT, "sort.js"),
    )
    return str(page)


def _sections(verification: Verification, most: int) -> Iterator[Section]:
    for (severity, kind), same in groupby(verification.findings, lambda f: (f.severity, f.kind)):
        findings = list(same)
        photos = sum(len(finding.photos) for finding in findings)
        shown, room = [], most
        for finding in findings:
            if room <= 0:
                break
            # Of what belongs together all is shown that has room.
            some = finding.photos[:room]
            shown.append(
                Finding(kind, severity, finding.what, some, finding.exclude, finding.grouped)
            )
            room -= max(len(some), 1)
        hidden = photos - sum(len(finding.photos) for finding in shown)
        yield Section(
            kind, severity, KINDS[kind].doc, len(findings), photos, shown, hidden,
            KINDS[kind].has_pictures, not KINDS[kind].one_photo,
        )  # fmt: skip


def _picture(file: Path) -> str:
    """A data URI; empty where there is nothing to see."""
    try:
        image = open_rgb(file)
    except UnreadableImage:
        return ""
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{b64encode(content.getvalue()).decode()}"
