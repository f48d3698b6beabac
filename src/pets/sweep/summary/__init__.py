"""The result of a sweep as tables, charts and sentences, computed from its run directories."""

from __future__ import annotations

import logging
from pathlib import Path

from filelock import FileLock

from pets.errors import RunError
from pets.io.atomic import write_atomically
from pets.sweep.summary.charts import as_png
from pets.sweep.summary.page import as_page
from pets.sweep.summary.summary import Summary, summarize
from pets.sweep.summary.text import as_csv, as_markdown, on_screen

__all__ = ["Summary", "on_screen", "show_summary", "summarize", "write_summary"]

log = logging.getLogger(__name__)


def show_summary(folder: Path) -> None:
    """Write the summary of a sweep's folder and log its main lines.

    Raises:
        RunError: the folder holds no run, or cannot be written.
    """
    summary = summarize(folder)
    page = write_summary(summary)
    for line in on_screen(summary):
        log.info("%s", line)
    log.info("\nsummary  %s", page)


def write_summary(summary: Summary) -> Path:
    """Write `summary.csv`, `.md`, `.png` and `.html` into the sweep's folder.

    Each is replaced in one step; two processes may do so at once.

    Returns:
        The page.

    Raises:
        RunError: the folder cannot be written.
    """
    contents = {
        "summary.csv": as_csv(summary).encode(),
        "summary.md": as_markdown(summary).encode(),
        "summary.png": as_png(summary),
        "summary.html": as_page(summary).encode(),
    }
    folder = summary.folder
    try:
        with FileLock(folder / ".summary.lock"):
            for name, content in contents.items():
                write_atomically(folder / name, content)
    except OSError as error:
        raise RunError(
            f"{folder}: the summary cannot be written ({error.strerror or error}); make room, or "
            "see that you may write there"
        ) from error
    return folder / "summary.html"
