"""`pets interpret`: what a trained run gets wrong, and why."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pets.config import InterpretConfig, InterpretSettings
from pets.errors import ConfigError
from pets.validation import typed

if TYPE_CHECKING:
    from pets.data.photos import Photos
    from pets.evaluation import Trained
    from pets.interpret.study import Study

SCHEMA = InterpretConfig
log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Study:
    """Study the run on one of its splits, or on other photos, and write the report."""
    config = typed(InterpretConfig, cfg)
    from pets.run_dir import RunDir

    run_dir = RunDir.open_finished(config.run)

    from pets.evaluation import load_run
    from pets.lightning import build_loggers, check_trainer, quiet
    from pets.memory import keep_freed_memory
    from pets.report.write import write_report

    quiet()
    keep_freed_memory()
    check_trainer(config.trainer)
    trained = _as_asked(load_run(run_dir, config.ckpt), config)
    photos, others = _photos(trained, config)
    settings = InterpretSettings(**{k: getattr(config, k) for k in InterpretSettings.model_fields})
    loggers = build_loggers(trained.config.logger, run_dir.path)
    return write_report(trained, photos, settings, config.split, config.ckpt, others, loggers)


def _as_asked(trained: Trained, config: InterpretConfig) -> Trained:
    """The run with this machine's trainer, workers and batch size."""
    fed = {"num_workers": config.data.num_workers}
    if config.data.batch_size is not None:
        fed["batch_size"] = config.data.batch_size
    data = trained.config.data.model_copy(update=fed)
    changed = trained.config.model_copy(update={"data": data, "trainer": config.trainer})
    return replace(trained, config=changed)


def _photos(trained: Trained, config: InterpretConfig) -> tuple[Photos, Photos | None]:
    """The run's photos, and the other ones where `data.root` is another folder.

    A folder that holds any of the run's photos is where they have moved to. Raises DataError.
    """
    from pathlib import Path

    from pets.data.others import other_photos
    from pets.data.photos import Photos
    from pets.evaluation import photos_of_run

    asked, data = config.data, trained.config.data
    table = trained.run.path / "photos.csv"
    if asked.root is None or Photos.known_below(table, Path(asked.root)):
        for key in ("label_from", "label_regex"):
            if getattr(asked, key) is not None:
                raise ConfigError(
                    f"data.{key}={getattr(asked, key)}: has no effect on the run's own photos; "
                    "it is for other ones, given by data.root=<their folder>"
                )
        return photos_of_run(trained.run, asked.root or data.root, missing="say"), None
    if config.split != "auto":
        raise ConfigError(
            f"split={config.split}: {asked.root} holds none of the run's photos, so it has no "
            "splits; leave split away to look at all of them"
        )
    if Photos.known_below(table, Path(asked.root).parent):
        raise ConfigError(
            f"data.root={asked.root}: the run's own photos lie here, one folder too deep; "
            f"expected data.root={Path(asked.root).parent}"
        )
    others = other_photos(
        Path(asked.root), data, trained.model.classes, asked.label_from, asked.label_regex
    )
    log.info("%s: none of the run's photos, but %s others", asked.root, f"{len(others.rows):,}")
    return photos_of_run(trained.run, data.root, missing="say"), others
