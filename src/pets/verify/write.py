"""Findings on the screen, in `verify.csv`, which `data.exclude` reads, and in `verify.html`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath

from pets.errors import some
from pets.io.atomic import write_atomically
from pets.io.csv_cells import write_cell
from pets.verify.kinds import KINDS
from pets.verify.page import as_page
from pets.verify.verification import Verification

COLUMNS = ("path", "kind", "severity", "what", "group", "proposed", "label", "split")


def table(verification: Verification, seconds: float) -> Iterator[str]:
    """Lines for the screen: how many photos were inspected, a row a kind, the totals."""
    photos = verification.photos
    yield (
        f"{photos.root}: {verification.inspected:,} photos looked at in {seconds:.1f} s, "
        f"{len(photos.rows):,} to be used, of {len(photos.classes)} classes"
    )
    yield ""
    rows = [("", "kind", "found", "photos", "the first")]
    for (severity, kind), group in groupby(verification.findings, lambda f: (f.severity, f.kind)):
        same = list(group)
        paths = [path for finding in same for path in finding.photos]
        named = paths and KINDS[kind].names_photos
        first = some([PurePosixPath(path).name for path in paths], 2) if named else same[0].what
        rows.append((severity, kind, f"{len(same):,}", f"{len(paths):,}" if paths else "", first))
    if len(rows) > 1:
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for severity, kind, count, paths_, first in rows:
            cells = f"{severity:<{widths[0]}}  {kind:<{widths[1]}}  {count:>{widths[2]}}"
            yield f"{cells}  {paths_:>{widths[3]}}  {first}"
        yield ""
    yield verification.totals


def write_findings(verification: Verification, folder: Path, shown: int) -> tuple[Path, Path]:
    """Write the table and the page; returns where they are. Raises OSError."""
    table, page = folder / "verify.csv", folder / "verify.html"
    write_atomically(table, as_csv(verification).encode())
    write_atomically(page, as_page(verification, table, shown).encode())
    return table, page


def as_csv(verification: Verification) -> str:
    """A row for every photo of every finding, one without a path for those about the whole.

    `group` numbers the findings whose photos belong together; `proposed` is keep or exclude.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    group = 0
    for finding in verification.findings:
        group += finding.grouped
        number = group if finding.grouped else ""
        about = (finding.kind, finding.severity, finding.what, number)
        for path in finding.photos or ("",):
            photo = verification.by_path.get(path)
            proposed = "exclude" if path in finding.exclude else "keep"
            known = (
                (photo.label, photo.split) if photo else (verification.named.get(path) or "", "")
            )
            writer.writerow(map(write_cell, [path, *about, proposed, *known]))
    return text.getvalue()
