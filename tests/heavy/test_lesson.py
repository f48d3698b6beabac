"""The notebooks from a clean kernel: what they tell is so, today and on this machine."""

from __future__ import annotations

import ast
import re

import nbformat
import numpy as np
import pytest

from notebooks.execute import executed
from tests.fast.test_lesson import FOLDER, PICTURES, committed, each, pictures


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, nbformat.NotebookNode]:
    return {
        name: executed(FOLDER / f"{name}.ipynb", tmp_path_factory.mktemp(name)) for name in PICTURES
    }


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


def epochs(notebook: nbformat.NotebookNode, cell: str) -> list[str]:
    """The rows of the epochs that a training shows, without their seconds."""
    rows = re.findall(r"^ +\d+  .*(?=  +\d\d:\d\d$)", words(notebook, cell), re.MULTILINE)
    return [row.strip() for row in rows]


def test_the_lesson_comes_out_as_it_is_told(lessons: dict[str, nbformat.NotebookNode]) -> None:
    lesson = lessons["lesson1"]
    head, bad, moving, good = errors(lesson)
    assert 0.02 <= head <= 0.25
    assert bad >= 0.5, "one rate for all layers ruins the backbone"
    assert head < moving < bad, "with moving batch norms less so"
    assert good <= head + 0.03

    stages = {cell: epochs(lesson, cell) for cell in ("frozen", "bad", "moving", "good")}
    assert [len(rows) for rows in stages.values()] == [4, 5, 5, 5], "as many epochs of each"
    assert all(rows[:4] == stages["frozen"] for rows in stages.values()), "the head's are the same"

    pairs = ast.literal_eval(words(lesson, "confused"))
    alike = {("Harbour_Blue", "Slate_Fold"), ("coast_bull_terrier", "valley_bull_terrier")}
    inside = sum(n for actual, said, n in pairs if tuple(sorted((actual, said))) in alike)
    assert inside >= 0.7 * 160 * head, "nearly all mistakes are within two pairs"
    share, count = re.match(r"([\d.]+)% of (\d+)", words(lesson, "test-score")).groups()  # type: ignore[union-attr]
    assert int(count) == 160
    assert 75 <= float(share) <= 100

    rows = re.findall(r"^group\d+ +(.*)$", words(lesson, "good-moved"), re.MULTILINE)
    moved = np.array([list(map(float, row.split())) for row in rows])
    ruined, _, tuned = moved.max(axis=0)
    assert ruined > 3 * tuned, "the backbone moves little with the found rates"


def test_dogs_and_cats_come_out_as_told(lessons: dict[str, nbformat.NotebookNode]) -> None:
    lesson = lessons["dogs_vs_cats"]
    assert words(lesson, "labels").startswith("['cat', 'dog']")
    assert len(epochs(lesson, "train")) == 3
    one, eight = map(float, re.findall(r"([\d.]+)% right", words(lesson, "tta")))
    first = [float(row.split()[-1]) for row in epochs(lesson, "train")]
    assert 0 < first[-1] < 0.2, "good in seconds, and some photos are wrong"
    assert min(one, eight) >= 100 * (1 - first[-1]), "all layers and new views make it better"


@each
def test_what_it_shows_is_what_is_committed(
    name: str, lessons: dict[str, nbformat.NotebookNode]
) -> None:
    here, there = lessons[name], committed(name)
    if name == "lesson1":
        assert errors(here) == pytest.approx(errors(there), abs=0.1)
    for cell in {"look", "labels", "pixels", "numbers"} & {cell.id for cell in here.cells}:
        without_run = [re.sub(r"outputs/\S+/", "", words(n, cell)) for n in (here, there)]
        assert without_run[0] == without_run[1]
    result = dict(pictures(here))
    assert tuple(result) == PICTURES[name]
    assert all(picture.std() > 5 for picture in result.values())


def test_they_leave_nothing_outside_their_folder(
    lessons: dict[str, nbformat.NotebookNode],
) -> None:
    assert not [p for p in FOLDER.iterdir() if p.name in ("outputs", "data")]
