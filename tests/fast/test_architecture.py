"""ARCHITECTURE.md is true: its files are there, and the two journeys go through these functions."""

import ast
import re
from pathlib import Path

import pytest

import pets

PACKAGE = Path(pets.__file__).parent
TOP = PACKAGE.parents[1]
TEXT = (TOP / "ARCHITECTURE.md").read_text(encoding="utf-8")
JOURNEYS = {"From the YAML to the optimizer": 7, "From the photo to the step": 15}


def hops(title: str) -> list[tuple[str, str]]:
    """The file and function of each hop of a journey."""
    section = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| \d+ \| `([^`]+)`(?: `(\w+)`)? \|", section, re.MULTILINE)


def names(file: Path) -> set[str]:
    """What a module defines: functions, classes and their methods."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


@pytest.mark.parametrize("title", JOURNEYS)
def test_a_journey_has_few_hops_and_each_is_there(title: str) -> None:
    found = hops(title)
    assert 5 < len(found) <= JOURNEYS[title]
    for file, function in found:
        if file.startswith("conf/"):
            assert (TOP / file).is_file()
        elif function:
            assert function in names(PACKAGE / file), (file, function)
        else:
            assert (PACKAGE / file).is_file()


def test_every_file_and_room_is_there() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|\.yaml|/))`", TEXT))
    assert len(named) > 40
    for name in named:
        places = (TOP, TOP / "conf", PACKAGE, PACKAGE.parent)
        assert any((place / name).exists() for place in places), name


def test_every_room_is_said_and_it_is_short() -> None:
    for room in PACKAGE.iterdir():
        if room.is_dir() and room.name != "__pycache__":
            assert f"`{room.name}/`" in TEXT, room.name
    assert len(TEXT.splitlines()) <= 120


def test_few_modules_lie_beside_the_rooms() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 10
