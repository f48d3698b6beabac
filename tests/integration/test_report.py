"""report.html in a real browser: it is clicked, sorted, opened, by mouse and keyboard."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from docs.pictures import shot
from pets.config import InterpretSettings
from pets.data.photos import Photo, Photos
from pets.interpretation import Interpretation
from pets.interpretation.analysis import Analysis
from pets.interpretation.extraction import Extracted
from pets.report.write import write_page
from pets.run_dir import RunDir
from pets.training.checkpoint_io import AtomicCheckpointIO
from pets.training.checkpoints import load_run, read_checkpoint
from tests.integration.browser import COLOURS, CUT_OFF, opened
from tests.integration.conftest import Pets


@pytest.fixture(scope="module")
def report(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page about a small run that makes mistakes, however well it has learnt: it prefers one
    class."""
    pets = Pets(tmp_path_factory.mktemp("report"))
    shutil.copytree(trained, pets.folder / "run")
    file = pets.folder / "run/checkpoints/last.ckpt"
    checkpoint = read_checkpoint(file)
    bias = [name for name in checkpoint["state_dict"] if name.endswith("bias")][-1]
    assert len(checkpoint["state_dict"][bias]) == 10
    checkpoint["state_dict"][bias][4] += 2
    AtomicCheckpointIO().save_checkpoint(checkpoint, file)
    pets("interpret", "run=run", "tta=2")
    return pets.folder / "run/interpret/test_tta2/report.html"


def column(page: Any, number: int) -> list[str]:
    """The cells of one column of the table of classes, from top to bottom."""
    return page.locator(f".sortable tbody tr > :nth-child({number})").all_inner_texts()


def test_everything_can_be_clicked(report: Path) -> None:
    result = Interpretation.load(report.parent / "predictions.parquet", "test")
    with opened(report) as page:
        share = f"{100 * result.accuracy:.1f}\u00a0%"
        assert page.locator("h1").inner_text() == f"{share} of 20 photos right"

        # Every picture is there and says what it is.
        pictures = page.locator("img").all()
        assert len(pictures) > 60
        for picture in pictures:
            assert picture.get_attribute("alt")
        broken = "[...document.images].filter((i) => !i.complete || !i.naturalWidth).length"
        assert page.evaluate(broken) == 0

        # The table of classes sorts, and the other way.
        heading = page.locator(".sortable thead button", has_text="recall")
        heading.click()
        recalls = [float(text.split("\u00a0")[0]) for text in column(page, 3)]
        assert recalls == sorted(recalls)
        assert recalls == pytest.approx(
            sorted(100 * result.classification_report()["recall"]), abs=0.06
        )
        heading.click()
        assert [float(t.split("\u00a0")[0]) for t in column(page, 3)] == sorted(recalls)[::-1]
        assert heading.locator("..").get_attribute("aria-sort") == "descending"
        page.locator(".sortable thead button", has_text="class").first.click()
        assert column(page, 1) == sorted(result.classes, key=str.casefold)

        # A cell of the matrix opens its photos.
        actual, predicted, count = result.most_confused()[0]
        cell = page.get_by_role("button", name=f"of {actual} taken for {predicted}")
        assert cell.inner_text() == str(count)
        cell.click()
        dialog = page.locator("dialog#cell")
        assert dialog.is_visible()
        assert f"of {actual} taken for {predicted}" in dialog.locator("h3").inner_text()
        paths = set(dialog.locator(".path").all_inner_texts())
        table = result.table
        mine = table[(table.label == actual) & (table.prediction == predicted)]
        assert paths == set(mine.path)
        page.keyboard.press("Escape")
        assert not dialog.is_visible()

        # Grad-CAM: drawn over the photo, and for the label below.
        card = page.locator("article:has(details)").first
        top = result[int(result.top_losses(1).index[0])]
        assert f"{top.prediction} / {top.label} / {top.loss:.2f}" in card.inner_text()
        assert not card.locator("details canvas").is_visible()
        card.locator("summary").click()
        assert card.locator("details canvas").is_visible()
        strongest = """(canvas) => Math.max(...canvas.getContext('2d').getImageData(
            0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 === 3))"""
        assert card.locator("canvas").first.evaluate(strongest) == 190
        near = card.locator("details figcaption").all_inner_texts()[1:]
        assert len(near) == 4
        assert all("similarity" in args for args in near)

        # The galleries of a class.
        page.locator("select#class").select_option(result.classes[3])
        args = page.locator("#of-class figcaption").all_inner_texts()
        right = result.most_correct(result.classes[3]).path.tolist()
        assert [text.split("\n")[-1] for text in args][: len(right)] == right

        assert page.locator("table", has_text="mean of all").locator("tr").count() == 3


def test_the_matrix_by_keyboard(report: Path) -> None:
    with opened(report) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        cells = page.locator(".matrix button")
        assert cells.evaluate_all("(all) => all.filter((b) => b.tabIndex === 0).length") == 1
        start = page.locator(".matrix button.hit").first
        start.focus()
        page.keyboard.press("ArrowDown")
        index = "[document.activeElement.dataset.row, document.activeElement.dataset.column]"
        first = [start.get_attribute("data-row"), start.get_attribute("data-column")]
        row, below = page.evaluate(index)
        if [row, below] == first:  # nothing below in this column
            page.keyboard.press("ArrowRight")
            row, below = page.evaluate(index)
        assert [row, below] != first or cells.count() == 10
        page.keyboard.press("Enter")
        assert page.locator("dialog#cell").is_visible()
        page.keyboard.press("Escape")
        assert page.evaluate(index) == [row, below]


def test_a_phone_and_the_dark(report: Path) -> None:
    for width in (360, 390):
        with opened(report, width, phone=True) as page:
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.locator("nav").evaluate("(e) => e.scrollWidth <= e.clientWidth")
            # What a phone cannot show at once has a box of its own; charts are not among that.
            wide = {box.partition(":")[0] for box in page.evaluate(CUT_OFF)}
            assert wide <= {"A wide table", "A long table", "A wide picture"}
            chart = page.locator("img[alt^='Training and validation loss']")
            assert chart.evaluate("(i) => i.naturalHeight > i.naturalWidth")
            for text in ("Training and validation loss", "Reliability diagram"):
                box = page.locator(f".scroll:has(img[alt^='{text}'])")
                assert box.evaluate("(e) => e.scrollWidth <= e.clientWidth"), text
    with opened(report) as page:
        assert page.evaluate(CUT_OFF) == []
        words = " ".join(page.locator("header p, main p").all_inner_texts())
        assert not re.findall(r"[a-z0-9]\.[A-Z]\w+", words), "no space after a sentence"
        chart = page.locator("img[alt^='Training and validation loss']")
        assert chart.evaluate("(i) => i.naturalHeight < i.naturalWidth")
    brightness = "getComputedStyle(document.body).{}.match(/\\d+/g).slice(0, 3).map(Number)"
    with opened(report, scheme="dark") as page:
        assert max(page.evaluate(brightness.format("backgroundColor"))) < 60
        assert min(page.evaluate(brightness.format("color"))) > 200
        assert "invert" in page.locator(".chart").first.evaluate(
            "(i) => getComputedStyle(i).filter"
        )
    with opened(report) as page:
        assert min(page.evaluate(brightness.format("backgroundColor"))) > 200


def hand_made(
    run: Path,
    classes: int,
    photos: int,
    wrong: int,
    names: list[str] | None = None,
    path: str = "photo_",
    megabytes: float = 7.5,
) -> Analysis:
    """Made-up predictions: photo i is of class i, from the front; the first `wrong` ones
    are taken for the next class. Every fifth class has no photo where there are many."""
    trained = load_run(RunDir.open(run))
    names = names or [f"kind_{i:04}" for i in range(classes)]
    used = [i for i in range(classes) if classes < 20 or i % 5]
    labels = np.array([used[i % len(used)] for i in range(photos)])
    output = labels.copy()
    output[:wrong] = (output[:wrong] + 1) % classes
    logs = np.full((photos, classes), np.log(0.1 / (classes - 1)))
    logs[np.arange(photos), output] = np.log(0.9)
    paths = [f"{path}{i:05}.jpg" for i in range(photos)]
    extracted = Extracted()
    picture = (run / "../thumbnail.jpg").resolve()
    if not picture.exists():
        from pets.io.pictures import jpeg

        noise = torch.randint(0, 255, (3, 192, 192), dtype=torch.uint8)
        picture.write_bytes(jpeg(noise, 192))
    for index in range(photos):
        extracted.log_probabilities[index] = torch.tensor(logs[index])
        extracted.by_view[index] = torch.tensor(output[index : index + 1])
        extracted.features[index] = torch.ones(4)
        extracted.sizes[index] = (192, 192)
        extracted.cams[index] = torch.full((2, 3, 3), 200, dtype=torch.uint8)
        extracted.thumbnails[index] = picture.read_bytes()
    settings = InterpretSettings(
        tta=1,
        neighbours=0,
        top_losses=24,
        gallery=8,
        channels=0,
        patches=8,
        megabytes=megabytes,
    )
    passed = [Photo(p, names[i], "valid") for p, i in zip(paths, labels, strict=True)]
    data = Photos.load(run / "photos.csv", Path(trained.config.data.root))
    trained.model.classes = names
    return Analysis(trained, "valid", settings, data, run, passed, extracted, [])


@pytest.mark.parametrize(
    ("classes", "photos", "wrong"), [(2, 12, 0), (2, 12, 12), (37, 3669, 300), (1000, 3000, 700)]
)
def test_few_and_many_classes(
    trained: Path, tmp_path: Path, classes: int, photos: int, wrong: int
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    analysis = hand_made(run, classes, photos, wrong)
    file = tmp_path / "report.html"
    write_page(analysis, file, tmp_path / "suspects.csv")
    assert file.stat().st_size < 10e6
    with opened(file) as page:
        text = page.inner_text("main")
        assert page.locator(".sortable tbody tr").count() == classes
        assert page.locator(".matrix tbody tr").count() == min(classes, 60)
        assert page.locator(".matrix button.miss").count() >= (1 if wrong else 0)
        if not wrong:
            assert "Not one photo was taken for another class" in text
            assert "Wrong, the furthest from its class first: none to show" in text
        if classes == 1000:
            assert "940 others are in the table of classes" in text
            assert "No photo here of kind_0000, kind_0005" in text
            page.locator(".sortable thead button", has_text="recall").click()
            assert column(page, 3)[-1] == "–"
            recalls = analysis.predictions.classification_report()["recall"].dropna()
            assert column(page, 3)[0] == f"{100 * recalls.min():.1f}\u00a0%"
        page.locator(".matrix button").first.click()
        assert page.locator("dialog#cell").is_visible()


@pytest.mark.parametrize(("width", "least"), [(1280, 120), (390, 90)])
def test_the_matrix_of_two_classes_is_large(
    trained: Path, tmp_path: Path, width: int, least: int
) -> None:
    """With the share below each number, and zeros where nothing was confused."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    file = tmp_path / "report.html"
    write_page(hand_made(run, 2, 40, 1, names=["cats", "dogs"]), file, tmp_path / "suspects.csv")
    with opened(file, width, phone=width == 390) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert "The model makes 1 mistake among 2 classes." in page.inner_text("header")
        cells = page.locator(".matrix tbody td")
        shown = [" ".join(text.split()) for text in cells.all_inner_texts()]
        assert shown == ["19 95.0 %", "1 5.0 %", "0", "20 100.0 %"]
        boxes = [cell.bounding_box() for cell in cells.all()]
        assert all(box["width"] >= least and box["height"] >= least for box in boxes)
        assert max(box["x"] + box["width"] for box in boxes) <= width
        assert page.locator(".matrix thead th").all_inner_texts() == ["cats", "dogs"]
        names = page.locator(".matrix thead span").first
        assert names.evaluate("(e) => getComputedStyle(e).writingMode") == "horizontal-tb"


def test_names_cannot_break_the_page(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    evil = "</script><img src=x onerror=alert(1)>"
    analysis = hand_made(run, 3, 9, 3, names=[evil, "b\"'&<b>", "c"], path=evil)
    file = tmp_path / "report.html"
    write_page(analysis, file, tmp_path / "suspects.csv")
    with opened(file) as page:
        page.locator(".matrix button.miss").first.click()
        assert evil in page.locator("dialog#cell").inner_text()
        assert page.locator("img[src='x']").count() == 0


def test_a_page_without_room_says_so(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    file = tmp_path / "report.html"
    write_page(hand_made(run, 4, 60, 20, megabytes=0.1), file, tmp_path / "suspects.csv")
    with opened(file) as page:
        text = page.inner_text("main")
        shown = page.evaluate("Object.keys(photos).length")
        assert 2 <= shown < 20
        assert "photos found no room in this page (0.1 MB)" in text
        assert "No room for its photos." in text
        page.locator(".matrix .miss").first.click()
        assert "more, not in this page" in page.locator("dialog#cell").inner_text()


def test_long_names_stay_in_their_places(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    file = tmp_path / "report.html"
    long = ["w" * 160, "a_name_of_many_words_" * 8, "short"]
    write_page(hand_made(run, 3, 12, 6, names=long), file, tmp_path / "suspects.csv")
    for width in (390, 1280):
        with opened(file, width) as page:
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.locator(".matrix").evaluate("(t) => t.offsetHeight") < 500


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_number_of_the_matrix_can_be_read(trained: Path, tmp_path: Path, scheme: str) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2, AA), for shares from a tenth to all."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    file = tmp_path / "report.html"
    write_page(hand_made(run, 8, 80, 45), file, tmp_path / "suspects.csv")
    contrasts = (
        "() => {"
        + COLOURS
        + """
      const page = rgba(getComputedStyle(document.body).backgroundColor);
      return [...document.querySelectorAll(".matrix button")].map((button) => {
        const style = getComputedStyle(button);
        const [over, text] = [rgba(style.backgroundColor), rgba(style.color)];
        const seen = [0, 1, 2].map((i) => over[i] * over[3] + page[i] * (1 - over[3]));
        const [a, b] = [light(seen), light(text)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
      });
    }"""
    )
    with opened(file, scheme=scheme) as page:
        result = page.evaluate(contrasts)
    assert len(result) > 10
    assert min(result) >= 4.5


def test_a_part_of_the_page_as_a_picture(report: Path, tmp_path: Path) -> None:
    """As `make pictures` takes it: from one element to the end of another, whole."""
    with opened(report, 900) as page:
        boxes = [page.locator(place).first.bounding_box() for place in ("#matrix", "#pairs .card")]
        shot(page, tmp_path / "part.jpg", "#matrix", "#pairs .card")
        shot(page, tmp_path / "low.jpg", "#matrix", "#pairs .card", most=300)
    expected = boxes[1]["y"] + boxes[1]["height"] - boxes[0]["y"] + 30
    width, height = Image.open(tmp_path / "part.jpg").size
    assert (width, height) == (900, pytest.approx(expected, abs=2))
    assert Image.open(tmp_path / "low.jpg").size == (900, 300)
