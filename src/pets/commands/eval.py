"""`pets eval`: measure a trained run on one of its splits, or on external photos with labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from pets.config import EvalConfig
from pets.config.validation import typed

if TYPE_CHECKING:
    from pets.metrics import SplitMetric

SCHEMA = EvalConfig
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Rebuild the run's network and data, measure it, and write `eval/<split>_<ckpt>.json`.

    Results on external photos have a file name of their own.
    """
    config = typed(EvalConfig, cfg)
    from pets.run_dir import RunDir

    run_dir = RunDir.open_finished(config.run, config.trust)

    from pets.data.external import readable
    from pets.io.atomic import check_writable
    from pets.system.cpu import keep_freed_memory
    from pets.training.checkpoints import load_run
    from pets.training.console import log_absent
    from pets.training.datamodule import PetsDataModule
    from pets.training.evaluation import measure, select_photos
    from pets.training.library_logs import silence_lightning
    from pets.training.looks import COUNTED, count_look, count_look_among
    from pets.training.measures import measured
    from pets.training.module import ClassifierModule
    from pets.training.stage import Inputs
    from pets.training.trainer import build_trainer, check_trainer

    silence_lightning()
    keep_freed_memory()
    check_trainer(config.trainer)
    check_writable(run_dir.path / "eval")
    trained = load_run(run_dir, config.ckpt).fed_by(config.data, config.trainer)
    asked = select_photos(trained, config.data, config.split)
    photos = asked.own if asked.external is None else readable(asked.external)
    if asked.training_copies:
        log.warning(
            "%s of the %s photos are the run's training photos: the accuracy is inflated",
            f"{asked.training_copies:,}", f"{len(photos.rows):,}",
        )  # fmt: skip
    own, model = trained.config, trained.model
    inputs = Inputs(model.size)
    data = PetsDataModule(own.data, own.augment, model.preprocess, photos, inputs)
    metrics = measure(ClassifierModule(model, own), data, asked.split, build_trainer(own.trainer))
    log.info("split %s, checkpoint %s", asked.split, config.ckpt)
    _log_metrics(metrics, measured(own))
    log_absent(asked.split, metrics)
    looks = count_look(run_dir, asked.contents, "eval") if asked.split in COUNTED else None
    if looks is not None:
        log.info("these photos were %s", looks)
    if among := count_look_among(run_dir, asked.contents, "eval"):
        log.info("%s", among)
    # Logged before it is written, so that a full disk does not lose it.
    about: dict[str, Any] = {"split": asked.split, "ckpt": config.ckpt}
    if looks is not None:
        about["looks"] = looks.as_dict()
    if asked.external is not None:
        about["root"] = str(photos.root.resolve())
    file = f"eval/{asked.name}_{config.ckpt}.json"
    (run_dir.path / "eval").mkdir(exist_ok=True)
    run_dir.write_json(file, {**about, **metrics})
    log.info("written to %s", run_dir.path / file)


def _log_metrics(metrics: dict[str, Any], measured: Mapping[str, SplitMetric]) -> None:
    width = max(len(name) for name in metrics["per_class"])
    log.info("%s  accuracy", "class".ljust(width))
    for name, value in sorted(
        metrics["per_class"].items(), key=lambda item: (item[1] or 0, item[0])
    ):
        log.info("%s  %8s", name.ljust(width), "-" if value is None else f"{100 * value:.1f} %")
    log.info("")
    for metric in sorted(measured.values(), key=lambda metric: not metric.is_share):
        log.info("%-20s %9s", metric.name, metric.show(metrics[metric.name]))
    log.info("%-20s %9s", "photos", f"{metrics['photos']:,}")
