"""A signal stops a training where it is: not a step is lost, and none is done twice."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pets.commands.train import resume_run
from pets.run_dir import RunDir
from pets.system import signals
from pets.system.signals import Stopped
from pets.training.checkpoints import read_checkpoint
from tests.conftest import train_config
from tests.integration.runs import metrics, scalars, status, tags
from tests.integration.signals import SignalAt

# Seven steps an epoch.
STEPS = 7
FAST = ("data.size=64", "data.batch_size=8", "data.num_workers=0", "trainer.precision=32-true")
NEVER = {"hook": "never", "step": 0, "number": int(signal.SIGTERM)}


class Training:
    """A run in this process, stopped and resumed as often as one likes."""

    def __init__(self, path: Path, drawn: Path, *args: str) -> None:
        stuck = f"{{_target_:tests.integration.signals.Stuck,folder:'{path}'}}"
        config = train_config(
            f"data.root={drawn}", *FAST, "trainer.accelerator=cpu", f"+augment.photo.stuck={stuck}",
            "+callbacks.signal={_target_:tests.integration.signals.SignalAt}", *args,
        )  # fmt: skip
        values = config.model_dump(by_alias=True, mode="json")
        self.run = RunDir.prepare(path, values, [])
        self.path = path

    def finish(self) -> None:
        """Go on to the end."""
        self._send()
        resume_run(self.run)

    def stop(self, hook: str, step: int, number: signal.Signals, **after: float) -> None:
        """Go on up to a signal inside a hook, or so many seconds `after` it and `again`."""
        self._send(hook=hook, step=step, number=int(number), **after)
        with pytest.raises(Stopped) as stopped:
            resume_run(self.run)
        assert (stopped.value.signal, stopped.value.code) == (number, 128 + number)
        assert status(self.path)["state"] == "interrupted"
        assert status(self.path)["error"] == f"stopped by {number.name}"

    def _send(self, **at: Any) -> None:
        values = {"_target_": "tests.integration.signals.SignalAt", **NEVER, **at}
        self.run.update_config({"callbacks.signal": values})

    @property
    def position(self) -> tuple[str, int, int]:
        """Stage, its whole epochs, batches of the next one: what the last checkpoint is after."""
        about = read_checkpoint(self.run.checkpoint("last"))["pets"]
        return about["stage"], about["epochs"], about.get("batches", 0)


@pytest.fixture
def trained() -> Iterator[list[Any]]:
    """What has been trained since the last look: `pop` it."""
    SignalAt.trained.clear()
    yield SignalAt.trained
    SignalAt.trained.clear()


def looked_at(trained: list[Any]) -> list[Any]:
    result = list(trained)
    trained.clear()
    return result


def equal(a: Any, b: Any) -> bool:
    """Bit for bit, tensors inside of lists and dictionaries too."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def assert_same_end(run: Path, whole: Path) -> None:
    """Files that do not depend on the time are the same, bit for bit."""
    assert metrics(run) == metrics(whole)
    assert status(run)["results"] == status(whole)["results"]
    for name in ("last", "best"):
        ours, theirs = (read_checkpoint(r / f"checkpoints/{name}.ckpt") for r in (run, whole))
        assert ours["pets"] == theirs["pets"]
        for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
            assert equal(ours.get(part), theirs.get(part)), part
    curves = [tag for tag in tags(whole) if not tag.startswith("speed/")]
    assert curves == [tag for tag in tags(run) if not tag.startswith("speed/")]
    for tag in curves:
        ours, theirs = ([(e.step, e.value) for e in scalars(r, tag)] for r in (run, whole))
        assert ours == theirs, tag


def test_stopped_anywhere_it_ends_as_if_never_stopped(
    tmp_path: Path, drawn: Path, trained: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two stages, the second with everything unfrozen; dropout, MixUp, a cycle of rate and
    momentum, averaged weights."""
    args = (
        "augment=mixup", "callbacks=ema", "callbacks.ema.decay=0.6", "model/head=concat_pool",
        "plan.stages.head.epochs=1", "plan.stages.body.epochs=2",
    )  # fmt: skip
    whole = Training(tmp_path / "whole", drawn, *args)
    whole.finish()
    steps = looked_at(trained)
    assert len(steps) == 3 * STEPS

    run = Training(tmp_path / "run", drawn, *args)
    run.stop("batch_start", 3, signal.SIGUSR1)
    assert run.position == ("head", 0, 4)
    # Before the second stage's first step there is nothing to write.
    run.stop("train_start", STEPS, signal.SIGINT)
    assert run.position == ("head", 1, 0)
    # A validation is finished first.
    run.stop("validation", 2 * STEPS, signal.SIGUSR2)
    assert run.position == ("body", 1, 0)
    assert looked_at(trained) == steps[: 2 * STEPS]
    assert metrics(run.path) == metrics(whole.path)[:2]

    # While a loader's process does not answer no step ends; a later signal does not wait for one.
    run.run.update_config({"data.num_workers": 2})
    (run.path / "stick").touch()
    with monkeypatch.context() as patched:
        patched.setattr(signals, "PATIENCE", 0.5)
        run.stop("batch_end", 2 * STEPS + 1, signal.SIGTERM, after=1.0, again=2.0)
    assert run.position == ("body", 1, 0)
    assert not (run.path / "stick").exists()
    assert multiprocessing.active_children() == []
    assert looked_at(trained) == steps[2 * STEPS : 2 * STEPS + 1]
    run.stop("batch_start", 2 * STEPS + 4, signal.SIGTERM)
    assert run.position == ("body", 1, 5)
    run.finish()
    assert looked_at(trained) == steps[2 * STEPS :]
    assert_same_end(run.path, whole.path)


@pytest.mark.core
def test_stopped_on_activations_with_accumulated_gradients(
    tmp_path: Path, drawn: Path, trained: list[Any]
) -> None:
    """There epochs are so short that not every one has a checkpoint."""
    args = (
        "plan=frozen4", "precompute.enabled=true", f"cache_dir={tmp_path}/cache",
        "trainer.accumulate_grad_batches=2", "model/head=concat_pool",
    )  # fmt: skip
    whole = Training(tmp_path / "whole", drawn, *args)
    whole.finish()
    steps = looked_at(trained)
    assert len(steps) == 4 * STEPS

    run = Training(tmp_path / "run", drawn, *args)
    # In the first of two batches that make a step; of an epoch of seven the last makes one alone.
    run.stop("batch_start", 6, signal.SIGTERM)
    assert run.position == ("head", 1, 6)
    # In the last step of an epoch: its validation follows first.
    run.stop("batch_start", 11, signal.SIGTERM)
    assert run.position == ("head", 3, 0)
    run.finish()
    assert looked_at(trained) == steps
    assert_same_end(run.path, whole.path)
