"""The record of all decisions: lines that are appended and synced one by one, and read at start.

A server that is killed loses nothing that it has answered. Nothing is ever overwritten: an undo is
a line, too.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from pets.errors import RunError, some
from pets.interpretation.interpretation import wilson
from pets.io.atomic import regular, to_disk
from pets.io.serialize import to_json

log = logging.getLogger(__name__)
FORMAT = 1
_COPY = "take the file from a copy, or delete the line to go on without it"
Action = Literal["label", "exclude", "skip", "undo"]


@dataclass(frozen=True)
class Entry:
    """A decision about a photo.

    Attributes:
        number: 1 for the first line, and so on.
        photo: The content hash of the photo.
        path: Where it lay, for people who read the file.
        action: What was decided; `undo` takes back the entry `undoes`.
        label: The class, with `label`; else "".
        tab: Which tab of a browser decided it.
        key: Chosen by the tab, so that a decision that is sent again counts once.
        undoes: The number of the entry that is taken back; else 0.
        at: When, in UTC.
    """

    number: int
    photo: str
    path: str
    action: Action
    label: str
    tab: str
    key: str
    undoes: int
    at: str


@dataclass(frozen=True)
class Measured:
    """The error of the head after so many decisions: `wrong` of `photos` validation photos."""

    labels: int
    wrong: int
    photos: int

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the error."""
        return wilson(self.wrong, self.photos)


_ENTRY, _MEASURED = TypeAdapter(Entry), TypeAdapter(Measured)


class Journal:
    """A file of decisions, and of the errors that were measured in between.

    Only one process may have it open: it holds the lock.
    """

    def __init__(self, file: Path, classes: Sequence[str]) -> None:
        """Read a file, if there is one; a last line that was cut off is removed.

        Raises:
            RunError: It is damaged, or its decisions are of other classes.
            OSError: It cannot be read or written.
        """
        self.file, self.classes, self.entries = file, list(classes), list[Entry]()
        self.measured = list[Measured]()
        self._begun = False
        if file.exists():
            self._read_file()

    def append(
        self,
        photo: str,
        path: str,
        action: Action,
        label: str = "",
        tab: str = "",
        key: str = "",
        undoes: int = 0,
    ) -> Entry:
        """Write a decision to the disk and return it. Raises OSError, and then nothing is left."""
        number = self.entries[-1].number + 1 if self.entries else 1
        at = datetime.now(UTC).isoformat(timespec="seconds")
        entry = Entry(number, photo, path, action, label, tab, key, undoes, at)
        self._write(to_json(asdict(entry), ensure_ascii=False))
        self.entries.append(entry)
        return entry

    def measure(self, measured: Measured) -> None:
        """Write an error. Raises OSError."""
        self._write(to_json(asdict(measured)))
        self.measured.append(measured)

    def begin(self) -> None:
        """Write the first line of a new file. Raises OSError."""
        if not self._begun:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._write_line(self._header())
            to_disk(self.file.parent)  # the name of a new file
            self._begun = True

    def _write(self, line: str) -> None:
        self.begin()
        self._write_line(line)

    def _write_line(self, line: str) -> None:
        content, before = f"{line}\n".encode(), 0
        with self.file.open("ab", buffering=0) as stream:
            before = stream.seek(0, os.SEEK_END)
            try:
                if stream.write(content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(stream.fileno())
            except OSError:
                stream.truncate(before)  # a half line would be glued to the next one
                raise

    def _read_file(self) -> None:
        content = regular(self.file).read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            lines = whole.decode().split("\n")[:-1]
        except UnicodeDecodeError as error:
            raise RunError(f"{self.file}: damaged, is not UTF-8 text; {_COPY}") from error
        if lines or not self._header().encode().startswith(content):
            self._check_header(lines[0] if lines else "")
        for number, line in enumerate(lines[1:], 2):
            self._read(number, line)
        if len(whole) < len(content):
            log.warning("%s: its last line was cut off when it was written; removed", self.file)
            os.truncate(self.file, len(whole))
        self._begun = bool(lines)

    def _header(self) -> str:
        return to_json({"pets label": FORMAT, "classes": self.classes}, ensure_ascii=False)

    def _check_header(self, line: str) -> None:
        try:
            header = json.loads(line)
            written, classes = header["pets label"], [str(name) for name in header["classes"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(
                f"{self.file}: is not a record of pets label; give another out="
            ) from error
        if written != FORMAT:
            raise RunError(
                f"{self.file}: has format {written}, this version of pets reads {FORMAT}"
            )
        if classes != self.classes:
            other = sorted({*classes} ^ {*self.classes}) or classes
            raise RunError(
                f"{self.file}: its labels are of other classes than the run's ({some(other)}); "
                "give another out="
            )

    def _read(self, number: int, line: str) -> None:
        try:
            values = json.loads(line)
            if "wrong" in values:
                measured = _MEASURED.validate_json(line, strict=True)
                if not 0 <= measured.wrong <= measured.photos or not measured.photos:
                    raise ValueError("no share")
                self.measured.append(measured)
                return
            entry = _ENTRY.validate_json(line, strict=True)
            if (entry.action == "label") != (entry.label in self.classes):
                raise ValueError("no class")
        except (ValueError, ValidationError, TypeError, RecursionError) as error:
            raise RunError(f"{self.file}: line {number} is damaged; {_COPY}") from error
        if self.entries and entry.number <= self.entries[-1].number:
            raise RunError(f"{self.file}: line {number} is out of order; {_COPY}")
        self.entries.append(entry)
