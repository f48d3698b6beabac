"""`pets find-lr`: suggest a learning rate for a fresh head or a trained run."""

from __future__ import annotations

import logging
from math import ceil
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from pets.cache import memo
from pets.config import FindLrConfig, LearnerConfig, StageConfig
from pets.config.run_overrides import put_over, warn_about_cache
from pets.config.validation import typed, typed_values

if TYPE_CHECKING:
    from pets.data.photos import Photos
    from pets.lr_finder.search import LrSearch
    from pets.models.classifier import Classifier
    from pets.run_dir import RunDir

SCHEMA = FindLrConfig
log = logging.getLogger(__name__)

# With run= only these may differ, or the suggestion would not be for that run.
_MAY_CHANGE = (
    "run", "trust", "ckpt", "freeze_to", "lr", "seed", "cache_dir", "data.root", "data.batch_size",
    "data.num_workers",
)  # fmt: skip
_MAY_CHANGE_BELOW = ("lr_finder", "precompute", "trainer", "logger")


def run(cfg: DictConfig) -> LrSearch:
    """Record and write the curve, and log the suggestions. Raises RunError if there are none."""
    from hydra.core.hydra_config import HydraConfig

    from pets.run_dir import RunDir, from_here

    hydra = HydraConfig.get()
    run_dir = None if cfg.run is None else RunDir.open_finished(cfg.run, cfg.trust is True)
    if run_dir is None:
        config = typed(FindLrConfig, cfg)
    else:
        config = _over(run_dir, cfg, list(hydra.overrides.task))
    # The run's directory with run=; in a sweep every job has its own.
    folder = from_here(hydra.runtime.output_dir)

    from pets.data.splits import TRAIN
    from pets.lr_finder.search import LrSearch, shown
    from pets.system.cpu import keep_freed_memory
    from pets.training.checks import check_classes, check_signatures
    from pets.training.inputs import check_inputs, prepare_inputs
    from pets.training.library_logs import silence_lightning
    from pets.training.loggers import open_loggers
    from pets.training.stage import Stage

    silence_lightning()
    keep_freed_memory()
    memo.use_folder(config.cache_dir)
    check_signatures(config)
    auto = -1 if run_dir is None else 0
    plan = StageConfig(
        freeze_to=auto if config.freeze_to == "auto" else config.freeze_to,
        epochs=1, lr=config.lr, schedule="constant", pct_start=0.3, div=25.0, size=None,
    )  # fmt: skip
    with open_loggers(config.logger, folder) as loggers:
        if run_dir is None:
            config, model, photos = _fresh(config, plan)
            begins = "fresh"
        else:
            model, photos, begins = _trained(run_dir, config)
        check_classes(config, photos)
        check_inputs(config, {"find-lr": plan}, model)
        epochs = ceil(config.lr_finder.steps * config.data.batch_size / len(photos.of(TRAIN)))
        inputs = prepare_inputs(config, plan, model, photos, epochs)
        trained = model.trained_groups(plan.freeze_to)
        everything = len(trained) == len(model.layer_groups)
        name = f"{begins}_{'all' if everything else trained[0]}"
        stage = Stage.of_plan(name, plan, inputs, config.seed)
        search = LrSearch(stage, model, photos, config, folder, loggers)
        suggestion = search.rates()
    head_only, lr = len(trained) == 1, suggestion["lr"]
    key = f"plan.stages.{'head' if head_only else 'body'}.lr"
    one = lr[-1] if head_only and isinstance(lr, list) else lr
    log.info("\n%s suggests %s=%s", suggestion["method"], key, shown(one))
    return search


def _over(run_dir: RunDir, cfg: DictConfig, overrides: list[str]) -> FindLrConfig:
    """The parts of the run's config that the finder needs, with the typed overrides applied."""
    from pets.training.trainer import OF_TRAINING

    values = run_dir.train_config.model_dump(by_alias=True, mode="json")
    values = {key: value for key, value in values.items() if key in LearnerConfig.model_fields}
    values |= {key: cfg[key] for key in ("run", "trust", "ckpt", "freeze_to")}
    # All photos are used, whatever the run was limited to.
    values["trainer"] = {k: v for k, v in values["trainer"].items() if k not in OF_TRAINING}
    values["lr"] = list(cfg.lr) if not isinstance(cfg.lr, str) else cfg.lr
    if cfg.freeze_to != -1:
        # The run's frozen stage may have used activations; a backbone that trains cannot.
        values["precompute"] = OmegaConf.to_container(cfg.precompute)
    put_over(
        values,
        cfg,
        overrides,
        lambda key: key in _MAY_CHANGE or key.split(".")[0] in _MAY_CHANGE_BELOW,
        "with run= the run's own is used; only "
        f"{', '.join(_MAY_CHANGE[1:])} and the keys of {', '.join(_MAY_CHANGE_BELOW)} may be given",
    )
    config = typed_values(FindLrConfig, values)
    warn_about_cache(run_dir, config, overrides)
    return config


def _fresh(config: FindLrConfig, plan: StageConfig) -> tuple[FindLrConfig, Classifier, Photos]:
    """The config with what the weights determine, the network with which a training begins, and the
    config's photos."""
    from pets.data.prepare import prepare_photos
    from pets.training.checks import check_network
    from pets.training.module import new_model
    from pets.training.start import with_weights
    from pets.training.warm_start import initial_backbone, take_over_head

    backbone, preprocess, _ = initial_backbone(config)
    config = with_weights(config, backbone)
    check_network(config, backbone, preprocess, {"find-lr": plan})
    photos = prepare_photos(config.data)
    model = new_model(config, backbone, preprocess, photos.classes)
    take_over_head(config, model, photos)
    return config, model, photos


def _trained(run_dir: RunDir, config: FindLrConfig) -> tuple[Classifier, Photos, str]:
    """The run's network and photos, and the name for the curve."""
    from pets.data.splits import TRAIN
    from pets.training.checkpoints import load_run
    from pets.training.evaluation import photos_of_run

    trained = load_run(run_dir, config.ckpt)
    photos = photos_of_run(run_dir, config.data.root, TRAIN)
    begins = f"{'after' if config.ckpt == 'last' else 'best'}_{trained.stage}"
    return trained.model, photos, begins
