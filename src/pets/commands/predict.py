"""`pets predict`: classify a photo, or a million of them."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from pets.config import PredictConfig
from pets.config.validation import typed
from pets.distributed.process_group import leader_first, process_group
from pets.distributed.ranks import ranks
from pets.errors import ConfigError, DataError, LostRankError, printable

if TYPE_CHECKING:
    from pets.models.classifier import Classifier
    from pets.prediction.job import Options, PredictionSummary

SCHEMA = PredictConfig
SEVERAL_PROCESSES = True
log = logging.getLogger(__name__)

FAILED = 3  # the exit code if some rows have an error; 1 is for invalid arguments
_SHOWN = 40  # rows in the log; the file has all of them


def run(cfg: DictConfig) -> None:
    """Predict, log the first rows, and write all of them. Every rank calls this.

    Raises:
        SystemExit: Some photos could not be read.
    """
    config = typed(PredictConfig, cfg)
    with process_group():
        try:
            failed = _predict(config)
        except LostRankError as lost:
            raise LostRankError(
                f"{lost}; finished shards are kept, rerun the same command to resume"
            ) from None
    if failed:
        raise SystemExit(FAILED)


def _predict(config: PredictConfig) -> bool:
    """Predict and report; return whether some rows have an error."""
    from pets.run_dir import RunDir

    exported = _is_exported(config)
    run_dir = None if exported else RunDir.open_finished(config.run, config.trust)

    from pets.prediction.output import Output
    from pets.prediction.sources import find_source

    # Before torch is imported, so that mistakes are reported at once.
    output = Output.parse(config.out) if config.out else None
    source = find_source(config.source)

    from pets.prediction.hub import hub_folder, load_hub
    from pets.prediction.job import predict
    from pets.prediction.stream import Network
    from pets.system.cpu import keep_freed_memory
    from pets.system.devices import usable_device
    from pets.training.checkpoints import load_run
    from pets.training.library_logs import silence_lightning
    from pets.unsure.fit import promise_of

    silence_lightning()
    keep_freed_memory()
    device = usable_device(config.device, ranks().local if ranks().local_world > 1 else None)
    temperature: float | None
    promise = None
    if run_dir is None:
        model, temperature, weights = load_hub(leader_first(lambda: hub_folder(config.run)))
        folder = Path("predictions")
    else:
        trained = load_run(run_dir, config.ckpt)
        model, temperature = trained.model, trained.temperature
        weights, folder = run_dir.checkpoint(config.ckpt), run_dir.path / "predictions"
        workers = config.num_workers
        promise = promise_of(
            trained, config.ckpt, config, config.data.root, device, config.batch_size, workers
        )
    options = _options(config, model, temperature, weights)
    if promise is not None:
        options = replace(options, unsure=promise.key)
    rule = None if promise is None else promise.rule
    if output is None:
        output = Output.default(folder, source, options.settings)
    summary = predict(Network(model, device, rule), source, output, options, _SHOWN)
    if summary is None:
        return False  # rank 0 reports
    _report(summary, config, model.classes, output.path)
    if left_out := source.left_out_summary:
        log.info("left out: %s", left_out)
    return summary.unreadable > 0


def _is_exported(config: PredictConfig) -> bool:
    """Whether `run` is a model in the hub's layout. Raises ConfigError for keys of a run."""
    path = Path(config.run)
    files = all((path / name).is_file() for name in ("config.json", "model.safetensors"))
    if not config.run.startswith("hf-hub:") and (not files or (path / "status.json").exists()):
        return False
    if config.ckpt != "last":
        raise ConfigError(
            f"ckpt={config.ckpt}: has no effect on {config.run}, an export: it has one set of "
            "weights; leave ckpt out"
        )
    if config.unsure is not None:
        raise ConfigError(
            f"unsure={config.unsure}: {config.run} is an export, without the validation photos "
            "that a promise needs; expected the run's directory"
        )
    return True


def _options(config: PredictConfig, model: Classifier, fitted: float | None, file: Path) -> Options:
    """The options for a model with a `fitted` temperature and the weights of a `file`."""
    from pets.prediction.job import Options, threads_for

    classes = len(model.classes)
    if config.top_k is not None and config.top_k > classes:
        raise ConfigError(f"top_k={config.top_k}: the model has {classes} classes")
    temperature = fitted if config.temperature == "run" else config.temperature
    if temperature is None:
        log.info("temperature=1: the run was trained without one")
        temperature = 1.0
    with file.open("rb") as stream:
        weights = hashlib.file_digest(stream, "sha256").hexdigest()
    return Options(
        config.batch_size, threads_for(config.num_workers), config.shard, config.tta, temperature,
        config.top_k, weights,
    )  # fmt: skip


def _report(
    summary: PredictionSummary, config: PredictConfig, classes: list[str], path: Path
) -> None:
    top = min(config.top, config.top_k or config.top, len(classes))
    _show_rows(summary, top, classes, config.unsure is not None)
    for line in summary.errors:
        log.warning("skipped: %s", line)
    if summary.unreadable > len(summary.errors):
        log.warning("skipped: %s more", f"{summary.unreadable - len(summary.errors):,}")
    named = summary.photos - summary.unreadable
    if not named:
        raise DataError(f"source={config.source}: none of the files could be read")
    if summary.photos > _SHOWN:
        speed = summary.speed
        log.info(
            "%s photos in %.0f s: %.1f photos/s, %.0f %% of the time waiting for photos%s",
            f"{speed.images:,}",
            speed.waiting + speed.working,
            speed.images_per_second,
            100 * speed.waited,
            f"; {summary.reused:,} were reused" if summary.reused else "",
        )
    log.info("%s of %s photos classified, written to %s", f"{named:,}", f"{summary.photos:,}", path)


def _show_rows(summary: PredictionSummary, top: int, classes: list[str], judged: bool) -> None:
    rows = [row for row in summary.rows if row["error"] is None]
    if not rows:
        return
    from pets.unsure.rule import Unsure

    width = max(len(_shortened(row["file"])) for row in rows)
    longest = max(map(len, ["class", *classes]))
    log.info("%s  %s  %7s  runners-up", "file".ljust(width), "class".ljust(longest), "prob")
    for row in rows:
        unsure = [Unsure.in_words(row)] if judged and row["unsure"] else []
        best = _runners_up(row, classes, top, judged)
        runners_up = [f"{name} {100 * p:.1f} %" for name, p in best]
        others = "; ".join([", ".join(runners_up), *unsure])
        log.info(
            "%s  %s  %5.1f %%  %s", _shortened(row["file"]).ljust(width),
            row["prediction"].ljust(longest), 100 * row["probability"], others,
        )  # fmt: skip
    if summary.photos > len(summary.rows):
        log.info("... and %s more in the file", f"{summary.photos - len(summary.rows):,}")


def _runners_up(
    row: dict[str, Any], classes: list[str], top: int, judged: bool
) -> list[tuple[str, float]]:
    """The classes after the most probable one, with their probabilities."""
    from pets.prediction.table import class_columns

    columns = class_columns(classes, judged)
    if columns[0] not in row:  # with top_k
        ranks = range(2, top + 1)
        return [(row[f"prediction_{rank}"], row[f"probability_{rank}"]) for rank in ranks]
    pairs = zip(classes, map(row.__getitem__, columns), strict=True)
    return sorted((p for p in pairs if p[0] != row["prediction"]), key=lambda p: -p[1])[: top - 1]


def _shortened(file: str) -> str:
    file = printable(file, "")
    return file if len(file) <= 40 else f"...{file[-37:]}"
