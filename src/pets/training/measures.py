"""The metrics and callbacks of a config, and the metric by which epochs are compared."""

from __future__ import annotations

import inspect
import logging
import warnings
from typing import Any

import torch
from hydra.utils import get_object
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EarlyStopping
from torchmetrics import Metric

from pets.config import LearnerConfig, Monitor, Target, TrainConfig
from pets.config.instantiate import build, check_signature
from pets.config.monitor import SPLIT
from pets.errors import ConfigError, DataError, reason_of
from pets.metrics import METRICS, SplitMetric, always_measured, metric_named
from pets.registry import Registry, expected

log = logging.getLogger(__name__)


def measured(config: LearnerConfig) -> dict[str, SplitMetric]:
    """Return the metrics of a run by name: those always measured, then the chosen ones."""
    chosen = config.metrics if isinstance(config, TrainConfig) else ()
    return always_measured() | {metric.name: metric for metric in map(_chosen, chosen)}


def check_metrics(config: TrainConfig) -> None:
    """Check the chosen metrics and the monitor. Raises ConfigError.

    Every metric must exist, be named once and be computable, and the monitored one must be
    measured.
    """
    names = list[str]()
    for item in config.metrics:
        metric = _chosen(item)
        if metric.name in always_measured():
            which = "top1 is accuracy, which" if item == "top1" else metric.name
            raise ConfigError(f"metrics: {which} is always measured; leave it out")
        if metric.name in names:
            raise ConfigError(f"metrics: {metric.name} is there twice; expected each once")
        names.append(metric.name)
        if (target := _target(item)) is not None:
            check_signature("metrics", target, _given(target))
            _try(target, metric, _trial_classes(config))
    monitor_of(config)


def check_top_k(config: TrainConfig, classes: int) -> None:
    """Raise DataError if a chosen metric needs more classes than there are."""
    for item in config.metrics:
        k = int(item[3:]) if isinstance(item, str) and item[3:].isdecimal() else 0
        if k >= classes:
            raise DataError(
                f"metrics: {item} of {classes} classes is always 1; expected a top<k> with k below "
                f"{classes}, or none"
            )


def monitor_of(config: TrainConfig) -> Monitor:
    """Return the metric by which epochs are compared.

    Raises ConfigError if it is not measured, or does not say whether higher is better.
    """
    return _monitor(config, "monitor", config.monitor)


def _mode(config: TrainConfig, name: str) -> dict[str, Any]:
    """Return the argument `mode` of a callback that has a `monitor` but does not say whether higher
    is better, as Lightning's EarlyStopping."""
    node = config.callbacks[name]
    arguments = node.model_extra or {}
    takes = inspect.signature(get_object(node.target)).parameters
    if not {"monitor", "mode"} <= set(takes) or "monitor" not in arguments:
        return {}
    monitor = _monitor(config, f"callbacks.{name}.monitor", arguments["monitor"])
    return {} if "mode" in arguments else {"mode": "max" if monitor.maximize else "min"}


def build_callbacks(config: TrainConfig) -> list[Callback]:
    """Build new callbacks, in the config's order. Raises ConfigError."""
    callbacks = []
    for name, node in config.callbacks.items():
        try:
            callbacks.append(build(f"callbacks.{name}", node, **_mode(config, name)))
        except MisconfigurationException as error:
            raise ConfigError(f"callbacks.{name}: refuses its arguments ({error})") from error
        if not isinstance(callbacks[-1], Callback):
            raise ConfigError(
                f"callbacks.{name}: {node.target} is not a Callback of pytorch_lightning; expected "
                "one of that package, not of the package lightning"
            )
    return callbacks


def check_callbacks(config: TrainConfig) -> None:
    """Check that the callbacks can be built, and say what early stopping does to the plan.

    Raises:
        ConfigError: An argument is wrong.
    """
    stages = config.plan.stages
    for name, callback in zip(config.callbacks, build_callbacks(config), strict=True):
        if not isinstance(callback, EarlyStopping):
            continue
        key, patience = f"callbacks.{name}", callback.patience
        if patience < 1:
            raise ConfigError(f"{key}.patience={patience}: expected a whole number of at least 1")
        # Lightning keeps it with the sign of the direction.
        if (config.callbacks[name].model_extra or {}).get("min_delta", 0) < 0:
            raise ConfigError(f"{key}.min_delta: expected a number of at least 0")
        long = [stage for stage, its in stages.items() if its.epochs > patience + 1]
        if not long:
            log.warning(
                "%s.patience=%s: no stage of the plan is long enough to be stopped early; expected "
                "plan.stages.<stage>.epochs of at least %s", key, patience, patience + 2,
            )  # fmt: skip
        for stage in long:
            if stages[stage].schedule == "one_cycle":
                log.warning(
                    "%s: a stage that is stopped early never gets to the low learning rates of its "
                    "one-cycle schedule; plan.stages.%s.schedule=constant suits it better",
                    key, stage,
                )  # fmt: skip


def _monitor(config: TrainConfig, key: str, value: Any) -> Monitor:
    metrics = measured(config)
    split, _, name = str(value).rpartition("/")
    metric = metrics.get(name)
    if f"{split}/" != SPLIT or metric is None:
        known = metrics.get(name) or metric_named(name)
        if known and known.name in metrics:
            fix = f"monitor={SPLIT}{known.name}"
        elif known:
            fix = f"metrics=[{name}] measures it"
        else:
            fix = "metrics=[...] adds others"
        listed = ", ".join(f"{SPLIT}{name}" for name in metrics)
        raise ConfigError(f"{key}={value}: is not measured; expected one of {listed}; {fix}")
    higher = metric.make(_trial_classes(config)).higher_is_better
    if higher is None:
        raise ConfigError(
            f"{key}={value}: does not say whether higher is better; set higher_is_better = True "
            "or False in its class"
        )
    return Monitor(
        name=name, column=metric.column, maximize=higher, is_share=metric.is_share,
        counts_photos=metric.counts_photos,
    )  # fmt: skip


def _chosen(item: str | Target) -> SplitMetric:
    """Return the metric of an item of the list: a name, or a dotted path with or without
    arguments."""
    target = _target(item)
    if target is None:
        metric = metric_named(str(item))
        if metric is None:
            others = Registry({name: m for name, m in METRICS.items() if not m.always})
            names = expected(str(item), others)
            raise ConfigError(
                f"metrics: {item}: no such metric; expected top<k>, {names}; for one of your own "
                "its path, my_module.MyMetric"
            )
        return metric

    def make(classes: int) -> Metric:
        metric: Metric = build("metrics", target, **dict.fromkeys(_given(target), classes))
        return metric

    name = target.target.rpartition(".")[2]
    return SplitMetric(name, target.target, make, is_share=False, always=False)


def _target(item: str | Target) -> Target | None:
    if isinstance(item, str):
        return Target.model_validate({"_target_": item}) if "." in item else None
    return item


def _given(target: Target) -> list[str]:
    """The arguments that are given to a metric of one's own: the number of classes."""
    try:
        parameters = inspect.signature(get_object(target.target)).parameters
    except Exception:  # check_signature says it in words
        return []
    return ["num_classes"] if "num_classes" in parameters else []


def _trial_classes(config: TrainConfig) -> int:
    """How many classes a metric is tried with. The number is not known yet, but a list among the
    arguments of one's own may have a value for each."""
    own = [item.model_extra or {} for item in config.metrics if isinstance(item, Target)]
    lists = [value for node in own for value in node.values() if isinstance(value, list)]
    return max([len(value) for value in lists] or [100])


def _try(target: Target, metric: SplitMetric, classes: int) -> None:
    """Compute a metric of one's own for a batch. Raises ConfigError."""
    made = metric.make(classes)
    targets = torch.arange(classes)
    logits = torch.eye(classes)[targets.flip(0) // 2] + torch.linspace(-1, 1, classes)
    try:
        if not isinstance(made, Metric):
            raise TypeError(f"it is a {type(made).__name__}, not a torchmetrics.Metric")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.update(logits, targets)
            value = made.compute()
        if torch.as_tensor(value).numel() != 1:
            raise ValueError(f"computes {tuple(value.shape)} values instead of one")
    except Exception as error:  # the metric may be anybody's
        reason = reason_of(error)
        raise ConfigError(
            f"metrics: {target.target}: cannot be computed from logits (B, C) and class indices "
            f"(B,): {reason}; expected a torchmetrics.Metric with one number"
        ) from error
