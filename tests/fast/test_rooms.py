"""The rooms of `src/pets` build on each other in one direction: no two import each other."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pets

ROOT = Path(pets.__file__).parent


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules of pets that a file imports, also inside functions; not for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        yield from imported(node)


def room(module: str) -> str | None:
    """The folder or top-level module below pets; None for other packages and for pets itself."""
    package, *parts = module.split(".")
    name = parts[0] if package == "pets" and parts else ""
    return name if (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file() else None


def imports_by_room() -> dict[str, set[str]]:
    rooms: dict[str, set[str]] = defaultdict(set)
    for file in ROOT.rglob("*.py"):
        here = file.relative_to(ROOT).parts[0].removesuffix(".py")
        if here == "__init__":
            continue  # loaded before any room, whichever is imported
        found = {room(module) for module in imported(ast.parse(file.read_text(encoding="utf-8")))}
        rooms[here] |= {other for other in found if other} - {here}
    return rooms


def test_no_import_cycle_between_rooms() -> None:
    try:
        list(TopologicalSorter(imports_by_room()).static_order())
    except CycleError as error:
        raise AssertionError(" is imported by ".join(error.args[1])) from None


def test_the_foundation_imports_no_other_room() -> None:
    rooms = imports_by_room()
    assert rooms["errors"] == set()
    assert rooms["system"] <= {"errors"}
    assert rooms["io"] <= {"errors"}
    assert rooms["cache"] <= {"errors", "io"}


def test_the_demo_pets_are_named_by_a_config_alone() -> None:
    rooms = imports_by_room()
    assert rooms["demo"] <= {"system"}
    assert not [name for name, others in rooms.items() if "demo" in others]
