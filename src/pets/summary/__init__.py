"""Compare the runs of a sweep: tables, a figure, and sentences on which differences are noise."""

from __future__ import annotations

import logging
from pathlib import Path

from filelock import FileLock

from pets.errors import RunError
from pets.io.atomic import write_atomically
from pets.run_dir import OUT_OF_FOLD

log = logging.getLogger(__name__)


def show_summary(folder: Path) -> None:
    """Write the summary of a sweep to its folder, as three files, and log its main lines.

    Raises:
        RunError: The folder contains no run, or cannot be written.
    """
    # These import pandas, scipy and matplotlib, which takes seconds that other commands save.
    from pets.summary.figure import as_png
    from pets.summary.page import as_page
    from pets.summary.settings import summarize
    from pets.summary.tables import as_csv, on_screen

    summary = summarize(folder)
    contents = {
        "summary.csv": as_csv(summary).encode(),
        "summary.png": as_png(summary),
        "summary.html": as_page(summary).encode(),
    }
    try:
        with FileLock(folder / ".summary.lock"):
            for name, content in contents.items():
                write_atomically(folder / name, content)
            if summary.out_of_fold is not None:
                summary.out_of_fold.found.save(folder / OUT_OF_FOLD)
    except OSError as error:
        raise RunError(
            f"{folder}: the summary cannot be written ({error.strerror or error}); free some space "
            "or check the permissions"
        ) from error
    for line in on_screen(summary):
        log.info("%s", line)
    log.info("\nsummary  %s", folder / "summary.html")
