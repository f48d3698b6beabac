"""`data.exclude`: a table of photos to leave out, as `pets verify` proposes them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container
from pathlib import Path

from pets.data.diagnostics import Diagnostics
from pets.data.name_matching import normal
from pets.data.tables import read_csv_of_photos
from pets.errors import DataError, some

log = logging.getLogger(__name__)
PROPOSED = ("keep", "exclude")


def read_excluded(file: str | None, root: Path = Path()) -> frozenset[str]:
    """Read the paths whose column `proposed` is `exclude`; all paths without such a column.

    Args:
        file: a CSV with the column `path`, relative to the data's root; None: no exclusions.
        root: the data's root.

    Raises:
        DataError: The table cannot be read, or has other values.
    """
    if file is None:
        return frozenset()
    name = f"data.exclude={file}"
    frame = read_csv_of_photos(name, Path(file), "path", more="proposed")
    if "proposed" in frame.columns:
        strange = sorted(set(frame["proposed"]) - set(PROPOSED))
        if strange:
            shown = some([word or "an empty cell" for word in strange])
            raise DataError(f"{name}: column proposed has {shown}; expected keep or exclude")
        frame = frame[frame["proposed"] == "exclude"]
    return frozenset(normal(path, root) for path in frame["path"] if path)


def without_excluded(
    file: str, known: Container[str], splits: dict[str, str], diagnostics: Diagnostics
) -> dict[str, str]:
    """Return the splits without the excluded photos; log their number and unknown rows.

    Raises:
        DataError: No row names a photo.
    """
    gone = Counter(split for path, split in splits.items() if path in diagnostics.excluded)
    unknown = sorted(p for p in diagnostics.excluded - diagnostics.excluded_hits if p not in known)
    if unknown and len(unknown) == len(diagnostics.excluded):
        raise DataError(
            f"data.exclude={file}: none of its {len(unknown):,} rows names a photo "
            f"({some(unknown)}); expected paths relative to data.root"
        )
    counts = ", ".join(f"{count:,} {split}" for split, count in gone.items())
    log.info("data.exclude=%s: left out %s photos%s", file, f"{gone.total():,}",
             f" ({counts})" if counts else "")  # fmt: skip
    if unknown:
        log.warning(
            "data.exclude=%s: %s rows name no photo: %s",
            file, f"{len(unknown):,}", some(unknown),
        )  # fmt: skip
    return {path: split for path, split in splits.items() if path not in diagnostics.excluded}
