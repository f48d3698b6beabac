"""The packages of `src/pets` import each other in one direction only."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pets

ROOT = Path(pets.__file__).parent


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules of pets that a file imports, also inside functions; TYPE_CHECKING is skipped."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        yield from imported(node)


def package_of(module: str) -> str | None:
    """The folder or top-level module below pets; None for other packages and for pets itself."""
    top, *parts = module.split(".")
    name = parts[0] if top == "pets" and parts else ""
    return name if (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file() else None


def imports_by_package() -> dict[str, set[str]]:
    packages: dict[str, set[str]] = defaultdict(set)
    for file in ROOT.rglob("*.py"):
        here = file.relative_to(ROOT).parts[0].removesuffix(".py")
        if here == "__init__":
            continue  # always imported before any of the packages
        result = {
            package_of(module) for module in imported(ast.parse(file.read_text(encoding="utf-8")))
        }
        packages[here] |= {other for other in result if other} - {here}
    return packages


def test_no_import_cycle_between_packages() -> None:
    try:
        list(TopologicalSorter(imports_by_package()).static_order())
    except CycleError as error:
        raise AssertionError(" is imported by ".join(error.args[1])) from None


def test_the_lowest_packages_import_no_others() -> None:
    packages = imports_by_package()
    assert packages["errors"] == set()
    assert packages["system"] <= {"errors"}
    assert packages["io"] <= {"errors"}
    assert packages["cache"] <= {"errors", "io"}


def test_only_a_config_references_the_demo_pets() -> None:
    packages = imports_by_package()
    assert packages["demo"] <= {"system"}
    assert not [name for name, others in packages.items() if "demo" in others]
