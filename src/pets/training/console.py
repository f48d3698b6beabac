"""What a training run logs to the console: its stages, their speed, the results."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from typing import Any

from pets.config import StageConfig, TrainConfig
from pets.data.splits import TEST
from pets.data.workers import automatic_workers
from pets.distributed.ranks import ranks
from pets.errors import some
from pets.metrics import SplitMetric
from pets.run_dir import RunDir
from pets.system.devices import device_type, resolve_precision
from pets.training.looks import Looks
from pets.training.speed import Speed
from pets.training.trainer import limits

log = logging.getLogger(__name__)
# Suggested next commands; not shown in notebooks.
hints = logging.getLogger(f"{__name__}.hints")


def log_start(config: TrainConfig, source: str) -> None:
    """Log the network, the source of its weights, and what it is trained on."""
    settings = resolve_precision(config.trainer)
    where, precision = device_type(settings.get("accelerator", "auto")), settings.get("precision")
    several = f" in {ranks().world} processes" if ranks().world > 1 else ""
    log.info("%s, weights: %s; on %s%s, %s", config.model.name, source, where, several, precision)
    if limited := limits(config.trainer):
        log.warning("limited by %s: the numbers are not for the whole splits", " ".join(limited))


def log_stage(name: str, stage: StageConfig) -> None:
    """Log the heading of a stage."""
    ends = stage.rates if isinstance(stage.rates, tuple) else (stage.rates,)
    rates = " to ".join(f"{rate:g}" for rate in ends)
    log.info("\nstage %s: %s epochs, lr %s", name, stage.epochs, rates)


def log_speed(speed: Speed, config: TrainConfig, on_activations: bool) -> None:
    """Log the speed of a stage, and what would help if it was limited by data loading."""
    if not speed.images:
        return
    what = "activations" if on_activations else "images"
    advice = ""
    if speed.waited > 0.2 and not on_activations:
        keys = ["data.cache=decoded"] if config.data.cache == "none" else []
        keys += ["more data.num_workers"] if automatic_workers() else []
        advice = f"; {' or '.join(keys)} would help" if keys else ""
    log.info(
        "  %s %s/s, %.0f %% of the time waiting for them%s",
        f"{speed.images_per_second:,.0f}", what, 100 * speed.waited, advice,
    )  # fmt: skip


def log_absent(split: str, found: Mapping[str, Any]) -> None:
    """Log which classes have no photos in a split: means over classes leave them out."""
    absent = [name for name, value in found.get("per_class", {}).items() if value is None]
    if absent:
        log.info("       no %s photo of %s: means over classes leave it out", split, some(absent))


def log_early(epochs: int, planned: int) -> None:
    """Log that a callback has stopped a stage early."""
    if epochs < planned:
        log.info("  stopped early, after %s of %s epochs", epochs, planned)


def log_results(
    run: RunDir,
    measured: Mapping[str, SplitMetric],
    results: dict[str, Any],
    seconds: float,
    looks: Looks | None = None,
) -> None:
    """Log the last lines of a run: metrics, looks at its test photos, folder, next commands."""
    log.info("")
    if limited := run.status.get("limited"):
        log.info("limited by %s:", " ".join(limited))
    for split, found in results.items():
        shares = [
            f"{name.replace('_', ' ')} {metric.show(found[name])}"
            for name, metric in measured.items()
            if (metric.is_share or not metric.always) and name in found
        ]
        log.info("%-5s  %s  (%s photos)", split, "  ".join(shares), f"{found['photos']:,}")
        log_absent(split, found)
        if split == TEST and looks is not None:
            log.info("       these photos were %s", looks)
    log.info("took   %d:%02d", *divmod(round(seconds), 60))
    log.info("run    %s", run.path)
    report = run.path / "report.html"
    if report.exists():
        log.info("report %s", report)
    typed = run.as_typed()
    hints.info("\nnext:")
    hints.info("  pets predict %s source=<photo or folder>", typed)
    if not report.exists():
        hints.info("  pets interpret %s", typed)
    hints.info("  pets serve %s", typed)
    own = run.read_config()["model"].get("module")  # its code is not part of an export
    hints.info("  pets export %s to=%s", typed, "onnx" if own else "safetensors")
    hints.info("  tensorboard --logdir %s", shlex.quote(str(run.path.parent)))
