"""The packages of `src/pets` import each other in one direction only."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pets

ROOT = Path(pets.__file__).parent
OF_A_REPORT = {"pandas", "sklearn", "captum", "cleanlab", "transformers", "peft"}


def imported(tree: ast.AST, in_functions: bool = True) -> Iterator[str]:
    """The modules that a file imports, also inside functions; TYPE_CHECKING is skipped."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.FunctionDef) and not in_functions:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        yield from imported(node, in_functions)


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


def libraries_of(command: str) -> set[str]:
    """What a command imports before it works: in its own functions, and on top of all else."""
    libraries, done, left = set(), set(), {f"commands.{command}"}
    while left:
        module = left.pop()
        done.add(module)
        file = ROOT.joinpath(*module.split("."))
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for name in imported(tree, in_functions=module.startswith("commands.")):
            top, *parts = name.split(".")
            libraries.add(top)
            if top == "pets":
                # The packages on the way, the module, or what is imported from it.
                ways = (parts[: end + 1] for end in range(len(parts)))
                left |= {".".join(way) for way in ways if is_module(way)} - done
    return libraries


def is_module(parts: list[str]) -> bool:
    path = ROOT.joinpath(*parts)
    return (path / "__init__.py").is_file() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("command", ["predict", "serve"])
def test_what_uses_a_trained_network_imports_nothing_that_trains(command: str) -> None:
    libraries = libraries_of(command)
    assert {"torch", "numpy", "timm"} <= libraries
    assert not libraries & {"pytorch_lightning", "lightning_fabric", "torchmetrics"}
    # The server draws what the network looked at.
    assert command == "serve" or not libraries & (OF_A_REPORT | {"scipy", "matplotlib"})


def test_training_imports_nothing_that_only_a_report_needs() -> None:
    libraries = libraries_of("train")
    assert {"torch", "pytorch_lightning", "torchmetrics"} <= libraries
    assert not libraries & (OF_A_REPORT | {"matplotlib", "jinja2"})


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
