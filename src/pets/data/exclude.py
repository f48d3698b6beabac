"""`data.exclude`: photos that a table leaves out, as `pets verify` proposes them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container
from pathlib import Path

from pets.data.diagnostics import Remarks
from pets.data.name_matching import normal
from pets.data.tables import read_csv_of_photos
from pets.errors import DataError, some

log = logging.getLogger(__name__)
PROPOSED = ("keep", "exclude")


def read_excluded(file: str | None, root: Path = Path()) -> frozenset[str]:
    """The paths (relative to the data's root) of the rows whose `proposed` is `exclude`; of all
    rows where there is no such column. One row of a photo is enough. Raises DataError."""
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
    file: str, known: Container[str], splits: dict[str, str], remarks: Remarks
) -> dict[str, str]:
    """The photos that stay. Says how many go, and which rows name no photo.

    Raises DataError where no row names one.
    """
    gone = Counter(split for path, split in splits.items() if path in remarks.excluded)
    strangers = sorted(p for p in remarks.excluded - remarks.met if p not in known)
    if strangers and len(strangers) == len(remarks.excluded):
        raise DataError(
            f"data.exclude={file}: none of its {len(strangers):,} rows names a photo "
            f"({some(strangers)}); expected paths relative to data.root"
        )
    counts = ", ".join(f"{count:,} {split}" for split, count in gone.items())
    log.info("data.exclude=%s: left out %s photos%s", file, f"{gone.total():,}",
             f" ({counts})" if counts else "")  # fmt: skip
    if strangers:
        log.warning(
            "data.exclude=%s: %s rows name no photo: %s",
            file, f"{len(strangers):,}", some(strangers),
        )  # fmt: skip
    return {path: split for path, split in splits.items() if path not in remarks.excluded}
