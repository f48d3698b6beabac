"""The hyperparameters of a run for its loggers: what was typed first, only what took effect."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger

from pets.config import TrainConfig
from pets.models.classifier import Classifier
from pets.training.inputs import on_activations

# Overrides that say where a run is, what it runs on, or what it writes, not what it trains.
_ELSEWHERE = re.compile(
    r"(hydra|sweep|logger|callbacks|interpret|debug|trust|resume|report|cache_dir|lr_curves|metrics|monitor)\b"
    r"|data\.(root|num_workers|exclude|relabel|prepare)\b|trainer(=|\.(accelerator|devices)\b)"
)


def hyperparameters(
    config: TrainConfig, model: Classifier, overrides: Sequence[str]
) -> dict[str, Any]:
    """Return what a run trains with, as flat names and plain values.

    First the keys that were typed, among them the swept ones; then what is of interest in any run.
    What has no effect in this run is left out: augmentation on activations, and the warm-up of a
    constant rate.
    """
    values = config.model_dump(by_alias=True, mode="json")
    chosen = {key: values[key] for key in ("model", "plan", "optimizer", "loss", "seed")}
    for stage in chosen["plan"]["stages"].values():
        if stage["schedule"] == "constant":
            del stage["pct_start"], stage["div"]
    chosen["data"] = {k: values["data"][k] for k in ("name", "split", "size", "batch_size")}
    chosen["augment"] = "+".join(_augmentations(config, model)) or "none"
    chosen["precompute"] = config.precompute.enabled
    if config.precompute.enabled:
        chosen["precompute.views"] = config.precompute.views
    flat, everything = _flat(chosen), _flat(values)
    typed = dict(_typed(overrides))
    first = {key: flat.get(key, everything.get(key, text)) for key, text in typed.items()}
    return {**first, **flat}


def log_hparams(
    loggers: Sequence[Logger],
    values: Mapping[str, Any],
    results: Mapping[str, Any] | None = None,
    step: int = 0,
) -> None:
    """Log the hyperparameters, at the end with the results by split.

    TensorBoard's HPARAMS tab needs both at once; the others show from the start what a run trains
    with, except a rate that is still to be suggested.
    """
    metrics = {
        f"hparams/{split}_{name}": found[name]
        for split, found in (results or {}).items()
        for name in found
        if name not in ("photos", "per_class")
    }
    known = {key: value for key, value in values.items() if "auto" not in str(value)}
    for logger in loggers:
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(known)
            if metrics:
                logger.log_metrics(metrics, step)
        elif results is not None:
            logger.log_hyperparams(dict(values), metrics)


def _augmentations(config: TrainConfig, model: Classifier) -> Iterator[str]:
    """The transforms that photos of any stage went through."""
    frozen = [on_activations(config, model, stage) for stage in config.plan.stages.values()]
    if not all(frozen) or config.precompute.views:
        yield from ["crop"] if config.augment.crop is not None else []
        yield from config.augment.photo
    if not all(frozen):
        yield from config.augment.batch


def _typed(overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The names and texts of the overrides that say what is trained."""
    for override in overrides:
        key, given, text = override.lstrip("+").partition("=")
        if given and not key.startswith("~") and not _ELSEWHERE.match(override.lstrip("+")):
            # As in MLflow's names.
            yield re.sub(r"[^\w/. -]", "_", key).removesuffix(".enabled"), text


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted keys, as numbers or text, without those that are not set."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value if isinstance(value, int | float) else str(value)
    return flat
