"""The summary of a sweep: its runs, its settings, what is noise, and folders that are no sweep."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from PIL import Image
from scipy import stats

from pets.cli.arguments import to_overrides
from pets.errors import RunError
from pets.run_dir import RunDir
from pets.sweep.summary import Summary, on_screen, summarize, write_summary
from pets.sweep.summary.statistics import difference
from pets.sweep.summary.summary import Effect
from pets.sweep.summary.text import as_csv
from pets.sweep.summary.values import parse_value, short_names, sort_values
from pets.sweep.summary.verdict import verdict
from tests.conftest import composed
from tests.made_up_sweep import made_up_run, made_up_sweep

LR, EPOCHS = "plan.stages.head.lr", "plan.stages.head.epochs"
HOSTILE = '</script><img src=x onerror="alert(1)">|`[x](y)`$a$'


def rows(summary: Summary) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(summary))))


def two_settings(folder: Path, a: list[float], b: list[float], **more: int) -> Summary:
    """`lr=1` with the errors `a`, `lr=2` with `b`, over the seeds 0, 1, ..."""
    errors = {(1, seed): error for seed, error in enumerate(a)}
    errors |= {(2, seed): error for seed, error in enumerate(b)}
    return summarize(made_up_sweep(folder, errors, ["lr", "seed"], **more))


def test_a_row_a_run(tmp_path: Path) -> None:
    made_up_run(
        tmp_path / "1_lr0.01",
        {LR: 0.01, "seed": 3, "data": "demo"},
        0.25,
        test=0.3,
        epochs=(0.5, 0.2, 0.25),
        seconds={"head": 2.5, "head/precompute": 1.25},
        speed={"head": {"images_per_second": 123.4, "waited": 0.1}},
        started="2026-01-02T03:04:05+00:00",
        ended="2026-01-02T03:05:00+00:00",
    )
    made_up_run(tmp_path / "10_lr0.1", {LR: 0.1, "seed": 3, "data": "demo"}, state="waiting")
    made_up_run(
        tmp_path / "2_lr1",
        {LR: 1, "seed": 3, "data": "demo"},
        state="failed",
        epochs=(0.9,),
        error="Traceback\n  File ...\nRunError: it diverged\n",
    )
    (tmp_path / "1_lr0.01/report.html").touch()
    (tmp_path / "logs").mkdir()
    summary = summarize(tmp_path)
    assert summary.swept == (LR,)
    assert summary.common == {"seed": "3", "data": "demo"}
    first, second, third = rows(summary)
    assert first == {
        "number": "1", "run": "1_lr0.01", "state": "finished", LR: "0.01",
        "valid_error": "0.25", "valid_accuracy": "0.75", "valid_loss": "0.75",
        "best_epoch_error": "0.2", "best_epoch": "head 2", "last_epoch_error": "0.25",
        "test_error": "0.3", "test_accuracy": "0.7", "test_loss": f"{3 * 0.3}",
        "seconds": "3.75", "images_per_second/head": "123.4",
        "started": "2026-01-02T03:04:05+00:00", "ended": "2026-01-02T03:05:00+00:00",
        "updated": "", "position": "before its first epoch", "error": "",
        "report": "1_lr0.01/report.html",
    }  # fmt: skip
    assert (second["run"], second["state"], second["valid_error"]) == ("2_lr1", "failed", "")
    assert (second["error"], second["last_epoch_error"]) == ("RunError: it diverged", "0.9")
    assert (third["number"], third["state"]) == ("10", "waiting")
    assert [run.path.name for run in summary.troubled] == ["2_lr1"]
    assert on_screen(summary)[0] == f"{tmp_path}: 1 of 3 runs finished, 1 waiting, 1 failed"
    assert on_screen(summary)[-1] == "2_lr1: failed, RunError: it diverged"


def test_settings_are_runs_that_differ_in_their_seed_alone(tmp_path: Path) -> None:
    errors = {(lr, seed): lr + seed / 100 for lr, seed in product((0.3, 0.1), (0, 1, 2))}
    made_up_sweep(tmp_path, errors, [LR, "seed"])
    made_up_run(tmp_path / "6", {LR: "0.10", "seed": 3}, state="running", epochs=(0.01,))
    summary = summarize(tmp_path)
    assert summary.swept == (LR, "seed")
    assert summary.keys == (LR,)
    best, other = summary.settings
    assert (best.values, other.values) == (("0.1",), ("0.3",))
    assert best.valid is not None
    assert (best.valid.mean, best.valid.low, best.valid.high) == pytest.approx((0.11, 0.1, 0.12))
    assert best.valid.sd == pytest.approx(0.01)
    assert (len(best.counted), len(best.runs), len(other.runs)) == (3, 4, 3)
    assert verdict(summary).caveats[0] == "Of its 4 runs 3 count so far."


def test_a_value_that_was_not_typed_is_the_configs(tmp_path: Path) -> None:
    made_up_run(tmp_path / "0", {LR: 0.1})
    run = made_up_run(tmp_path / "1", {LR: "0.001"})
    (run / "overrides.yaml").write_text("[]")
    assert [row[LR] for row in rows(summarize(tmp_path))] == ["0.1", "0.001"]


def test_the_choice_is_by_validation_alone(tmp_path: Path) -> None:
    for number, (lr, valid, test) in enumerate([(1, 0.2, 0.1), (2, 0.1, 0.4)]):
        made_up_run(tmp_path / f"{number}", {"lr": lr}, valid, test=test)
    found = verdict(summarize(tmp_path))
    assert found.headline == "lr=2: 10.0 % validation error"
    assert found.test == "Test error of the chosen setting: 40.0 % (one run)."
    assert not any("10.0" in sentence for sentence in found.sentences[1:] if "est" in sentence[:5])


def test_pairs_of_the_same_seed(tmp_path: Path) -> None:
    a, b = [0.10, 0.14, 0.12], [0.13, 0.16, 0.15]
    summary = two_settings(tmp_path, a, b)
    best, other = summary.settings
    found = difference(best, other)
    assert found is not None
    expected = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.method, found.n) == ("paired", (3, 3))
    # Welch's would say that it is noise.
    assert stats.ttest_ind(b, a, equal_var=False).pvalue > 0.05
    assert not found.within_noise
    assert verdict(summary).comparison == (
        "lr=1 is better than the runner-up, lr=2, by 2.7 points (95 % interval 1.2 to 4.1 points, "
        "paired by seed, 3 seeds on the same photos)."
    )


def test_other_seeds_or_other_photos_make_no_pairs(tmp_path: Path) -> None:
    a, b = [0.10, 0.14, 0.12], [0.13, 0.16, 0.15, 0.10]
    for number, error in enumerate(a):
        made_up_run(tmp_path / f"a/{number}", {"lr": 1, "seed": number}, error)
    for number, error in enumerate(b, start=3):
        made_up_run(tmp_path / f"a/{number}", {"lr": 2, "seed": number}, error)
    best, other = summarize(tmp_path / "a").settings
    found = difference(best, other)
    assert found is not None
    expected = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.method, found.n, found.within_noise) == ("welch", (3, 4), True)

    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for number in range(7):
        run = tmp_path / f"b/{number}"
        (run / "config.yaml").write_text(f"seed: {number % 3}\n")
        (run / "data.json").write_text(json.dumps({"fingerprint": f"{number > 2}"}))
    summary = summarize(tmp_path / "b")
    found = summary.differences[summary.settings[1]]
    assert found is not None
    assert found.method == "welch"
    assert "not all measured on the same photos" in " ".join(verdict(summary).caveats)


def test_one_run_each_is_judged_by_the_number_of_photos(tmp_path: Path) -> None:
    summary = two_settings(tmp_path / "few", [0.10], [0.14], photos=100)
    (found,) = summary.differences.values()
    assert found is not None
    # Agresti and Caffo (2000): 10 of 100 and 14 of 100, one right and one wrong added to each.
    p, q = 11 / 102, 15 / 102
    half = stats.norm.ppf(0.975) * (p * (1 - p) / 102 + q * (1 - q) / 102) ** 0.5
    assert (found.low, found.high) == pytest.approx((q - p - half, q - p + half))
    assert (found.method, found.within_noise) == ("binomial", True)
    assert "is within noise of the runner-up, lr=2: 4.0 points" in verdict(summary).comparison
    assert "100 validation photos, since there is one run each" in verdict(summary).comparison

    (found,) = two_settings(tmp_path / "many", [0.10], [0.14], photos=10_000).differences.values()
    assert found is not None
    assert not found.within_noise


def test_without_seeds_and_photos_nothing_can_be_said(tmp_path: Path) -> None:
    for lr in (1, 2):
        run = made_up_run(tmp_path / f"{lr}", {"lr": lr}, lr / 10)
        status = json.loads((run / "status.json").read_text())
        del status["results"]["valid"]["photos"]
        (run / "status.json").write_text(json.dumps(status))
    summary = summarize(tmp_path)
    assert list(summary.differences.values()) == [None]
    assert verdict(summary).comparison.startswith("Whether lr=1 is better than the runner-up")
    assert "cannot be said" in verdict(summary).comparison


def test_seeds_that_change_nothing_are_no_proof(tmp_path: Path) -> None:
    (found,) = two_settings(tmp_path, [0.1, 0.1], [0.11, 0.11]).differences.values()
    assert found is not None
    assert (found.method, found.within_noise) == ("binomial", True)


@pytest.mark.parametrize(
    ("third", "expected"),
    [(0.121, "So is the third."), (0.4, "No further setting is within noise of it.")],
)
def test_who_else_is_within_noise(tmp_path: Path, third: float, expected: str) -> None:
    errors = {
        (lr, seed): e + seed * s
        for (lr, e, s) in ((1, 0.1, 0.02), (2, 0.12, 0.01), (3, third, 0.01))
        for seed in (0, 1, 2)
    }
    summary = summarize(made_up_sweep(tmp_path, errors, ["lr", "seed"]))
    assert "is within noise of the runner-up, lr=2" in verdict(summary).comparison
    assert verdict(summary).others == expected


def test_effects_are_means_over_all_else(tmp_path: Path) -> None:
    errors = {(lr, e): 0.1 * lr + e / 100 for lr, e in product((3, 1, 2), (4, 2))}
    summary = summarize(made_up_sweep(tmp_path, errors, [LR, EPOCHS]))
    lr, epochs = summary.effects
    assert [(level.text, level.runs) for level in lr.levels] == [("1", 2), ("2", 2), ("3", 2)]
    assert [e.mean for level in lr.levels if (e := level.errors)] == pytest.approx(
        [0.13, 0.23, 0.33]
    )
    assert [e.mean for level in epochs.levels if (e := level.errors)] == pytest.approx([0.22, 0.24])
    assert lr.balanced
    assert not lr.logarithmic
    table = summary.grid
    assert table is not None
    assert (table.keys, table.rows, table.columns) == ((LR, EPOCHS), ("1", "2", "3"), ("2", "4"))
    cells = [[c.valid.mean for c in row if c and c.valid] for row in table.cells]
    assert cells == [pytest.approx([0.1 * n + 0.02, 0.1 * n + 0.04]) for n in (1, 2, 3)]


def test_rates_over_decades_have_a_logarithmic_axis(tmp_path: Path) -> None:
    def effect(*values: object) -> Effect:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        made_up_sweep(folder, {(v,): 0.1 for v in values}, [LR])
        return summarize(folder).effects[0]

    assert effect("1e-4", "1e-2").logarithmic
    assert not effect(2, 4).logarithmic
    assert not effect(0, 1).logarithmic
    assert not effect("[1e-6,1e-4]", "[1e-5,1e-3]").numeric


def test_ways_to_type_a_value() -> None:
    assert parse_value("1e-3") == parse_value("0.001")
    assert parse_value("True") == parse_value("true")
    assert parse_value("[1e-6,1e-4]") == parse_value("[0.000001, 1E-4]") == (1e-6, 1e-4)
    assert parse_value("nan") == "nan"
    assert sort_values(["b", "10", "[2,1]", "9", "a", "9.0"]) == ["9", "10", "[2,1]", "b", "a"]
    assert short_names([LR, EPOCHS, "plan.stages.body.lr", "lr", "seed"]) == {
        LR: "head.lr", EPOCHS: "epochs", "plan.stages.body.lr": "body.lr", "lr": "lr",
        "seed": "seed",
    }  # fmt: skip


def test_a_damaged_run_is_a_row(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, {(n,): 0.1 for n in range(6)}, ["lr"])
    (tmp_path / "00_run/status.json").write_text('{"state": "fin')
    (tmp_path / "01_run/config.yaml").write_text("a: [")
    (tmp_path / "02_run/overrides.yaml").write_text("a: [")
    (tmp_path / "03_run/status.json").write_text('{"state": "finished", "results": 7}')
    (tmp_path / "04_run/metrics.csv").write_text("stage,epoch\nhead,x\n")
    states = {run.number: (run.state, run.error) for run in summarize(tmp_path).runs}
    for number, name in enumerate(("status.json", "config.yaml", "overrides.yaml")):
        assert states[number][0] == "unreadable"
        assert states[number][1].startswith(f"{name}: cannot be read (")
    assert states[3][0] == "unreadable"
    assert states[4] == ("finished", states[4][1])
    assert states[4][1].startswith("metrics.csv: damaged")
    assert states[5] == ("finished", "")
    write_summary(summarize(tmp_path))


def test_a_number_that_is_none_is_no_result(tmp_path: Path) -> None:
    made_up_run(tmp_path / "0", {"lr": 1}, float("nan"), epochs=(float("nan"), 0.5))
    made_up_run(tmp_path / "1", {"lr": 2}, None)
    made_up_run(tmp_path / "2", {"lr": 3}, 0.5)
    summary = summarize(tmp_path)
    assert [row["valid_error"] for row in rows(summary)] == ["", "", "0.5"]
    assert rows(summary)[0]["best_epoch_error"] == "0.5"
    assert [setting.values for setting in summary.ranked] == [("3",)]
    assert verdict(summary).others == "2 settings have no result yet."


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_before_any_run_has_finished(tmp_path: Path, state: str) -> None:
    for number in range(2):
        made_up_run(tmp_path / f"{number}", {"lr": number}, state=state)
    running = [RunDir(tmp_path / f"{number}") for number in range(2)]
    for run in running if state == "running" else []:
        run.claim()
    summary = summarize(tmp_path)
    write_summary(summary)
    assert verdict(summary).sentences == ["No run has finished."]
    assert f"0 of 2 runs finished, 2 {state}" in (tmp_path / "summary.html").read_text()


def test_folders_that_are_no_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_up_run(Path("outputs/sweeps/one/0"), {})
    Path("empty").mkdir()
    Path("other/stuff").mkdir(parents=True)
    for folder, expected in {
        "nowhere": "nowhere: no such folder; expected a sweep's folder, one of outputs/sweeps/",
        "outputs/sweeps/one/0": "outputs/sweeps/one/0: is one run, not a sweep; its folder: pets "
        "summarize outputs/sweeps/one",
        "outputs/sweeps/one/0/status.json": "status.json: is a file",
        "empty": "empty: is empty; expected a sweep's folder",
        "other": "other: holds no run directory; expected a sweep's folder",
        "outputs/sweeps": "outputs/sweeps: holds no runs, but sweeps; the newest: pets summarize "
        "outputs/sweeps/one",
    }.items():
        with pytest.raises(RunError) as caught:
            summarize(Path(folder))
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("summary.*"))


def test_a_folder_of_single_runs(tmp_path: Path) -> None:
    made_up_run(tmp_path / "2026-01-01_10-00-00_demo", {"model": "a"}, 0.2)
    made_up_run(tmp_path / "2026-01-02_10-00-00_demo", {"model": "b"}, 0.1)
    made_up_run(tmp_path / "sweeps/x/0", {})
    summary = summarize(tmp_path)
    assert [run.number for run in summary.runs] == [None, None]
    assert [setting.values for setting in summary.settings] == [("b",), ("a",)]


def test_files_whatever_the_texts(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    texts = [HOSTILE, "w" * 300, "[1e-6,1e-4]", "漢字\n😀", "$x_1$", ""]
    errors = {(text, seed): 0.1 for text in texts for seed in (0, 1)}
    made_up_sweep(tmp_path, errors, ["data.label_regex", "seed"])
    made_up_run(tmp_path / "99_<b>", {"data.label_regex": "x"}, state="failed", error=HOSTILE)
    summary = summarize(tmp_path)
    assert write_summary(summary) == tmp_path / "summary.html"
    page = (tmp_path / "summary.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=" in page
    assert 'href="99_%3Cb%3E/"' in page
    text = (tmp_path / "summary.md").read_text()
    assert "\\<img src=x onerror" in text
    assert "<img" not in text.replace("\\<", "")
    header, _, *table = text.partition("## Runs")[2].strip().splitlines()
    assert {line.replace("\\|", "").count("|") for line in [header, *table[:13]]} == {9}
    with (tmp_path / "summary.csv").open(newline="") as stream:
        assert [row["data.label_regex"] for row in csv.DictReader(stream)][:1] == [HOSTILE]
    assert not [str(w.message) for w in recwarn if "Glyph" in str(w.message)]
    assert not list(tmp_path.glob(".*.part"))


def every(*levels: Sequence[float | str]) -> dict[tuple[float | str, ...], float]:
    """All combinations of values, with errors that differ."""
    return {values: 0.9 / (n + 1) for n, values in enumerate(product(*levels))}


RATES = (1e-4, 1e-3, 3e-3, 1e-2)


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        (every(RATES, (1, 2, 4), (0, 1, 2)), [LR, EPOCHS, "seed"]),
        (every(RATES, (1, 2), ("a", "b")), [LR, EPOCHS, "model"]),
        (every(RATES[:3], (1, 2, 4), ("a", "b"), (0, 1, 2)), [LR, EPOCHS, "model", "seed"]),
        ({(10**-n, n + 0.5): 0.5 / (n + 1) for n in range(100)}, [LR, "weight_decay"]),
        ({(seed,): 0.0 for seed in range(3)}, ["seed"]),
        (every((1,)), [LR]),
    ],
)
def test_pictures_of_large_and_small_sweeps(
    tmp_path: Path, values: dict[tuple[float | str, ...], float], keys: list[str]
) -> None:
    write_summary(summarize(made_up_sweep(tmp_path, values, keys)))
    with Image.open(tmp_path / "summary.png") as picture:
        assert 800 <= picture.width <= 1500
        assert 300 <= picture.height <= 1600
    assert len(rows(summarize(tmp_path))) == len(values)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, {(1,): 0.1}, ["lr"])
    (tmp_path / "summary.md").mkdir()
    with pytest.raises(RunError, match="the summary cannot be written") as caught:
        write_summary(summarize(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_summary_does_not_import_torch(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, {(1,): 0.1, (2,): 0.2}, ["lr"])
    code = (
        "import sys; from pathlib import Path; from pets.sweep.summary import summarize, "
        f"write_summary; write_summary(summarize(Path({str(tmp_path)!r}))); "
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["a b", "a=b", "it's", "x,y", "${x}", "[1]", "a\\", "日"])
def test_a_folder_of_any_name_can_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    assert composed(to_overrides("summarize", [name])[0], name="summarize").sweep == name


def test_what_is_no_folder_stays_as_it_is() -> None:
    for word in ("sweep=x", "--cfg", "hydra.verbose=true", "+a=1", "~a"):
        assert to_overrides("summarize", [word]) == [word]
    assert to_overrides("summarize", ["--cfg", "job"]) == ["--cfg", "job"]
    assert to_overrides("cache", ["--cfg", "job"]) == ["--cfg", "job"]
    assert to_overrides("cache", ["list"]) == ["action=list"]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("test", [True, False])
def test_no_sentence_without_its_number(tmp_path: Path, seeds: int, test: bool) -> None:
    """Without test photos nothing is said of a test error, but that there is none."""
    errors = {(lr, seed): 0.1 * lr + 0.01 * seed for lr in (1, 2, 3) for seed in range(seeds)}
    more = {} if test else {"test": None}
    summary = summarize(made_up_sweep(tmp_path / "sweep", errors, ["lr", "seed"], **more))
    write_summary(summary)
    page = (tmp_path / "sweep/summary.html").read_text()
    text = (tmp_path / "sweep/summary.md").read_text()
    none = "The chosen setting was not measured on test photos."
    for told in (page, text):
        assert (none in told) == (not test)
        assert ("the test error is the fair figure" in told) == test
        assert ("flattered: measure it anew" in told) == (not test)
    assert ("its test error is told above" in page) == test
    assert ("Test error of the chosen setting" in text) == test
