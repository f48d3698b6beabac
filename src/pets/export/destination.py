"""The folder of an export: which files an export wrote, so that the next one may replace them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pets.errors import ConfigError, some

SUMS = "SHA256SUMS"  # an export's files, as `sha256sum -c` reads it


def list_files(folder: Path) -> None:
    """Write `SHA256SUMS`, of every file that is there."""
    lines = [f"{_sum(folder / name)}  {name}\n" for name in _files(folder)]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check_free(folder: Path, out: Path) -> None:
    """Raises ConfigError where a folder has something that no export wrote there, or that was
    changed since: it would be lost."""
    if not folder.exists():
        return
    if not (folder / SUMS).is_file():
        raise ConfigError(
            f"out={out}: {folder} is there and is no export; expected a new folder, or one that "
            "an export may replace"
        )
    known = listed(folder)
    own = [name for name in _files(folder) if not _is_as_listed(folder / name, known.get(name))]
    if own:
        raise ConfigError(
            f"out={out}: {folder} has files that no export wrote, or that were changed since "
            f"({some(own)}), and would be replaced as a whole; move them away, or export to "
            "another folder with out=..."
        )


def listed(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that the export in a folder wrote; empty where none is there."""
    if not (folder / SUMS).is_file():
        return {}
    lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: found for found, _, name in (line.partition("  ") for line in lines)}


def _is_as_listed(path: Path, known: str | None) -> bool:
    return known is not None and path.is_file() and not path.is_symlink() and known == _sum(path)


def _files(folder: Path) -> list[str]:
    """All in a folder but the list itself, and what Python makes of the script when it is
    imported; of a folder with something in it, that alone."""
    found = (path for path in folder.rglob("*") if not path.is_dir() or not any(path.iterdir()))
    names = (path.relative_to(folder) for path in found)
    return sorted(
        name.as_posix() for name in names if name.parts[0] != "__pycache__" and str(name) != SUMS
    )


def _sum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
