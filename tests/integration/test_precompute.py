"""Activations in the place of photos: the same results in a fraction of the time, never stale."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from pets.cache.store import Store
from pets.training.checkpoints import read_checkpoint
from tests.conftest import need
from tests.integration.conftest import SMALL, Pets
from tests.integration.runs import metrics, same, scalars, status, weights

HEAD = ("plan=frozen4", *SMALL[:-1])
PRE = ("precompute=true", "cache_dir=cache")


def made(folder: Path) -> list[str]:
    """The names of the cache's entries."""
    return sorted(entry.folder.name for entry in Store(folder / "cache").entries())


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Path:
    """A run on activations, with the cache beside its outputs."""
    pets = Pets(tmp_path_factory.mktemp("cached"))
    pets("train", f"data.root={drawn}", *HEAD, *PRE)
    return pets.runs()[0]


@pytest.mark.core
def test_it_is_the_same_training_as_on_photos_that_are_not_augmented(
    cached: Path, pets: Pets, drawn: Path
) -> None:
    pets("train", f"data.root={drawn}", *HEAD, "augment=none")
    (plain,) = pets.runs()
    for ours, theirs in zip(metrics(cached), metrics(plain), strict=True):
        for name in ("train_loss", "valid_loss", "error_rate", "mean_class_accuracy"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), abs=1e-5)
    for split in ("valid", "test"):
        ours, theirs = (status(run)["results"][split] for run in (cached, plain))
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert ours["per_class"] == theirs["per_class"]
    assert weights(cached).keys() == weights(plain).keys()
    torch.testing.assert_close(weights(cached), weights(plain), rtol=1e-4, atol=1e-5)


def test_the_run_is_an_ordinary_one(cached: Path, drawn: Path) -> None:
    """Measured on the photos it has the metrics that it had on activations; it predicts."""
    pets = Pets(cached.parents[1])
    results = status(cached)["results"]
    for split in ("valid", "test"):
        pets("eval", f"run={cached}", f"split={split}")
        result = json.loads((cached / f"eval/{split}_last.json").read_text())
        assert result["loss"] == pytest.approx(results[split]["loss"], abs=1e-5)
        assert result["per_class"] == results[split]["per_class"]
    photo = next((drawn / "images").iterdir())
    output = pets("predict", f"run={cached}", f"source={photo}").stdout
    assert photo.name in output


@pytest.mark.parametrize("engine", ["folded", "openvino"])
def test_another_engine_gives_the_same_results(
    cached: Path, pets: Pets, drawn: Path, engine: str
) -> None:
    need(find_spec(engine) is not None or engine == "folded", f"{engine} is not installed")
    pets("train", f"data.root={drawn}", *HEAD, *PRE, f"precompute.engine={engine}")
    (run,) = pets.runs()
    for ours, theirs in zip(metrics(run), metrics(cached), strict=True):
        assert float(ours["valid_loss"]) == pytest.approx(float(theirs["valid_loss"]), abs=1e-4)
    pets("eval", f"run={run}", "split=test")
    result = json.loads((run / "eval/test_last.json").read_text())
    assert result["loss"] == pytest.approx(status(run)["results"]["test"]["loss"], abs=1e-4)


def test_it_says_what_it_does(pets: Pets, drawn: Path) -> None:
    first = pets("train", f"data.root={drawn}", *HEAD, *PRE, "plan.stages.head.epochs=2").stdout
    args = "activations of 100 photos (tf_efficientnet_lite0, 96 x 96 pixels, 32-true, eager, "
    assert f"{args}float32): 1.0 MB in" in first
    assert "not augmented: precompute.views=4 keeps" in first
    assert "activations/s" in first
    second = pets("train", f"data.root={drawn}", *HEAD, *PRE, "plan.stages.head.epochs=2").stdout
    assert f"{args}float32): read from" in second
    one, two = pets.runs()
    assert same(weights(one), weights(two))
    assert set(status(one)["seconds"]) == {"head/precompute", "head"}
    assert status(one)["speed"]["head"]["images_per_second"] > 0
    listed = pets("cache", "list", "cache_dir=cache").stdout.splitlines()
    assert len(listed) == 2
    assert "activations of 100 photos" in listed[0]
    # With what is known about the photos.
    assert "1.1 MB freed" in pets("cache", "clear", "cache_dir=cache").stdout
    assert made(pets.folder) == []


def test_the_finder_and_the_stage_share_a_pass(pets: Pets, drawn: Path) -> None:
    found = pets("find-lr", f"data.root={drawn}", *SMALL[:5], *PRE, "lr_finder.steps=40")
    assert "float32): 1.0 MB in" in found.stdout
    entries = made(pets.folder)
    auto = ("plan.stages.head.lr=auto", "lr_finder.steps=40")
    trained = pets("train", f"data.root={drawn}", *HEAD, *PRE, *auto).stdout
    assert "float32): read from" in trained
    assert made(pets.folder) == entries


def test_a_stage_that_ends_early_leaves_its_last_epoch(pets: Pets, drawn: Path) -> None:
    args = (
        "+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping",
        "+callbacks.stop.monitor=valid/loss",
        "+callbacks.stop.patience=1",
        "plan.stages.head.lr=1",
    )
    pets("train", f"data.root={drawn}", *HEAD, *PRE, "plan.stages.head.epochs=9", *args)
    (run,) = pets.runs()
    rows = metrics(run)
    assert len(rows) < 9
    assert read_checkpoint(run / "checkpoints/last.ckpt")["pets"]["epochs"] == int(
        rows[-1]["epoch"]
    )
    best = min(rows, key=lambda row: (float(row["error_rate"]), int(row["epoch"])))
    assert read_checkpoint(run / "checkpoints/best.ckpt")["pets"]["epochs"] == int(best["epoch"])


def test_in_mixed_precision_photos_and_activations_agree(pets: Pets, drawn: Path) -> None:
    pets("train", f"data.root={drawn}", *HEAD, *PRE, "trainer.precision=bf16-mixed")
    (run,) = pets.runs()
    pets("eval", f"run={run}", "split=test", "trainer.precision=bf16-mixed")
    result = json.loads((run / "eval/test_last.json").read_text())
    expected = status(run)["results"]["test"]
    assert result["accuracy"] == expected["accuracy"]
    assert result["loss"] == pytest.approx(expected["loss"], abs=5e-4)


def test_a_sweep_shares_one_pass(pets: Pets, drawn: Path) -> None:
    pets(
        "train", "-m", f"data.root={drawn}", *HEAD, *PRE,
        "plan.stages.head.lr=1e-3,3e-3", "plan.stages.head.epochs=2,3", "seed=0,1",
    )  # fmt: skip
    output = "".join((run / "train.log").read_text() for run in pets.runs())
    assert output.count("MB in ") == 1
    assert output.count("read from") == 7
    assert len(pets.runs()) == 8
    assert len(made(pets.folder)) == 1
    losses = {metrics(run)[-1]["valid_loss"] for run in pets.runs()}
    assert len(losses) == 8


def test_a_frozen_stage_runs_on_activations_and_the_next_on_photos(
    cached: Path, pets: Pets, drawn: Path
) -> None:
    output = pets("train", f"data.root={drawn}", *SMALL, *PRE).stdout
    assert "activations/s" in output
    assert "images/s" in output
    (run,) = pets.runs()
    rows = metrics(run)
    assert [row["stage"] for row in rows] == ["head"] * 2 + ["body"] * 3
    assert rows[:2] == metrics(cached)
    moved = [
        name
        for name, value in weights(cached).items()
        if name.startswith("model.backbone") and not torch.equal(value, weights(run)[name])
    ]
    assert len(moved) > 50


def test_a_killed_run_goes_on_to_the_same_end(
    cached: Path, pets: Pets, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it passes photos through the body, and resumed."""
    args = [sys.executable, "-m", "pets", "train", f"data.root={drawn}", *HEAD, *PRE]
    process = subprocess.Popen(args, cwd=pets.folder, start_new_session=True)
    end = time.monotonic() + 120
    while not list((pets.folder / "cache").glob(".part-*/values.npy")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert made(pets.folder) == []
    (run,) = pets.runs()
    # A run's own folder for a cache is not followed in silence, nor left in silence.
    monkeypatch.setenv("PETS_CACHE", str(pets.folder / "cache"))
    output = pets("train", f"resume={run}").stdout
    assert f"cache_dir={pets.folder / 'cache'} is used, not the run's own cache: " in output
    assert len(made(pets.folder)) == 1
    assert metrics(run) == metrics(cached)
    assert same(weights(run), weights(cached))


def test_the_finder_runs_on_activations(pets: Pets, drawn: Path) -> None:
    given = ("lr_finder.steps=30", "lr_finder.start_lr=1e-4", "data.num_workers=0")
    output = pets("find-lr", f"data.root={drawn}", *SMALL[:3], *PRE, *given).stdout
    assert "activations of 100 photos" in output
    (numbers,) = pets.folder.glob("outputs/*/lr_finder/fresh_head.json")
    on_activations = [p["loss"] for p in json.loads(numbers.read_text())["points"]]
    shutil.rmtree(pets.folder / "outputs")
    pets("find-lr", f"data.root={drawn}", *SMALL[:3], "augment=none", *given)
    (numbers,) = pets.folder.glob("outputs/*/lr_finder/fresh_head.json")
    on_photos = [p["loss"] for p in json.loads(numbers.read_text())["points"]]
    assert on_activations[:20] == pytest.approx(on_photos[:20], abs=1e-4)


def test_checkpoints_hold_the_whole_network(cached: Path) -> None:
    result = read_checkpoint(cached / "checkpoints/last.ckpt")
    assert len([name for name in result["state_dict"] if name.startswith("model.backbone")]) > 200


def test_speed_is_in_tensorboard(cached: Path) -> None:
    for tag in ("speed/images_per_second", "speed/waited"):
        values = [point.value for point in scalars(cached, tag)]
        assert len(values) == 2
        assert all(value >= 0 for value in values)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("precompute.views=2",), "precompute: views=2 has no effect without precompute=true"),
        (("precompute=maybe",), "precompute.enabled=maybe: expected true or false"),
        (("precompute=true", "model.frozen_norm=train"), "precompute=true with model.frozen_norm"),
        (("precompute=true", "plan.stages.head.freeze_to=0"), "precompute=true has no effect"),
        (("precompute=true", "cache_dir=/dev/null/x"), "cache_dir=/dev/null/x: cannot be written"),
        (("precompute.engine=warp",), "precompute.engine=warp: expected"),
        (("precompute.engine=auto",), "precompute: engine=auto has no effect without precompute"),
        (("precompute=true", "data.cache=decoded"), "data.cache=decoded has no effect with precom"),
        (("precompute=true", "compile=true"), "compile=true has no effect with precompute=true"),
        (("data.cache_side=300",), "data: cache_side has no effect with cache=none"),
        (
            ("data.cache=decoded", "data.cache_side=90"),
            "data.cache_side=90 is too small for plan",
        ),
    ],
)
def test_a_mistake_is_one_line(pets: Pets, drawn: Path, args: tuple[str, ...], line: str) -> None:
    assert pets.one_line("train", f"data.root={drawn}", *HEAD, *args).startswith(line)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("precompute=true", "freeze_to=0"), "precompute=true has no effect: no stage leaves"),
        (("compile=true",), "compile: no such key"),
        (
            ("model=timm", "model.name=vit_tiny_patch16_224", "model.weights=none"),
            "find-lr: vit_tiny_patch16_224 takes no pictures of 96 x 96 pixels",
        ),
    ],
)
def test_find_lr_checks_what_train_checks(
    pets: Pets, drawn: Path, args: tuple[str, ...], line: str
) -> None:
    output = pets("find-lr", f"data.root={drawn}", *SMALL[:4], *args, code=1).stderr
    assert output.splitlines()[-1].startswith(line)
