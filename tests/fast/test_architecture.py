"""ARCHITECTURE.md matches the code: files, layers, and the functions of the two journeys."""

import ast
import re
from pathlib import Path

import pytest

import pets
from tests.fast.test_rooms import imports_by_package

PACKAGE = Path(pets.__file__).parent
TOP = PACKAGE.parents[1]
TEXT = (TOP / "ARCHITECTURE.md").read_text(encoding="utf-8")
JOURNEYS = {"From the YAML to the optimizer": 7, "From the photo to the step": 15}


def steps(title: str) -> list[tuple[str, str]]:
    """The file and function of each step of a journey."""
    section = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| \d+ \| `([^`]+)`(?: `(\w+)`)? \|", section, re.MULTILINE)


def names(file: Path) -> set[str]:
    """The names that a module defines: functions, classes and their methods."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


@pytest.mark.parametrize("title", JOURNEYS)
def test_a_journey_has_few_steps_and_each_exists(title: str) -> None:
    journey = steps(title)
    assert 5 < len(journey) <= JOURNEYS[title]
    for file, function in journey:
        if file.startswith("conf/"):
            assert (TOP / file).is_file()
        elif function:
            assert function in names(PACKAGE / file), (file, function)
        else:
            assert (PACKAGE / file).is_file()


def test_the_picture_shows_layers_that_import_only_from_those_above() -> None:
    picture = TEXT.split("```\n")[1].splitlines()
    layer_of = {name: number for number, line in enumerate(picture) for name in line.split()}
    imports = imports_by_package()
    assert layer_of.keys() == (imports.keys() | {"errors", "registry"}) - {"__main__"}
    for name in layer_of:
        for other in imports[name]:
            assert layer_of[other] < layer_of[name], f"{name} imports {other}"


def test_every_named_file_and_package_exists() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|\.yaml|/))`", TEXT))
    assert len(named) > 40
    for name in named:
        folders = (TOP, TOP / "conf", PACKAGE, PACKAGE.parent)
        assert any((folder / name).exists() for folder in folders), name


def test_every_package_is_listed_and_the_text_is_short() -> None:
    for folder in PACKAGE.iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            assert f"`{folder.name}/`" in TEXT, folder.name
    assert len(TEXT.splitlines()) <= 120


def test_there_are_few_modules_outside_packages() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 10
