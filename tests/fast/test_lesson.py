"""notebooks/lesson1.ipynb as committed: outputs of these very cells, nothing of a machine."""

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

FILE = Path(__file__).parents[2] / "notebooks/lesson1.ipynb"
PICTURES = (
    "pixels", "batch", "augment", "cycle", "top-losses", "confusion", "finder-picture",
    "test-losses", "kernels", "patches-first", "patches-middle", "patches-last", "predict",
)  # fmt: skip


@pytest.fixture(scope="module")
def lesson() -> nbformat.NotebookNode:
    return nbformat.read(FILE, as_version=4)


def pictures(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, np.ndarray]]:
    """Cell and pixels of every picture in the outputs."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            for kind, content in output.get("data", {}).items():
                if kind.startswith("image/"):
                    picture = Image.open(io.BytesIO(b64decode(content)))
                    yield cell.id, np.asarray(picture.convert("RGB"))


def test_the_outputs_are_of_these_cells(lesson: nbformat.NotebookNode) -> None:
    nbformat.validate(lesson)
    assert lesson.metadata.sources == sources(lesson), "changed since: make notebooks"
    code = [cell for cell in lesson.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    changed = lesson.copy()
    changed.cells = [*lesson.cells[:-1], nbformat.v4.new_code_cell("1")]
    assert lesson.metadata.sources != sources(changed)


def test_it_can_be_read_and_says_nothing_of_a_machine(lesson: nbformat.NotebookNode) -> None:
    assert FILE.stat().st_size < 1_500_000
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
            assert not re.search(r"(?<![\w.~</-])/\w+/", args), f"a machine's path in {cell.id}"


def test_every_picture_is_there(lesson: nbformat.NotebookNode) -> None:
    result = dict(pictures(lesson))
    assert tuple(result) == PICTURES
    for name, picture in result.items():
        assert min(picture.shape[:2]) >= 150, name
        assert picture.std() > 10, f"{name} is empty"
