"""Training: what is written, that it learns, that it repeats."""

import json
import math
import shutil
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from pets.training.checkpoints import read_checkpoint
from tests.fast.training.test_rates import one_cycle
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, same, scalars, status, weights


@pytest.mark.core
def test_a_run_directory_holds_everything(trained: Path) -> None:
    names = {p.relative_to(trained).as_posix() for p in trained.rglob("*") if p.is_file()}
    expected = {
        "config.yaml", "overrides.yaml", "environment.json", "data.json", "photos.csv",
        "status.json", "metrics.csv", "train.log", "checkpoints/last.ckpt", "checkpoints/best.ckpt",
    }  # fmt: skip
    assert expected <= names
    assert not [name for name in names if "=" in name]
    assert any(name.startswith("tensorboard/events") for name in names)
    result = status(trained)
    assert result["state"] == "finished"
    assert set(result["results"]) == {"valid", "test"}
    assert (result["stage"], result["epoch"], result["epochs"]) == ("body", 3, 3)
    assert json.loads((trained / "data.json").read_text())["train"] == 60


@pytest.mark.core
def test_it_learns_what_it_should(trained: Path) -> None:
    """From guessing among ten breeds to knowing most of them, on six photos of each."""
    rows = metrics(trained)
    assert [(r["stage"], r["epoch"], r["step"]) for r in rows] == [
        ("head", "1", "3"), ("head", "2", "6"), ("body", "1", "9"), ("body", "2", "12"),
        ("body", "3", "15"),
    ]  # fmt: skip
    guessing = math.log(10)  # the loss of a head that starts at zero
    assert scalars(trained, "train/loss")[0].value == pytest.approx(guessing, abs=1e-4)
    assert float(rows[-1]["valid_loss"]) < 0.75 * guessing
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    test = status(trained)["results"]["test"]
    assert test["accuracy"] >= 0.4
    assert test["error_rate"] == pytest.approx(1 - test["accuracy"])
    assert test["photos"] == 20


@pytest.mark.core
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


@pytest.mark.core
def test_tensorboard_has_the_closed_form_curves_and_a_filled_hparams_tab(trained: Path) -> None:
    events = EventAccumulator(str(trained / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    groups = [tag.removeprefix("lr/") for tag in tags if tag.startswith("lr/")]
    # What is frozen has no rate: in the first stage the head's alone.
    assert groups == ["head", *[f"group{i}" for i in range(8)]]
    for place, group in enumerate([*groups[1:], "head"]):
        expected = []
        body_lr = 1e-6 * 100 ** (place / 8)
        for lr, steps in ((3e-3, 6), (body_lr, 9)):
            pct = max(0.3, 2 / steps)
            expected += [one_cycle(step, steps, lr, pct, 25.0) for step in range(steps)]
        first = 0 if group == "head" else 6
        expected = expected[first:]
        rates, momenta = scalars(trained, f"lr/{group}"), scalars(trained, f"momentum/{group}")
        assert [e.step for e in rates] == list(range(first, 15))
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


@pytest.mark.core
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


def test_an_unreadable_photo_is_named_or_left_out(pets: Pets, drawn: Path) -> None:
    root = pets.folder / "photos"
    shutil.copytree(drawn, root)
    victim = sorted((root / "images").glob("*.jpg"))[5]
    victim.write_bytes(victim.read_bytes()[:900])
    for workers in (0, 1):
        small = [w for w in SMALL if "num_workers" not in w]
        line = pets.one_line("train", f"data.root={root}", *small, f"data.num_workers={workers}")
        assert line.startswith(f"{victim}: cannot be read as an image")
    output = pets("train", f"data.root={root}", *SMALL, "data.on_bad_image=skip").stdout
    assert f"left out: {victim}" in output
    assert f"{victim.name}" not in (pets.runs()[-1] / "photos.csv").read_text()


def test_a_diverged_run_fails_and_keeps_what_it_had(pets: Pets, drawn: Path) -> None:
    line = pets.one_line("train", f"data.root={drawn}", *SMALL, "plan.stages.body.lr=1e30")
    assert "training diverged; a lower plan.stages.body.lr" in line
    (run,) = pets.runs()
    assert status(run)["state"] == "failed"
    assert read_checkpoint(run / "checkpoints/last.ckpt")["pets"]["stage"] == "head"
