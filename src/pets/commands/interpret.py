"""`pets interpret`: show what a trained run gets wrong, and why, on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pets.config import InterpretConfig, InterpretSettings
from pets.config.validation import typed

if TYPE_CHECKING:
    from pets.interpretation.analysis import Analysis

SCHEMA = InterpretConfig


def run(cfg: DictConfig) -> Analysis:
    """Analyse the run on one of its splits, or on external photos, and write the report."""
    config = typed(InterpretConfig, cfg)
    from pets.run_dir import RunDir

    run_dir = RunDir.open_finished(config.run, config.trust)

    from pets.report.write import write_report
    from pets.system.cpu import keep_freed_memory
    from pets.training.checkpoints import load_run
    from pets.training.evaluation import select_photos
    from pets.training.library_logs import silence_lightning
    from pets.training.loggers import open_loggers
    from pets.training.trainer import check_trainer

    silence_lightning()
    keep_freed_memory()
    check_trainer(config.trainer)
    trained = load_run(run_dir, config.ckpt).fed_by(config.data, config.trainer)
    asked = select_photos(trained, config.data, config.split)
    settings = InterpretSettings(**{k: getattr(config, k) for k in InterpretSettings.model_fields})
    with open_loggers(trained.config.logger, run_dir.path) as loggers:
        return write_report(
            trained, asked.own, settings, asked.split, config.ckpt, asked.external, loggers,
            looker="interpret",
        )  # fmt: skip
