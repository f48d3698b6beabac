"""The metrics that a run measures by its config, and the one that says what is best."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import EarlyStopping
from sklearn import metrics as sk
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pets import trust
from pets.config import Monitor
from pets.errors import ConfigError, DataError
from pets.metrics import METRICS, SplitMetrics, always_measured, metric_named
from pets.run_dir import RunDir
from pets.training.checks import check_signatures
from pets.training.measures import (
    build_callbacks,
    check_callbacks,
    check_metrics,
    check_top_k,
    measured,
    monitor_of,
)
from pets.training.metrics_csv import read_metrics
from pets.training.recorder import Recorder
from pets.training.trainer import build_trainer
from tests.conftest import train_config

OWN = """
import torch
from torchmetrics import Metric

class MyMetric(Metric):
    def __init__(self, num_classes, power=1):
        super().__init__()
        self.classes, self.power = num_classes, power
        self.add_state("photos", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits, targets):
        assert logits.shape == (len(targets), self.classes)
        self.photos += len(targets)

    def compute(self):
        return self.photos.float() ** self.power

class ByClass(MyMetric):
    def compute(self):
        return torch.zeros(self.classes)

class Text:
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of a user's own with metrics."""
    (tmp_path / "my_metrics.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_metrics"
    sys.modules.pop("my_metrics", None)


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    """Logits of 200 photos and their labels, of five classes that are not equally common."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.multinomial(torch.tensor([8.0, 4, 2, 2, 1]), 200, True, generator=generator)
    logits = 2 * torch.randn(200, 5, generator=generator)
    logits[range(200), targets] += 1.5
    return logits, targets


def value(name: str, logits: Tensor, targets: Tensor, classes: int = 5) -> float:
    """A metric over batches of 32, of which one lies between 0 and 1."""
    metric = metric_named(name)
    assert metric is not None
    made = metric.make(classes)
    for i in range(0, len(targets), 32):
        made.update(logits[i : i + 32], targets[i : i + 32])
    return float(made.compute())


def test_values_are_those_of_scikit_learn(batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    # Logits between 0 and 1 are not probabilities.
    logits = torch.cat([logits[:32].sigmoid(), logits[32:]])
    p, y = logits.softmax(1).numpy(), targets.numpy()
    one_hot, predicted = np.eye(5)[y], p.argmax(1)
    assert {
        name: value(name, logits, targets)
        for name in ("top2", *(name for name, metric in METRICS.items() if not metric.always))
    } == pytest.approx(
        {
            "top2": sk.top_k_accuracy_score(y, p, k=2),
            "top3": sk.top_k_accuracy_score(y, p, k=3),
            "top5": 1.0,
            "macro_f1": sk.f1_score(y, predicted, average="macro"),
            "weighted_f1": sk.f1_score(y, predicted, average="weighted"),
            "auroc": sk.roc_auc_score(y, p, multi_class="ovr"),
            "average_precision": sk.average_precision_score(one_hot, p),
            "cohen_kappa": sk.cohen_kappa_score(y, predicted),
        },
        abs=1e-6,
    )


@pytest.mark.filterwarnings("error")
def test_a_class_without_photos_is_left_out_of_the_mean(batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    more = torch.cat([logits, torch.full((200, 1), -20.0)], 1)
    for name in ("auroc", "average_precision", "macro_f1", "weighted_f1", "cohen_kappa"):
        assert value(name, more, targets, 6) == pytest.approx(value(name, logits, targets))
    assert np.isnan(value("auroc", logits, torch.zeros(200, dtype=torch.long)))


def test_the_metrics_of_a_run(own: str) -> None:
    chosen = f"[top3,auroc,{own}.MyMetric]"
    config = train_config(f"metrics={chosen}")
    check_metrics(config)
    assert [*measured(config)] == [*always_measured(), "top3", "auroc", "MyMetric"]
    assert [*measured(train_config())] == [*always_measured()]
    assert train_config("metrics=top2").metrics == ["top2"]
    split = SplitMetrics(["a", "b", "c", "d"], measured(config))
    split.update(torch.eye(4), torch.arange(4))
    found = split.compute()
    assert (found["top3"], found["auroc"], found["MyMetric"], found["photos"]) == (1, 1, 4, 4)
    squared = train_config(f"metrics=[{{_target_:{own}.MyMetric,power:2}}]")
    check_metrics(squared)
    made = measured(squared)["MyMetric"].make(4)
    made.update(torch.eye(4), torch.arange(4))
    assert made.compute() == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("metrics=[macrof1]", r"metrics: macrof1: no such metric; .*did you mean macro_f1\?"),
        ("metrics=[top0]", "metrics: top0: no such metric"),
        ("metrics=[accuracy]", "metrics: accuracy is always measured; leave it out"),
        ("metrics=[top1]", "metrics: top1 is accuracy, which is always measured; leave it out"),
        ("monitor=valid/top1", "monitor=valid/top1: is not .*; monitor=valid/accuracy$"),
        ("metrics=[top3,auroc,top3]", "metrics: top3 is there twice"),
        ("metrics=[3]", r"metrics=\[3\]: expected a list of names"),
        ("metrics=[not_there.MyMetric]", "metrics._target_=not_there.MyMetric: cannot be imported"),
        ("metrics=[my_metrics.ByClass]", r"computes \(100,\) values instead of one"),
        ("metrics=[my_metrics.Text]", r"it is a Text, not a torchmetrics.Metric"),
        ("metrics=[{_target_:my_metrics.MyMetric,powr:2}]", r"metrics.powr: .*mean power\?"),
        (
            "monitor=error_rate",
            "monitor=error_rate: is not measured; .*; monitor=valid/error_rate",
        ),
        ("monitor=valid/macro_f1", r"not measured; .*; metrics=\[macro_f1\] measures it"),
        ("monitor=test/accuracy", "monitor=test/accuracy: is not measured"),
        ("monitor=valid/top3", r"metrics=\[top3\] measures it"),
    ],
)
def test_a_wrong_metric_or_monitor_is_one_line(own: str, arguments: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_signatures(train_config(arguments))
    assert "\n" not in str(caught.value)


def test_a_metric_that_does_not_say_what_is_better_is_no_monitor(own: str) -> None:
    config = train_config(f"metrics=[{own}.MyMetric]", "monitor=valid/MyMetric")
    with pytest.raises(ConfigError, match="set higher_is_better = True or False in its class"):
        check_signatures(config)


def test_top_k_of_too_few_classes_is_refused() -> None:
    config = train_config("metrics=[auroc,top10]")
    check_top_k(config, 11)
    with pytest.raises(DataError, match="metrics: top10 of 10 classes is always 1"):
        check_top_k(config, 10)


def test_a_metric_of_somebody_else_is_not_imported() -> None:
    assert trust.refusal({"metrics": ["top3", "macro_f1"]}) is None
    for item in ("os.system", {"_target_": "os.system"}):
        assert "os.system: is not called" in str(trust.refusal({"metrics": ["top3", item]}))


@pytest.mark.parametrize(
    ("name", "maximize"),
    [("loss", False), ("error_rate", False), ("accuracy", True), ("macro_f1", True)],
)
def test_the_direction_is_the_metrics_own(name: str, maximize: bool) -> None:
    config = train_config("metrics=[macro_f1]", f"monitor=valid/{name}", "callbacks=early_stopping")
    monitor = monitor_of(config)
    assert (monitor.key, monitor.maximize) == (f"valid/{name}", maximize)
    assert monitor.better(0.6, 0.5) is maximize
    assert monitor.better(0.5, 0.6) is not maximize
    assert not monitor.better(0.5, 0.5)
    (stopping,) = [c for c in build_callbacks(config) if isinstance(c, EarlyStopping)]
    assert (stopping.monitor, stopping.mode) == (f"valid/{name}", "max" if maximize else "min")
    assert Monitor() == monitor_of(train_config())


class Scripted(LightningModule):
    """Predicts what a script says for the validation photos of each epoch."""

    on_activations = False

    def __init__(self, epochs: list[list[int]], targets: list[int], config: Any) -> None:
        super().__init__()
        self.epochs, self.targets = epochs, targets
        self.metrics = SplitMetrics(["a", "b", "c"], measured(config))
        self.progress = {"stage": "head", "steps_before": 0}
        self.epoch = nn.Parameter(torch.zeros(()))

    def configure_optimizers(self) -> Any:
        # Each step adds one, so that a checkpoint says of which epoch it is.
        return torch.optim.SGD([{"params": [self.epoch], "name": "head"}], lr=1.0)

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        return -self.epoch

    def validation_step(self, batch: Tensor, _: int) -> None:
        predicted = torch.tensor(self.epochs[self.current_epoch])
        self.metrics.update(5 * torch.eye(3)[predicted], torch.tensor(self.targets))

    def on_validation_epoch_end(self) -> None:
        found = self.metrics.compute()
        self.metrics.reset()
        shown = {f"valid/{name}": found[name] for name in self.metrics.measured}
        self.log_dict({"train/epoch_loss": 1.0, **shown}, logger=False)


@pytest.mark.parametrize(
    ("monitor", "epoch"),
    [("error_rate", 1), ("accuracy", 1), ("macro_f1", 2), ("top2", 2), ("loss", 1)],
)
def test_the_monitor_chooses_the_best_checkpoint(tmp_path: Path, monitor: str, epoch: int) -> None:
    """After epoch 1 all photos are called by the common class, after epoch 2 fewer are right, but
    some of every class; epoch 3 is as good as epoch 2."""
    targets = [0] * 8 + [1, 2]
    calls = [[0] * 10, [0] * 5 + [1] * 3 + [1, 2], [0] * 5 + [2] * 3 + [1, 2]]
    config = train_config("metrics=[macro_f1,top2]", f"monitor=valid/{monitor}")
    run = RunDir.prepare(tmp_path, {}, [])
    recorder = Recorder(run, monitor_of(config))
    module = Scripted(calls, targets, config)
    loader: Any = DataLoader([(torch.zeros(()), torch.zeros(()))])  # type: ignore[arg-type]
    values = {"accelerator": "cpu", "precision": "32-true"}
    trainer = build_trainer(values, 3, [recorder])
    trainer.fit(module, loader, loader)
    best = torch.load(run.checkpoint("best"), weights_only=True)
    assert best["state_dict"]["epoch"] == epoch
    assert run.monitor == monitor_of(config)
    assert [row["macro_f1"] for row in read_metrics(tmp_path / "metrics.csv")] == pytest.approx(
        [sk.f1_score(targets, called, average="macro", zero_division=0) for called in calls]
    )


def test_what_early_stopping_does_to_the_plan_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    check_callbacks(train_config("callbacks=early_stopping"))
    assert "no stage of the plan is long enough" in caplog.text
    assert "epochs of at least 5" in caplog.text
    caplog.clear()
    long = "plan.stages.head.epochs=5"
    check_callbacks(train_config("callbacks=early_stopping", "plan=frozen4", long))
    assert "plan.stages.head.schedule=constant suits it better" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        check_callbacks(train_config("callbacks=early_stopping", "plan=constant", long))
    assert not caplog.messages


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("patience=0", r"callbacks.early_stopping.patience=0: expected a whole number"),
        ("monitor=valid/auroc", r"callbacks.early_stopping.monitor=valid/auroc: is not measured"),
        ("mode=up", "callbacks.early_stopping: .*refuses its arguments"),
    ],
)
def test_wrong_early_stopping_is_one_line(argument: str, message: str) -> None:
    name, _, value = argument.partition("=")
    key = f"{'+' if name == 'mode' else ''}callbacks.early_stopping.{name}={value}"
    with pytest.raises(ConfigError, match=message):
        check_callbacks(train_config("callbacks=early_stopping", key))


def test_callbacks_of_several_options() -> None:
    config = train_config("callbacks=[early_stopping,ema]")
    assert [*config.callbacks] == ["progress_bar", "epoch_table", "early_stopping", "ema"]
    assert len(build_callbacks(config)) == 4
    assert not train_config("callbacks=none").callbacks
