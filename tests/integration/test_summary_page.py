"""A sweep's summary: of a real sweep by the command, and its page in a real browser."""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from pets.summary import show_summary
from tests.integration.browser import COLOURS, CUT_OFF, opened
from tests.integration.conftest import SMALL, Pets
from tests.made_up_sweep import made_up_run, made_up_sweep

LR, EPOCHS = "plan.stages.head.lr", "plan.stages.head.epochs"
HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page_of_twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 rates, 2 lengths, 2 seeds; the last run has failed, and one has a report."""
    folder = tmp_path_factory.mktemp("twelve")
    values = list(product(("1e-4", "3e-3", "1e-2"), (2, 10), (0, 1)))
    errors = {(lr, e, s): abs(float(lr) - 2e-3) * 9 + e / 999 + s / 100 for lr, e, s in values}
    del errors[values[-1]]
    made_up_sweep(folder, errors, [LR, EPOCHS, "seed"], epochs=(0.5, 0.01))
    given = dict(zip((LR, EPOCHS, "seed"), values[-1], strict=True))
    failed = made_up_run(folder / "11_run", given, state="failed", error=f"x\nError: {HOSTILE}")
    (failed / "train.log").touch()
    (folder / "03_run/report.html").touch()
    show_summary(folder)
    return folder / "summary.html"


def column(page: Any, table: str, number: int) -> list[str]:
    """The cells of one column of a table, from top to bottom."""
    cells = f"table[aria-label='{table}'] tbody tr > :nth-child({number})"
    return page.locator(cells).all_inner_texts()


def test_everything_is_there_and_sorts(page_of_twelve: Path) -> None:
    with opened(page_of_twelve) as page:
        heading = page.locator("h1").inner_text().replace("\u00a0", " ")
        assert heading == "lr=0.003 epochs=2: 1.6 % validation error"
        assert "11 of 12 runs finished, 1 failed" in page.inner_text("header")
        assert page.locator("table[aria-label=Settings] tbody tr").count() == 6
        broken = "[...document.images].filter((i) => !i.complete || !i.naturalWidth).length"
        assert page.evaluate(broken) == 0
        assert page.locator("section#settings img.chart").count() == 1
        assert page.locator("section#settings tr.near").first.inner_text().startswith("0.003")

        assert column(page, "Runs", 1) == [f"{number:02}_run" for number in range(12)]
        button = page.locator("table[aria-label=Runs] thead button", has_text="validation error")
        button.click()
        with (page_of_twelve.parent / "summary.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        measured = [row for row in rows if row["valid_error"]]
        by_error = [r["run"] for r in sorted(measured, key=lambda r: float(r["valid_error"]))]
        assert column(page, "Runs", 1) == [*by_error, "11_run"]
        button.click()
        assert column(page, "Runs", 1) == [*by_error[::-1], "11_run"]
        assert button.locator("..").get_attribute("aria-sort") == "descending"
        # Numbers, however they were typed; by the keyboard.
        button = page.locator("table[aria-label=Settings] thead button", has_text="lr")
        button.focus()
        page.keyboard.press("Enter")
        assert column(page, "Settings", 1) == ["0.0001", "0.0001", "0.003", "0.003", "0.01", "0.01"]
        button = page.locator("table[aria-label=Settings] thead button", has_text="epochs")
        button.click()
        assert column(page, "Settings", 2) == ["2", "2", "2", "10", "10", "10"]
        # The test error column is not sortable: settings must not be selected on it.
        tests = page.locator("table[aria-label=Runs] th", has_text="test error")
        assert tests.count() == 1
        assert tests.locator("button").count() == 0


def test_no_column_is_cut_off(page_of_twelve: Path) -> None:
    with opened(page_of_twelve) as page:
        assert page.evaluate(CUT_OFF) == []
    with opened(page_of_twelve, 390, phone=True) as page:
        assert {box.partition(":")[0] for box in page.evaluate(CUT_OFF)} <= {
            "Settings", "Figure", "Runs",
        }  # fmt: skip


def test_links_lead_to_the_runs(page_of_twelve: Path) -> None:
    with opened(page_of_twelve) as page:
        links = [link.get_attribute("href") for link in page.locator("main a").all()]
        trouble = page.locator("section#trouble").inner_text()
    there = [link for link in links if (page_of_twelve.parent / unquote(link)).exists()]
    assert links == there
    assert {"03_run/", "03_run/report.html", "11_run/", "summary.csv"} <= set(links)
    assert f"Error: {HOSTILE}" in trouble


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_a_phone_and_in_the_dark(page_of_twelve: Path, scheme: str) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2, AA) of all texts outside the pictures."""
    contrasts = (
        "() => {"
        + COLOURS
        + """
      const behind = (element) => {
        const own = rgba(getComputedStyle(element).backgroundColor);
        if (own[3] === 1 || element === document.body) return own;
        const under = behind(element.parentElement);
        return [0, 1, 2].map((i) => own[i] * own[3] + under[i] * (1 - own[3]));
      };
      return [...document.querySelectorAll("p, td, th, a, dt, dd, h1, h2, h4, button")].filter(
        (element) => element.innerText.trim() && !element.matches(".skip")
      ).map((element) => {
        const text = rgba(getComputedStyle(element).color);
        const [a, b] = [light(behind(element)), light(text)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
      });
    }"""
    )
    with opened(page_of_twelve, width=360, scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        result = page.evaluate(contrasts)
        brightness = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        )
    assert len(result) > 150
    assert min(result) >= 4.5
    assert max(brightness) < 60 if scheme == "dark" else min(brightness) > 200


def test_texts_cannot_break_the_page(tmp_path: Path) -> None:
    texts = (HOSTILE, "w" * 300, "$x_1$", "[1e-6,1e-4]")
    made_up_sweep(tmp_path, {(text,): 0.1 for text in texts}, ["data.label_regex"])
    (tmp_path / "00_run").rename(tmp_path / f"00_{HOSTILE.replace('/', '')}")
    show_summary(tmp_path)
    file = tmp_path / "summary.html"
    for width in (360, 1280):
        with opened(file, width=width) as page:
            assert page.locator("img[src='x']").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert column(page, "Runs", 3) == list(texts)


@pytest.mark.parametrize("runs", [1, 100])
def test_one_run_and_a_hundred(tmp_path: Path, runs: int) -> None:
    errors = {(10.0**-n, n): 0.5 / (n + 1) for n in range(runs)}
    show_summary(made_up_sweep(tmp_path, errors, [LR, "weight_decay"]))
    file = tmp_path / "summary.html"
    assert file.stat().st_size < 2e6
    with opened(file) as page:
        assert page.locator("table[aria-label=Runs] tbody tr").count() == runs


def test_a_real_sweep(pets: Pets, drawn: Path) -> None:
    """One epoch is too short for the schedule: these runs fail, the others are summarised."""
    head = ("plan=frozen4", "precompute=true", "precompute.engine=eager")
    swept = ("plan.stages.head.lr=1e-3,1e-2", "plan.stages.head.epochs=1,2", "seed=0,1")
    pets("train", "-m", f"data.root={drawn}", *SMALL[:-2], *head, *swept, code=1)
    sweep = pets.runs()[0].parent
    output = pets("summarize", str(sweep.relative_to(pets.folder))).stdout
    assert "4 of 8 runs finished, 4 failed" in output
    assert "paired by seed, 2 seeds on the same photos" in output
    assert "one_cycle over 3 steps cannot rise and fall" in output
    assert output.splitlines()[-1].endswith("summary.html")
    with (sweep / "summary.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    result = [(float(row[LR]), row[EPOCHS], row["seed"]) for row in rows]
    assert result == list(product((0.001, 0.01), ("1", "2"), ("0", "1")))
    for row in rows:
        if row[EPOCHS] == "1":
            assert (row["state"], row["valid_error"]) == ("failed", "")
            continue
        assert row["state"] == "finished"
        assert 0 <= float(row["valid_error"]) <= 1
        assert float(row["seconds"]) > 0
        assert float(row["images_per_second/head"]) > 0
    assert pets.one_line("summarize", rows[0]["run"]) == (
        f"{rows[0]['run']}: no such folder; expected a sweep's folder, one of outputs/sweeps/..."
    )
    assert pets.one_line("summarize") == "sweep is needed; give it as sweep=..."
