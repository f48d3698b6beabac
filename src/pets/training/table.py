"""The photos of a run, as its table names them: read in one way, with one check."""

from __future__ import annotations

from pathlib import Path

from pets.data.photos import SPLITS, Photos
from pets.data.splits import TEST
from pets.errors import DataError, RunError
from pets.run_dir import RunDir

FILE = "photos.csv"
CHANGED = "one of the two was changed, take both from a copy of the run"


def load_table(run: RunDir, root: Path) -> Photos:
    """Read the run's table of photos; they lie below `root`.

    Raises:
        DataError: It cannot be read.
        RunError: It has more or fewer rows than the run has photos.
    """
    table = Photos.load(run.path / FILE, root)
    counts = run.read_json("data.json")
    total = sum(counts.get(split) or 0 for split in SPLITS)
    if len(table.rows) != total:
        raise RunError(
            f"{run.path / FILE}: names {len(table.rows):,} photos, though data.json counts "
            f"{total:,}; {CHANGED}"
        )
    return table


def contents_of_test(run: RunDir) -> list[bytes]:
    """Return the content hash of each test photo of a run. Raises DataError, RunError."""
    try:
        return [bytes.fromhex(photo.content) for photo in load_table(run, run.path).of(TEST)]
    except ValueError as error:
        raise DataError(
            f"{run.path / FILE}: damaged, a content that is no hash ({error})"
        ) from error
