"""The summary of a sweep: runs, settings, noise, and folders without a sweep."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scipy import stats

from pets.cli.arguments import to_overrides
from pets.config import Monitor
from pets.errors import RunError
from pets.run_dir import RunDir
from pets.summary import show_summary
from pets.summary.settings import Difference, Summary, summarize
from pets.summary.tables import as_csv, on_screen, runs_table, settings_table
from pets.summary.verdict import verdict
from pets.training.looks import count_look
from pets.training.table import contents_of_test
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


def difference(summary: Summary) -> Difference:
    """Between the best setting and the other one."""
    _, other = summary.settings
    assert other.difference is not None
    return other.difference


def test_the_table_has_one_row_per_run(tmp_path: Path) -> None:
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
    assert summary.names == {LR: "lr"}
    first, second, third = rows(summary)
    assert first == {
        "number": "1", "run": "1_lr0.01", "state": "finished", LR: "0.01",
        "valid_error": "0.25", "valid_accuracy": "0.75", "valid_loss": "0.75",
        "valid_photos": "200", "best_epoch_error": "0.2", "best_epoch": "head 2",
        "last_epoch_error": "0.25", "test_error": "0.3", "test_accuracy": "0.7",
        "test_loss": f"{3 * 0.3}", "test_photos": "200", "seconds": "3.75",
        "images_per_second/head": "123.4", "started": "2026-01-02T03:04:05+00:00",
        "ended": "2026-01-02T03:05:00+00:00", "updated": "", "position": "before its first epoch",
        "error": "", "report": "1_lr0.01/report.html",
    }  # fmt: skip
    assert (second["run"], second["state"], second["valid_error"]) == ("2_lr1", "failed", "")
    assert (second["error"], second["last_epoch_error"]) == ("RunError: it diverged", "0.9")
    assert (third["number"], third["state"]) == ("10", "waiting")
    assert on_screen(summary)[0] == f"{tmp_path}: 1 of 3 runs finished, 1 failed, 1 waiting"
    assert on_screen(summary)[-1] == "2_lr1: failed, RunError: it diverged"


def test_settings_are_runs_that_differ_only_in_their_seed(tmp_path: Path) -> None:
    errors = {(lr, seed): lr + seed / 100 for lr, seed in product((0.3, 0.1), (0, 1, 2))}
    made_up_sweep(tmp_path, errors, [LR, "seed"])
    made_up_run(tmp_path / "6", {LR: "1e-1", "seed": 3}, state="running", epochs=(0.01,))
    summary = summarize(tmp_path)
    assert list(summary.names) == [LR, "seed"]
    best, other = summary.settings
    assert (best.label, other.label) == ("lr=0.1", "lr=0.3")
    assert (best.scores.mean(), best.scores.std()) == pytest.approx((0.11, 0.01))
    assert (len(best.runs), best.started, other.started) == (3, 4, 3)
    row = [cell.text for cell in settings_table(summary).rows[0]]
    assert row == ["0.1", "11.0 %", "1.0", "10.0 to 12.0", "3 of 4", "best"]


def test_a_value_that_was_not_typed_comes_from_the_config(tmp_path: Path) -> None:
    made_up_run(tmp_path / "0", {LR: 0.1})
    run = made_up_run(tmp_path / "1", {LR: "0.001"})
    (run / "overrides.yaml").write_text("[]")
    assert [row[LR] for row in rows(summarize(tmp_path))] == ["0.1", "0.001"]


def test_runs_with_automatic_rates_are_one_setting(tmp_path: Path) -> None:
    for seed in range(4):
        rate = "auto" if seed < 2 else 0.001
        run = made_up_run(tmp_path / f"{seed}", {LR: rate, "seed": seed})
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(config.replace("auto", f"0.00{seed}1"))
    summary = summarize(tmp_path)
    assert [(setting.label, len(setting.runs)) for setting in summary.settings] == [
        ("lr=auto", 2), ("lr=0.001", 2),
    ]  # fmt: skip


def test_settings_are_ranked_only_by_validation_error(tmp_path: Path) -> None:
    for number, (lr, valid, test) in enumerate([(1, 0.2, 0.1), (2, 0.1, 0.4)]):
        made_up_run(tmp_path / f"{number}", {"lr": lr}, valid, test=test)
    sentences = verdict(summarize(tmp_path))
    assert sentences[0] == "lr=2: 10.0 % validation error."
    assert "Test error of the chosen setting: 40.0 % (one run)." in sentences


def looked_at(run: Path, test: list[str], seconds: int) -> None:
    """Give a made-up run a table with test photos, and a look at these."""
    rows = [f"{name}.jpg,cat,test,{name * 32}" for name in test]
    (run / "photos.csv").write_text("\n".join(["path,label,split,content", *rows]) + "\n")
    RunDir(run).write_json("data.json", {"test": len(test)})
    RunDir(run).update_status(seconds={"head": seconds})
    count_look(RunDir(run), contents_of_test(RunDir(run)), "train")


def test_looks_at_test_photos_stand_beside_the_test_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all runs of the sweep, also where these have other caches, as on a cluster."""
    made_up_sweep(tmp_path, {(1, 0): 0.1, (1, 1): 0.2, (2, 0): 0.3}, ["lr", "seed"])
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == ["00_run", "01_run", "02_run"]
    unknown = "How often its test photos were looked at is not known ("
    assert any(sentence.startswith(unknown) for sentence in verdict(summarize(tmp_path)))
    for seconds, path in enumerate(paths):
        monkeypatch.setenv("PETS_CACHE", str(tmp_path.parent / f"cache{seconds}"))
        looked_at(path, ["a", "b"], seconds)
    sentences = verdict(summarize(tmp_path))
    at = sentences.index("Test error of the chosen setting: 17.0 % (mean of 2 runs, 12.0 to 22.0 "
                         "%, standard deviation 7.1 points).")  # fmt: skip
    assert sentences[at + 1].startswith("Its test photos were looked at 3 times, by 3 runs: ")
    looked_at(paths[1], ["c"], 9)
    text = " ".join(verdict(summarize(tmp_path)))
    most = "Of its 2 sets of test photos, those seen most were looked at 3 times, by 3 runs: "
    assert most in text


def test_runs_with_the_same_seeds_are_compared_in_pairs(tmp_path: Path) -> None:
    a, b = [0.10, 0.14, 0.12], [0.13, 0.16, 0.15]
    summary = two_settings(tmp_path, a, b)
    result = difference(summary)
    expected = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))
    # Welch's would say that it is noise.
    assert stats.ttest_ind(b, a, equal_var=False).pvalue > 0.05
    assert not result.within_noise
    assert verdict(summary)[1] == (
        "lr=1 is better than the runner-up, lr=2, by 2.7 points (95 % interval 1.2 to 4.1 points, "
        "paired by seed, 3 seeds on the same photos)."
    )


@pytest.mark.parametrize("same_photos", [True, False])
def test_different_seeds_or_photos_are_not_paired(tmp_path: Path, same_photos: bool) -> None:
    a, b = [0.10, 0.14, 0.12], [0.13, 0.16, 0.15, 0.10]
    for lr, errors in ((1, a), (2, b)):
        for number, error in enumerate(errors):
            seed = number + 10 * lr if same_photos else number
            data = "same" if same_photos else f"split {lr}"
            made_up_run(tmp_path / f"{lr}_{number}", {"lr": lr, "seed": seed}, error, data=data)
    summary = summarize(tmp_path)
    result = difference(summary)
    expected = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))
    assert (result.basis, result.within_noise) == ("Welch's t-test, 3 and 4 runs", True)
    other_photos = "not all measured on the same photos" in " ".join(verdict(summary))
    assert other_photos != same_photos


def test_single_runs_are_compared_by_the_number_of_photos(tmp_path: Path) -> None:
    summary = two_settings(tmp_path / "few", [0.10], [0.14], photos=100)
    result = difference(summary)
    # Agresti and Caffo (2000): 10 of 100 and 14 of 100, one right and one wrong added to each.
    p, q = 11 / 102, 15 / 102
    half = stats.norm.ppf(0.975) * (p * (1 - p) / 102 + q * (1 - q) / 102) ** 0.5
    assert (result.low, result.high) == pytest.approx((q - p - half, q - p + half))
    assert "is within noise of the runner-up, lr=2: 4.0 points" in verdict(summary)[1]
    assert "binomial, from 100 validation photos)" in verdict(summary)[1]
    many = two_settings(tmp_path / "many", [0.10], [0.14], photos=10_000)
    assert not difference(many).within_noise


def test_one_run_beside_several_is_compared_by_the_number_of_photos(tmp_path: Path) -> None:
    """It has no spread of its own, whichever of the two it is."""
    for number, (a, b) in enumerate((([0.10, 0.12], [0.14]), ([0.10], [0.14, 0.16]))):
        result = difference(two_settings(tmp_path / f"{number}", a, b))
        assert result.basis == "binomial, from 200 validation photos"
        assert result.low < result.mean < result.high


def test_without_seeds_and_photos_the_noise_is_unknown(tmp_path: Path) -> None:
    for lr in (1, 2):
        run = made_up_run(tmp_path / f"{lr}", {"lr": lr}, lr / 10)
        status = json.loads((run / "status.json").read_text())
        del status["results"]["valid"]["photos"]
        (run / "status.json").write_text(json.dumps(status))
    summary = summarize(tmp_path)
    assert summary.settings[1].difference is None
    assert verdict(summary)[1].startswith("Whether lr=1 is better than the runner-up")
    assert "is unknown" in verdict(summary)[1]


def test_seeds_without_spread_fall_back_to_the_number_of_photos(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    for number, errors in enumerate(([0.1, 0.1], [0.1, 0.3])):
        result = difference(
            two_settings(tmp_path / f"{number}", errors, [e + 0.01 for e in errors])
        )
        assert result.basis == "binomial, from 200 validation photos"
        assert result.within_noise
    assert not list(recwarn)


@pytest.mark.parametrize(("third", "expected"), [(0.121, "lr=2; lr=3"), (0.4, "lr=2")])
def test_settings_within_noise_of_the_best_are_counted(
    tmp_path: Path, third: float, expected: str
) -> None:
    errors = {
        (lr, seed): e + seed * s
        for (lr, e, s) in ((1, 0.1, 0.02), (2, 0.12, 0.01), (3, third, 0.01))
        for seed in (0, 1, 2)
    }
    summary = summarize(made_up_sweep(tmp_path, errors, ["lr", "seed"]))
    assert "is within noise of the runner-up, lr=2" in verdict(summary)[1]
    assert verdict(summary)[2] == f"Within noise of the best: {expected}."


def test_a_short_name_is_unambiguous(tmp_path: Path) -> None:
    keys = [LR, EPOCHS, "plan.stages.body.lr", "lr", "precompute.enabled", "seed"]
    made_up_sweep(tmp_path, {(n,) * len(keys): 0.1 for n in range(2)}, keys)
    assert list(summarize(tmp_path).names.values()) == [
        "head.lr", "epochs", "body.lr", "lr", "precompute.enabled", "seed",
    ]  # fmt: skip


def test_a_damaged_run_has_a_row_with_its_error(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, {(n,): 0.1 for n in range(6)}, ["lr"])
    (tmp_path / "00_run/status.json").write_text('{"state": "fin')
    (tmp_path / "01_run/config.yaml").write_text("a: [")
    (tmp_path / "02_run/overrides.yaml").write_text("a: [")
    (tmp_path / "03_run/status.json").write_text('{"state": "finished", "results": 7}')
    (tmp_path / "04_run/metrics.csv").write_text("stage,epoch\nhead,x\n")
    states = [(row["state"], row["error"]) for row in rows(summarize(tmp_path))]
    for number, name in enumerate(("status.json", "config.yaml", "overrides.yaml")):
        assert states[number][0] == "unreadable"
        assert states[number][1].startswith(f"{name}: cannot be read (")
    assert states[3][0] == "unreadable"
    assert states[4][0] == "finished"
    assert states[4][1].startswith("metrics.csv: damaged")
    assert states[5] == ("finished", "")
    show_summary(tmp_path)
    for name in ("status.json", "config.yaml"):
        for file in tmp_path.glob(f"*/{name}"):
            file.write_text("[")
    show_summary(tmp_path)


def test_nan_and_infinity_are_not_results(tmp_path: Path) -> None:
    made_up_run(tmp_path / "0", {"lr": 1}, float("nan"), epochs=(float("nan"), 0.5))
    made_up_run(tmp_path / "1", {"lr": 2}, None)
    made_up_run(tmp_path / "2", {"lr": 3}, 0.5)
    summary = summarize(tmp_path)
    assert [row["valid_error"] for row in rows(summary)] == ["", "", "0.5"]
    assert rows(summary)[0]["best_epoch_error"] == "0.5"
    assert [setting.label for setting in summary.ranked] == ["lr=3"]
    assert "2 settings have no result yet." in verdict(summary)


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_before_any_run_has_finished(tmp_path: Path, state: str) -> None:
    for number in range(2):
        made_up_run(tmp_path / f"{number}", {"lr": number}, state=state, epochs=(0.5,))
    running = [RunDir(tmp_path / f"{number}") for number in range(2)]
    for run in running if state == "running" else []:
        run.claim()
    summary = summarize(tmp_path)
    show_summary(tmp_path)
    assert verdict(summary) == ["No run has finished."]
    assert [cell.text for cell in runs_table(summary).rows[0]][3] == "so far 50.0 %"
    assert f"0 of 2 runs finished, 2 {state}" in (tmp_path / "summary.html").read_text()


def test_folders_without_runs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_up_run(Path("outputs/sweeps/one/0"), {})
    Path("other/stuff").mkdir(parents=True)
    expected = "expected a sweep's folder, one of outputs/sweeps/..."
    for folder, line in {
        "nowhere": f"nowhere: no such folder; {expected}",
        "outputs/sweeps/one/0": "outputs/sweeps/one/0: is one run, not a sweep; its folder: pets "
        "summarize outputs/sweeps/one",
        "outputs/sweeps": f"outputs/sweeps: holds no runs; {expected}",
        "other": f"other: holds no runs; {expected}",
    }.items():
        with pytest.raises(RunError) as caught:
            summarize(Path(folder))
        assert str(caught.value) == line
    assert not list(tmp_path.rglob("summary.*"))


def test_a_folder_of_single_runs(tmp_path: Path) -> None:
    made_up_run(tmp_path / "2026-01-01_10-00-00_demo", {"model": "a"}, 0.2)
    made_up_run(tmp_path / "2026-01-02_10-00-00_demo", {"model": "b"}, 0.1)
    made_up_run(tmp_path / "sweeps/x/0", {})
    summary = summarize(tmp_path)
    assert [row["number"] for row in rows(summary)] == ["", ""]
    assert [setting.values for setting in summary.settings] == [("b",), ("a",)]


def test_hostile_texts_are_escaped_in_all_files(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    texts = [HOSTILE, "w" * 300, "[1e-6,1e-4]", "漢字\n😀", "$x_1$", ""]
    errors = {(text, seed): 0.1 for text in texts for seed in (0, 1)}
    made_up_sweep(tmp_path, errors, ["data.label_regex", "seed"])
    made_up_run(tmp_path / "99_<b>", {"data.label_regex": "x"}, state="failed", error=HOSTILE)
    show_summary(tmp_path)
    page = (tmp_path / "summary.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=" in page
    assert 'href="99_%3Cb%3E/"' in page
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
        (every(RATES[:3], (1, 2, 4), ("a", "b"), (0, 1, 2)), [LR, EPOCHS, "model", "seed"]),
        ({(10**-n, n + 0.5): 0.5 / (n + 1) for n in range(100)}, [LR, "weight_decay"]),
        ({(f"name {n}",): 0.5 / (n + 1) for n in range(40)}, ["model"]),
        ({(seed,): 0.0 for seed in range(3)}, ["seed"]),
        (every((1,)), [LR]),
    ],
)
def test_figures_of_large_and_small_sweeps(
    tmp_path: Path, values: dict[tuple[float | str, ...], float], keys: list[str]
) -> None:
    show_summary(made_up_sweep(tmp_path, values, keys))
    with Image.open(tmp_path / "summary.png") as picture:
        assert 800 <= picture.width <= 1500
        assert 150 <= picture.height <= 1600
    assert len(rows(summarize(tmp_path))) == len(values)


def test_a_read_only_folder_is_reported(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, {(1,): 0.1}, ["lr"])
    (tmp_path / "summary.csv").mkdir()
    with pytest.raises(RunError, match="the summary cannot be written") as caught:
        show_summary(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_summary_imports_no_torch_and_other_commands_no_pandas(tmp_path: Path) -> None:
    made_up_sweep(tmp_path, {(1,): 0.1, (2,): 0.2}, ["lr"])
    code = (
        "import sys; from pathlib import Path; import pets.cli.main, hydra_plugins.pets_sweep; "
        "from pets.summary import show_summary; "
        "assert not {'torch', 'pandas', 'scipy'} & set(sys.modules); "
        f"show_summary(Path({str(tmp_path)!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["a b", "a=b", "it's", "x,y", "${x}", "[1]", "a\\", "日"])
def test_a_folder_with_any_name_can_be_summarized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    assert composed(to_overrides("summarize", [name])[0], name="summarize").sweep == name


def test_other_arguments_are_left_unchanged() -> None:
    for word in ("sweep=x", "--cfg", "hydra.verbose=true", "+a=1", "~a"):
        assert to_overrides("summarize", [word]) == [word]
    assert to_overrides("summarize", ["--cfg", "job"]) == ["--cfg", "job"]
    assert to_overrides("cache", ["--cfg", "job"]) == ["--cfg", "job"]
    assert to_overrides("cache", ["list"]) == ["action=list"]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("test", [True, False])
def test_sentences_appear_only_with_their_numbers(tmp_path: Path, seeds: int, test: bool) -> None:
    """Without test photos the only sentence about the test error is that there is none."""
    errors = {(lr, seed): 0.1 * lr + 0.01 * seed for lr in (1, 2, 3) for seed in range(seeds)}
    more: dict[str, Any] = {} if test else {"test": None}
    text = " ".join(verdict(summarize(made_up_sweep(tmp_path, errors, ["lr", "seed"], **more))))
    assert ("The chosen setting was not measured on test photos." in text) == (not test)
    assert ("the test error is the unbiased estimate" in text) == test
    assert ("biased: measure it on photos" in text) == (not test)
    assert ("Test error of the chosen setting" in text) == test
    assert ("The spread over seeds" in text) == (seeds > 1)


def test_pruned_runs_are_neither_failed_nor_waiting(tmp_path: Path) -> None:
    made_up_run(tmp_path / "0", {"optimizer.weight_decay": 0.1}, 0.1)
    made_up_run(tmp_path / "1", {"optimizer.weight_decay": 0.2}, 0.2)
    made_up_run(tmp_path / "2", {"optimizer.weight_decay": 0.3}, state="pruned", epochs=[0.9, 0.8])
    summary = summarize(tmp_path)
    assert summary.states == "2 of 3 runs finished, 1 pruned"
    assert len(summary.troubled) == 0
    sentences = verdict(summary)
    assert "1 setting was pruned as hopeless before the last epoch." in sentences
    assert not [sentence for sentence in sentences if "no result yet" in sentence]


def monitored(folder: Path, name: str, maximize: bool, scores: dict[int, list[float]]) -> Summary:
    """Runs of two settings that monitor a metric which is no share of the photos."""
    monitor = Monitor(
        name=name, column=name, maximize=maximize, is_share=name != "loss", counts_photos=False
    )
    for lr, values in scores.items():
        for seed, score in enumerate(values):
            run = made_up_run(
                folder / f"{lr}{seed}", {"lr": lr, "seed": seed}, 0.1, test=0.1,
                monitor=monitor.model_dump(),
            )  # fmt: skip
            status = json.loads((run / "status.json").read_text())
            for split in ("valid", "test"):
                status["results"][split][name] = score
            (run / "status.json").write_text(json.dumps(status))
    return summarize(folder)


def test_settings_are_ranked_by_what_their_runs_monitor(tmp_path: Path) -> None:
    summary = monitored(tmp_path, "macro_f1", True, {1: [0.80, 0.84, 0.82], 2: [0.90, 0.91, 0.89]})
    first, second, *_, caveat = verdict(summary)
    assert first == "lr=2: 90.0 % validation macro f1."
    assert second.startswith("lr=2 is better than the runner-up, lr=1, by 8.0 points")
    assert "Test macro f1 of the chosen setting: 90.0 %" in " ".join(verdict(summary))
    assert settings_table(summary).columns[1] == "validation macro f1"
    assert [row["valid_macro_f1"] for row in rows(summary)][:1] == ["0.8"]
    assert "binomial" not in caveat
    assert difference(summary).mean == pytest.approx(0.08)


def test_a_loss_is_no_percentage_and_one_run_each_says_nothing(tmp_path: Path) -> None:
    summary = monitored(tmp_path, "loss", False, {1: [0.3], 2: [0.25]})
    first, second = verdict(summary)[:2]
    assert first == "lr=2: 0.2500 validation loss."
    assert "is unknown" in second
    show_summary(tmp_path)
    assert "lowest mean validation loss" in (tmp_path / "summary.html").read_text()


def test_runs_that_monitor_different_metrics_are_compared_by_the_error(tmp_path: Path) -> None:
    other = Monitor(name="loss", column="valid_loss", is_share=False, counts_photos=False)
    made_up_run(tmp_path / "0", {"lr": 1}, 0.1)
    made_up_run(tmp_path / "1", {"lr": 2}, 0.2, monitor=other.model_dump())
    sentences = verdict(summarize(tmp_path))
    assert sentences[0] == "lr=1: 10.0 % validation error."
    assert any("(valid/error_rate, valid/loss): they are compared by" in s for s in sentences)
