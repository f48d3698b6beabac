"""Write findings to the log, to `verify.csv`, which `data.exclude` reads, and `verify.html`."""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from pets.data.diagnostics import Severity
from pets.data.images import UnreadableImage, open_rgb
from pets.errors import some
from pets.io.atomic import write_atomically
from pets.io.csv_cells import write_cell
from pets.io.serialize import to_argument
from pets.report.template import own, template
from pets.verify.kinds import KINDS, SEVERITIES, Finding
from pets.verify.verification import Verification

_COLUMNS = ("path", "kind", "severity", "what", "group", "proposed", "label", "split")
_SIDE = 200  # pixels of a picture's longer side


def table(verification: Verification, seconds: float) -> Iterator[str]:
    """Yield log lines: the number of photos inspected, one row per kind, and the totals."""
    photos = verification.photos
    yield (
        f"{photos.root}: {verification.inspected:,} photos inspected in {seconds:.1f} s, "
        f"{len(photos.rows):,} to be used, of {len(photos.classes)} classes"
    )
    yield ""
    rows = [("", "kind", "found", "photos", "the first")]
    for severity, kind, found in _by_kind(verification):
        paths = [path for finding in found for path in finding.photos]
        named = paths and KINDS[kind].names_photos
        first = some([PurePosixPath(path).name for path in paths], 2) if named else found[0].what
        rows.append((severity, kind, f"{len(found):,}", f"{len(paths):,}" if paths else "", first))
    if len(rows) > 1:
        a, b, c, d = (max(len(row[column]) for row in rows) for column in range(4))
        for severity_, kind, count, paths_, first in rows:
            yield f"{severity_:<{a}}  {kind:<{b}}  {count:>{c}}  {paths_:>{d}}  {first}"
        yield ""
    yield verification.totals


def write_findings(verification: Verification, folder: Path, shown: int) -> tuple[Path, Path]:
    """Write the table and the page, with up to `shown` images per kind.

    Returns their paths. Raises OSError.
    """
    table, page = folder / "verify.csv", folder / "verify.html"
    write_atomically(table, as_csv(verification).encode())
    write_atomically(page, _as_page(verification, table, shown).encode())
    return table, page


def as_csv(verification: Verification) -> str:
    """Return one row per photo of every finding; findings about the whole data set have no path.

    `group` numbers the findings whose photos belong together; `proposed` is keep or exclude.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    group = 0
    for finding in verification.findings:
        group += finding.grouped
        number = group if finding.grouped else ""
        for path in finding.photos or ("",):
            photo = verification.by_path.get(path)
            label = photo.label if photo else verification.named.get(path) or ""
            proposed = "exclude" if path in finding.exclude else "keep"
            row = [path, finding.kind, finding.severity, finding.what, number, proposed, label]
            writer.writerow(map(write_cell, [*row, photo.split if photo else ""]))
    return text.getvalue()


def _by_kind(verification: Verification) -> Iterator[tuple[Severity, str, list[Finding]]]:
    for (severity, kind), found in groupby(verification.findings, lambda f: (f.severity, f.kind)):
        yield severity, kind, list(found)


def _as_page(verification: Verification, table: Path, most: int) -> str:
    """Render the findings as one HTML file that loads nothing from the network."""
    sections: list[dict[str, Any]] = []
    files: dict[str, Path] = {}
    for severity, kind, found in _by_kind(verification):
        shown: list[Finding] = []
        room = most
        for finding in found:
            if room > 0:  # of what belongs together all is shown that has room
                shown.append(replace(finding, photos=finding.photos[:room]))
                room -= max(len(finding.photos), 1)
        photos, pictures = sum(len(f.photos) for f in found), KINDS[kind].has_pictures
        hidden = photos - sum(len(f.photos) for f in shown)
        sections.append({
            "severity": severity, "kind": kind, "about": KINDS[kind].doc, "count": len(found),
            "photos": photos, "shown": shown, "hidden": hidden, "pictures": pictures,
        })  # fmt: skip
        if pictures:
            files |= {path: verification.photos.root / path for f in shown for path in f.photos}
    with ThreadPoolExecutor() as pool:
        uris = dict(zip(files, pool.map(_picture, files.values()), strict=True))
    page = template("pets.verify", "page.html").render(
        verification=verification,
        totals=verification.totals,
        counts={severity: len(verification.of(severity)) for severity in SEVERITIES},
        by_severity={s: [x for x in sections if x["severity"] == s] for s in SEVERITIES},
        sections=sections,
        pictures=uris,
        exclude=to_argument("data.exclude", table),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        style=own("pets.report", "page.css") + own("pets.verify", "page.css"),
        script=own("pets.report", "sort.js"),
    )
    return str(page)


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
