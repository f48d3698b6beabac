"""Names in figures, as people and strangers give them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from pets.data.photos import Photo, Photos
from pets.data.preview import describe, draw_classes
from pets.io.figures import as_svg, one_line, plain
from pets.io.pictures import TITLE, grid, pixels
from pets.report.charts import confusion_chart, learning_curves

NAMES = [
    "$", "$$", "a$_{$", "b_$^$", r"\frac{", r"$\frac{$", r"{a}\$", r"\\$x$", "100%#", "_hidden",
    "日本🐈", "\u202eابجد", "new\nline", "\ud800", "\x1b[31mred", "x" * 240, " ",
]  # fmt: skip


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("name", [name for name in NAMES if "$" in name])
def test_a_dollar_is_a_dollar(name: str) -> None:
    def drawn(text: str, parse_math: bool) -> np.ndarray:
        figure = Figure(figsize=(3, 1))
        figure.text(0.1, 0.5, text, parse_math=parse_math)
        return pixels(figure)

    assert np.array_equal(drawn(plain(name, 40), True), drawn(name, False))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("new\nline", "new line"), ("\u202eابجد", "ابجد"), ("\ud800a", "a"), (" ", "(blank)"),
        ("\x1b[31mred", "[31mred"), ("x" * 240, "x" * 9 + "…"),
    ],
)  # fmt: skip
def test_a_name_on_one_line(name: str, shown: str) -> None:
    assert one_line(name, 10) == shown


def test_every_chart_of_names_is_drawn(tmp_path: Path) -> None:
    rows = (Photo(f"{place}.jpg", name, "train") for place, name in enumerate(NAMES))
    photos = Photos(tmp_path, tuple(rows))
    epoch = {"train_loss": 1.0, "valid_loss": 1.0, "error_rate": 0.5}
    picture = torch.zeros(3, 20, 20, dtype=torch.uint8)
    for figure in (
        draw_classes(photos),
        confusion_chart(np.eye(len(NAMES)), NAMES),
        learning_curves([epoch | {"stage": name} for name in NAMES]),
        grid([picture] * len(NAMES), [plain(name, TITLE) for name in NAMES], columns=4),
    ):
        assert pixels(figure).std() > 0
        assert as_svg(figure).startswith("data:image/svg+xml;base64,")


def test_every_class_has_a_bar_of_its_own(tmp_path: Path) -> None:
    """Also those whose names are the same when shortened, and numbers."""
    names = ["x" * 240, "x" * 241, "1", "2"]
    rows = [Photo("a.jpg", name, "train") for i, name in enumerate(names) for _ in range(i + 1)]
    (axes,) = draw_classes(Photos(tmp_path, tuple(rows))).axes
    assert [bar.get_width() for bar in axes.patches] == [3, 4, 1, 2]
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["1", "2"]


def test_the_table_of_look_has_a_line_a_class(drawn: Path) -> None:
    photo = str(next((drawn / "images").glob("*.jpg")).relative_to(drawn))
    photos = Photos(drawn, tuple(Photo(photo, name, "train") for name in NAMES))
    lines = list(describe(photos, [(10, 10)] * len(NAMES)))
    assert f"{'$':<40}       1       0       0" in lines
    assert all(line.isprintable() for line in lines)
    assert lines[3 + len(NAMES)].startswith("all ")
