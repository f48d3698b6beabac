"""A summary's files in the sweep's folder."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from pets.errors import RunError
from pets.io.atomic import write_atomically
from pets.sweep.summary.markdown import as_markdown
from pets.sweep.summary.page import as_page
from pets.sweep.summary.picture import as_png
from pets.sweep.summary.summary import Summary
from pets.sweep.summary.tables import as_csv


def write_summary(summary: Summary) -> Path:
    """Write `summary.csv`, `.md`, `.png` and `.html`, each in one step; returns the page.

    Two processes may do so at once: one waits. Raises RunError where the folder cannot be written.
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
