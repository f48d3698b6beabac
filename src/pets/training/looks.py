"""How often test photos were looked at.

Whoever chooses among runs by a test figure, as one does after some looks, chooses what was lucky on
these photos: the figure flatters the model.

A look is one measurement of one run: the test at the end of training, `pets eval`, `pets
interpret`, `pets compare` (one for each of its two runs), and what `unsure=auto` and `pets export`
reach on test photos. Sets of photos are told apart by their contents, by a hash of the sorted
hashes of all files, whatever their names. Each look is a line in `looks.jsonl` of the run, and a
line in `looks/` of the user's cache (`PETS_CACHE`), which counts over all runs.

What it cannot see: looks by another user, on another machine or with another cache folder, except
those of the very run that is measured; looks before the counting began, or whose lines were
deleted; what is done with `pets predict`, `pets serve`, exports or own code; other sets that share
photos with this one, such as another random split; the same pictures as other files; and whether
anybody decided anything by what was seen. The number is a lower bound.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pets.cache.memo import cache_folder
from pets.data.content_hash import hash_of_set
from pets.data.photos import OTHER
from pets.data.splits import TEST
from pets.io.atomic import regular
from pets.io.serialize import to_json
from pets.run_dir import RunDir
from pets.training.table import contents_of_test

log = logging.getLogger(__name__)
FILE = "looks.jsonl"
COUNTED = (TEST, OTHER)  # validation photos are there to be looked at


@dataclass(frozen=True)
class Looks:
    """How often a set of photos was looked at, and by how many runs."""

    times: int
    runs: int

    def __str__(self) -> str:
        if not self.times:
            return "looked at before looks were counted"
        times = {1: "once", 2: "twice"}.get(self.times, f"{self.times:,} times")
        return f"looked at {times}, by {self.runs:,} run{'' if self.runs == 1 else 's'}"

    def sentence(self, photos: str = "These photos") -> str:
        """What stands beside a number that was measured on the photos."""
        return (
            f"{photos} were {self}: the more looks lead to a choice, the more the chosen "
            "number flatters."
        )

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def count_look(run: RunDir, contents: Sequence[bytes], command: str) -> Looks:
    """Record that `command` measured a run on photos, and return all looks at them, this included.

    A line that cannot be written, as into a run of somebody else's, is a warning.

    Args:
        run: The run that was measured.
        contents: The content hash of each photo.
        command: Who looked, for the record.
    """
    data = hash_of_set(contents)
    look = {"data": data, "id": _id(run), "run": run.path.resolve().name, "command": command}
    line = to_json({**look, "at": datetime.now(UTC).isoformat()}).encode() + b"\n"
    for file in (run.path / FILE, _shared(data)) if run.writes else ():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with regular(file).open("a+b") as stream:
                # Half a line, of a process that was killed, would be glued to this one.
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(size - 1, 0))
                cut_off = stream.read(1) not in (b"", b"\n")
                # A short line is appended whole, also by several processes.
                stream.write(b"\n" * cut_off + line)
        except OSError as error:
            reason = error.strerror or error
            log.warning("%s: this look at the photos is not counted there (%s)", file, reason)
    return looks_at(contents, run)


def count_look_among(run: RunDir, contents: Sequence[bytes], command: str) -> str:
    """Record a look at a run's test photos if some of them are among others that were looked at.

    Returns:
        A sentence about them; "" if there are none, or if the photos are all of them and no others,
        which `count_look` records.
    """
    tests = contents_of_test(run)
    among = set(tests) & set(contents)
    if not among or set(tests) == set(contents):
        return ""
    looks = count_look(run, tests, command)
    return f"{len(among):,} of these are test photos of {run.path}, which were {looks}."


def looks_at(contents: Sequence[bytes], *runs: RunDir) -> Looks:
    """Return the looks at photos that this user's cache and these runs know of."""
    data = hash_of_set(contents)
    lines = {line for file in (_shared(data), *(r.path / FILE for r in runs)) for line in _of(file)}
    looks = [look for look in map(_parsed, lines) if look.get("data") == data]
    return Looks(len(looks), len({str(look.get("id")) for look in looks}))


def _id(run: RunDir) -> str:
    """Tell a run, also after it was moved, renamed or copied: by when, where and how long it was
    trained, and by what it reached. A sweep starts several runs within a second."""
    trained = [run.status.get(key) for key in ("started", "host", "seconds", "metrics")]
    return blake2b(to_json(trained).encode(), digest_size=8).hexdigest()


def _shared(data: str) -> Path:
    return cache_folder(os.environ.get("PETS_CACHE", "~/.cache/pets")) / "looks" / f"{data}.jsonl"


def _of(file: Path) -> Iterator[str]:
    try:
        if file.exists():
            yield from regular(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        reason = error.strerror or error
        log.warning("%s: the looks there are not counted (%s)", file, reason)


def _parsed(line: str) -> dict[str, Any]:
    """A look, or an empty one of a line that was cut off when its process or its disk ended."""
    try:
        look = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return look if isinstance(look, dict) else {}
