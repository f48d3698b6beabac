"""What was found, on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import PurePosixPath

from pets.errors import some
from pets.verify.findings import Verified

_COLUMNS = ("", "kind", "found", "photos", "the first")

_SENTENCES = (
    "tiny class",
    "bad row",
    "ambiguous",
    "no split",
)  # kinds that say more than the names of their photos


def table(found: Verified, seconds: float) -> Iterator[str]:
    """Lines: how much was looked at, a row a kind, the sum."""
    photos = found.photos
    yield (
        f"{photos.root}: {found.looked_at:,} photos looked at in {seconds:.1f} s, "
        f"{len(photos.rows):,} to be used, of {len(photos.classes)} classes"
    )
    yield ""
    rows = [_COLUMNS]
    for (severity, kind), group in groupby(found.findings, lambda f: (f.severity, f.kind)):
        same = list(group)
        paths = [path for finding in same for path in finding.photos]
        named = paths and kind not in _SENTENCES
        first = some([PurePosixPath(path).name for path in paths], 2) if named else same[0].what
        rows.append((severity, kind, f"{len(same):,}", f"{len(paths):,}" if paths else "", first))
    if len(rows) > 1:
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for severity, kind, count, paths_, first in rows:
            cells = f"{severity:<{widths[0]}}  {kind:<{widths[1]}}  {count:>{widths[2]}}"
            yield f"{cells}  {paths_:>{widths[3]}}  {first}"
        yield ""
    yield totals(found)


def totals(found: Verified) -> str:
    """`2 errors, 1 warning, 5 notes`."""
    counts = {severity: len(found.of(severity)) for severity in ("error", "warning", "note")}
    words = [f"{n:,} {word}{'' if n == 1 else 's'}" for word, n in counts.items() if n]
    return ", ".join(words) or "nothing found"
