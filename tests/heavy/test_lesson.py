"""The lesson's notebook from a clean kernel: what it shows is so, today and on this machine."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from notebooks.execute import executed
from tests.fast.test_lesson import FILE, PICTURES, pictures


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    return executed(FILE, tmp_path_factory.mktemp("lesson"))


def words(notebook: nbformat.NotebookNode, cell: str) -> str:
    """What a cell shows as text."""
    (result,) = (c for c in notebook.cells if c.id == cell)
    return "".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for output in result.outputs
    )


def errors(notebook: nbformat.NotebookNode) -> list[float]:
    """The validation errors of the table that compares the runs."""
    table = words(notebook, "compare")
    return [float(line.split()[-1]) for line in table.splitlines()[1:]]


def test_the_lesson_comes_out_as_it_is_told(lesson: nbformat.NotebookNode) -> None:
    head, bad, moving, good = errors(lesson)
    assert 0.02 <= head <= 0.25
    assert bad >= 0.5, "one rate for all layers ruins the body"
    assert head < moving < bad, "with moving batch norms less so"
    assert good <= head + 0.03
    assert "the first epochs are the same: True" in words(lesson, "bad-compare")

    wrong, photos, inside = map(int, re.findall(r"\d+", words(lesson, "confused-share"))[:3])
    assert photos == 160
    assert wrong == round(head * photos)
    assert inside >= 0.5 * wrong
    share, count = re.match(r"([\d.]+)% of (\d+)", words(lesson, "test-score")).groups()  # type: ignore[union-attr]
    assert int(count) == 160
    assert 75 <= float(share) <= 100

    alike = [float(re.search(r"are ([\d.-]+) alike", words(lesson, cell))[1])  # type: ignore[index]
             for cell in ("bad-why", "good-moved")]  # fmt: skip
    assert alike[0] < 0.5
    assert alike[1] > 0.7


def test_what_it_shows_is_what_is_committed(lesson: nbformat.NotebookNode) -> None:
    committed = nbformat.read(FILE, as_version=4)
    assert errors(lesson) == pytest.approx(errors(committed), abs=0.1)
    for cell in ("look", "labels", "table", "pixels"):
        without_run = [re.sub(r"outputs/\S+/", "", words(n, cell)) for n in (lesson, committed)]
        assert without_run[0] == without_run[1]


def test_its_pictures_are_there(lesson: nbformat.NotebookNode) -> None:
    result = dict(pictures(lesson))
    assert tuple(result) == PICTURES
    assert all(picture.std() > 10 for picture in result.values())


def test_it_leaves_nothing_outside_its_folder(lesson: nbformat.NotebookNode) -> None:
    assert not [p for p in Path(FILE).parent.iterdir() if p.name in ("outputs", "data")]
