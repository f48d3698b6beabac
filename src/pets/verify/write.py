"""The findings as files: `verify.csv`, which `data.exclude` reads, and `verify.html`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pets.io.atomic import write_atomically
from pets.io.csv_cells import write_cell
from pets.verify.findings import Verified
from pets.verify.page import as_page

COLUMNS = ("path", "kind", "severity", "what", "group", "proposed", "label", "split")


def write_findings(found: Verified, folder: Path, shown: int) -> tuple[Path, Path]:
    """Write the table and the page; returns where they are. Raises OSError."""
    table, page = folder / "verify.csv", folder / "verify.html"
    write_atomically(table, as_csv(found).encode())
    write_atomically(page, as_page(found, table, shown).encode())
    return table, page


def as_csv(found: Verified) -> str:
    """A row for every photo of every finding, one without a path for those about the whole.

    `group` numbers the findings whose photos belong together; `proposed` is keep or exclude.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    group = 0
    for finding in found.findings:
        group += finding.grouped
        number = group if finding.grouped else ""
        about = (finding.kind, finding.severity, finding.what, number)
        for path in finding.photos or ("",):
            photo = found.by_path.get(path)
            proposed = "exclude" if path in finding.exclude else "keep"
            known = (photo.label, photo.split) if photo else (found.named.get(path) or "", "")
            writer.writerow(map(write_cell, [path, *about, proposed, *known]))
    return text.getvalue()
