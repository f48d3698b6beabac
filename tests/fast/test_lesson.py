"""The notebooks as committed: outputs of these very cells, nothing of a machine."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from notebooks.execute import sources

FOLDER = Path(__file__).parents[2] / "notebooks"
# The cells that show a picture.
PICTURES = {
    "lesson1": (
        "pixels", "batch", "augment", "cycle", "top-losses", "confusion", "finder-picture",
        "test-losses", "kernels", "patches-first", "patches-middle", "patches-last", "predict",
    ),
    "dogs_vs_cats": (
        "one", "batch", "right", "wrong", "wrong-cats", "wrong-dogs", "right-cats", "right-dogs",
        "unsure", "finder-picture", "augment", "sched", "confusion", "losses",
    ),
}  # fmt: skip
each = pytest.mark.parametrize("name", PICTURES)


def committed(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def pictures(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, np.ndarray]]:
    """Cell and pixels of every picture in the outputs."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            for kind, content in output.get("data", {}).items():
                if kind.startswith("image/"):
                    picture = Image.open(io.BytesIO(b64decode(content)))
                    yield cell.id, np.asarray(picture.convert("RGB"))


def test_these_are_all_notebooks() -> None:
    assert {file.stem for file in FOLDER.glob("*.ipynb")} == set(PICTURES)


@each
def test_the_outputs_are_of_these_cells(name: str) -> None:
    lesson = committed(name)
    nbformat.validate(lesson)
    assert lesson.metadata.sources == sources(lesson), "changed since: make notebooks"
    code = [cell for cell in lesson.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    changed = lesson.copy()
    changed.cells = [*lesson.cells[:-1], nbformat.v4.new_code_cell("1")]
    assert lesson.metadata.sources != sources(changed)


@each
def test_it_can_be_read_and_says_nothing_of_a_machine(name: str) -> None:
    lesson = committed(name)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 1_500_000
    ids = [cell.id for cell in lesson.cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in ids), "ids are words, not hashes"
    assert lesson.metadata.kernelspec.name == "python3"
    assert not any(cell.metadata for cell in lesson.cells)
    for cell in lesson.cells:
        for output in cell.get("outputs", ()):
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text
            args = output.get("text", "") + "".join(
                text for kind, text in output.get("data", {}).items() if kind.startswith("text/")
            )
            assert "\x1b" not in args
            assert "\r" not in args
            assert " at 0x" not in args
            assert not re.search(r"(?<![\w.~</-])/\w+/", args), f"a machine's path in {cell.id}"


@each
def test_every_picture_is_there(name: str) -> None:
    result = dict(pictures(committed(name)))
    assert tuple(result) == PICTURES[name]
    for cell, picture in result.items():
        assert min(picture.shape[:2]) >= 150, cell
        assert picture.std() > 10, f"{cell} is empty"


@each
def test_cells_are_calls_without_plumbing(name: str) -> None:
    for cell in committed(name).cells:
        if cell.cell_type == "code":
            assert not re.search(r"^(def|class) |os\.environ|sys\.path", cell.source, re.M), cell.id
            assert len(cell.source.splitlines()) <= 9, cell.id
            imported = set(re.findall(r"^(?:from|import) (pets[.\w]*)", cell.source, re.M))
            assert imported <= {"pets.notebook"}, cell.id


@each
def test_links_lead_somewhere(name: str) -> None:
    text = "\n".join(c.source for c in committed(name).cells if c.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (FOLDER / target).is_file(), target
