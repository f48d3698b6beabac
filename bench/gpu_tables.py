"""What gpu.py found, as Markdown; and the file into which a part writes its rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


class Rows:
    """The rows of a part, in a file from the moment they are known."""

    def __init__(self, file: Path) -> None:
        self.file, self.rows = file, list[dict[str, Any]]()

    def add(self, **row: Any) -> None:
        """Another row."""
        self.rows.append(row)
        draft = self.file.with_suffix(".part")
        draft.write_text(json.dumps(self.rows), encoding="utf-8")
        draft.replace(self.file)
        print("row:", row, flush=True)

    def check(self, what: str, apart: float, allowed: float, note: str = "") -> None:
        """A difference that should be at most so large; one that is no number is too large."""
        ok = math.isfinite(apart) and apart <= allowed
        self.add(what=what, apart=apart, allowed=allowed, ok=ok, note=note)

    def that(self, what: str, ok: bool, note: str = "") -> None:
        """Something that should be so."""
        self.add(what=what, ok=bool(ok), note=note)


def markdown(results: dict[str, Any]) -> str:
    """Machine, the checks, the speeds, how the parts ended."""
    about, parts = results["about"], results["parts"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [
        f"## {about['date']}, bench/gpu.py{' --small' if about['small'] else ''}",
        "",
        f"- {about['device']}, {about['cores']} cores; {versions}",
        f"- {results['seconds']} s in all: "
        + ", ".join(f"{name} {part['seconds']:.0f}" for name, part in parts.items()),
    ]
    lines += [
        f"- **{name}: {part['ended']}**"
        for name, part in parts.items()
        if part["ended"] != "finished"
    ]
    checks = [(name, row) for name, part in parts.items() for row in part["rows"] if "ok" in row]
    speeds = [row for part in parts.values() for row in part["rows"] if "speed" in row]
    notes = [row["note"] for p in parts.values() for row in p["rows"] if set(row) == {"note"}]
    lines += [f"- {note}" for note in notes]
    if checks:
        lines += ["", "| part | what | apart | allowed | | |", "|---|---|---|---|---|---|"]
        for name, row in checks:
            apart = f"{row['apart']:.2g}" if "apart" in row else ""
            allowed = f"{row['allowed']:g}" if "allowed" in row else ""
            ok = "ok" if row["ok"] else "**NOT OK**"
            lines.append(f"| {name} | {row['what']} | {apart} | {allowed} | {ok} | {row['note']} |")
    if speeds:
        lines += ["", "| what | images/s | of the bare step | waited | peak memory, MiB | |"]
        lines.append("|---|---|---|---|---|---|")
        for row in speeds:
            of, waited, memory = (row.get(key) for key in ("of", "waited", "memory"))
            cells = [
                row["what"], f"{row['speed']:,.0f}",
                "" if of is None else f"{of:.2f}",
                "" if waited is None else f"{100 * waited:.0f} %",
                "" if memory is None else f"{memory:,.0f}",
                row.get("note", ""),
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
