"""The runs of a sweep compared: one table, one figure, and sentences that say what is noise."""

from __future__ import annotations

import logging
from pathlib import Path

from filelock import FileLock

from pets.errors import RunError
from pets.io.atomic import write_atomically

log = logging.getLogger(__name__)


def show_summary(folder: Path) -> None:
    """Write the summary of a sweep's folder into it, as three files, and log its main lines.

    Raises:
        RunError: the folder holds no run, or cannot be written.
    """
    # They import pandas, scipy and matplotlib: seconds, of which other commands need none.
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
    except OSError as error:
        raise RunError(
            f"{folder}: the summary cannot be written ({error.strerror or error}); make room, or "
            "see that you may write there"
        ) from error
    for line in on_screen(summary):
        log.info("%s", line)
    log.info("\nsummary  %s", folder / "summary.html")
