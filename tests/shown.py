"""What README and the guides show: fenced blocks, their commands, headings and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
GUIDES = sorted((TOP / "docs").glob("*.md"))
PAGES = [TOP / "README.md", *GUIDES]
TEXTS = [
    *PAGES,
    *(TOP / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    *(TOP / "bench" / name for name in ("README.md", "RESULTS.md")),
]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """A line of a fenced block as the shell reads it: its words, without its comment."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language; those of a shell have none."""
    return [inside for name, inside in _FENCE.findall(text) if name == language]


def lines(page: str, text: str) -> Iterator[Shown]:
    """Every line of the blocks without a language that is one of a shell."""
    for block in blocks(text, ""):
        for line in block.replace("\\\n", " ").splitlines():
            try:
                words = shlex.split(line, comments=True)
            except ValueError:  # a tree of folders, a picture made of letters
                continue
            if words:
                yield Shown(page, tuple(words))


def commands(page: str, text: str) -> Iterator[tuple[Shown, str, list[str]]]:
    """Every `pets COMMAND ...` of a page: where, the command, its arguments."""
    for line in lines(page, text):
        at = _pets(line.words)
        if at is not None:
            command, *rest = line.words[at + 1 :]
            end = next((i for i, word in enumerate(rest) if word in ("|", "&&", ";")), len(rest))
            yield line, command, rest[:end]


def all_commands() -> list[tuple[Shown, str, list[str]]]:
    """The commands of README and guides, each once."""
    found = {}
    for page in PAGES:
        for line, command, args in commands(page.name, page.read_text()):
            found.setdefault((command, *args), line)
    return [(line, command, args) for (command, *args), line in found.items()]


def _pets(words: tuple[str, ...]) -> int | None:
    """Where the program is among a line's words; None where it is only named."""
    for i, word in enumerate(words[:-1]):
        if Path(word).name != "pets":
            continue
        before = words[:i]
        starts = all("=" in w for w in before) or before[-1] in ("-m", "|")
        if starts or before[0] in ("timeout", "srun"):
            return i
    return None


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them of plain words."""
    prose = _FENCE.sub("", text)
    titles = re.findall(r"^#+ +(.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures that are no addresses."""
    prose = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text()))
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]
