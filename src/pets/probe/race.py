"""The race: one pass, one speed and one fitted head per backbone, kept in the cache."""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pets.cache.store import Store
from pets.config import LearnerConfig, RaceConfig
from pets.data.photos import Photos
from pets.data.splits import TRAIN
from pets.errors import CacheError, DataError, PetsError, RunError, reason_of
from pets.features.activations import digest_of_module, digest_of_weights
from pets.io.serialize import to_json, to_override
from pets.models.catalogue import configured, licence_of, named, weights_here
from pets.models.classifier import Classifier
from pets.probe.features import (
    learner_of,
    photos_per_second,
    pooled_features,
    probe_photos,
    with_backbone,
    with_model,
)
from pets.probe.head import choose_c, fit_head
from pets.probe.ranking import Entrant, Race, percent, pixels
from pets.run_dir import RunDir
from pets.system.devices import device_type, resolve_precision
from pets.training.warm_start import initial_backbone

log = logging.getLogger(__name__)
KIND, FORMAT = "race", 1
_FILE = "entrant.json"
_VERSIONS = ("torch", "torchvision", "timm", "pillow", "simplejpeg", "scikit-learn")
# A size of 224 becomes 256, 260 becomes 300: the steps of published networks.
_STEP, _GRID = 1.15, 4


def run_race(config: RaceConfig, run: RunDir | None) -> Race:
    """Measure every backbone, those that have raced before from the cache.

    A backbone that fails is logged and left out. Raises PetsError if all do.
    """
    typed_names = [config.models] if isinstance(config.models, str) else config.models
    known, base = configured(), learner_of(config)
    models = weights_here(known) if typed_names == ["here"] else named(typed_names, known)
    if not models:
        raise RunError("models=here: no weights are on this machine; expected names or a pattern")
    photos = probe_photos(config, run)
    train = photos.of(TRAIN)
    valid = len(photos.rows) - len(train)
    log.info("%s: %s classes; %s train, %s valid", photos.root, len(photos.classes),
             f"{len(train):,}", f"{valid:,}")  # fmt: skip
    entrants, failures = list[Entrant](), dict[str, str]()
    sizes = (False, True) if config.larger else (False,)
    heats = [(name, model, larger) for name, model in models.items() for larger in sizes]
    for number, (name, model, larger) in enumerate(heats, 1):
        if name in failures:
            continue
        label = f"{name}, one step larger" if larger else name
        log.info("%s (%s of %s)", label, number, len(heats))
        try:
            entrant = _measure(with_model(base, model), name, name in known, photos, larger)
        except (CacheError, DataError):
            raise  # no fault of the backbone
        except Exception as error:  # a network's code may raise anything
            failures[label] = str(error) if isinstance(error, PetsError) else reason_of(error)
            log.warning("  left out: %s: %s", label, failures[label])
            continue
        entrants.append(entrant)
        log.info("  %s error, %s photos a second", percent(entrant.error), f"{entrant.speed:,.0f}")
    if not entrants:
        name, reason = next(iter(failures.items()))
        more = f" (and {len(failures) - 1} more)" if failures.keys() - {name} else ""
        raise RunError(f"models: none could be used: {name}: {reason}{more}")
    return Race.of(entrants, failures, len(train), len(photos.classes), str(photos.root))


def _measure(
    config: LearnerConfig, name: str, has_option: bool, photos: Photos, larger: bool
) -> Entrant:
    """Measure one backbone, or read what was measured before on the same photos.

    `has_option` is whether the name is an option of the group `model`.
    """
    backbone, preprocess, _ = initial_backbone(config)
    if larger:
        size = one_step_larger(backbone.own_size, backbone.patch)
        if backbone.patch == (1, 1):
            config = _with(config, data={"size": size})
        else:  # its position embeddings are fitted to the size
            config = _with(config, model={"args": {**config.model.args, "img_size": list(size)}})
            backbone, preprocess, _ = initial_backbone(config)
    config, model = with_backbone(config, backbone, preprocess, photos.classes)
    size = config.data.height_width
    about = config.model.model_dump(include={"library", "name", "args", "pool", "channels_last"})
    about |= digest_of_module(config.model)
    key = {
        "format": FORMAT,
        "photos": photos.fingerprint,
        "model": about,
        "weights": digest_of_weights(backbone),
        "preprocess": preprocess.as_dict(),
        "size": size,
        "engine": config.precompute.engine,
        "batch_size": config.data.batch_size,
        "precision": resolve_precision(config.trainer).get("precision"),
        "device": device_type(config.trainer.get("accelerator", "auto")),
        "machine": [platform.node(), torch.get_num_threads()],  # of the speed
        "seed": config.seed,
        "versions": {package: version(package) for package in _VERSIONS},
    }

    def make(folder: Path) -> None:
        entrant = _run(config, model, photos)
        (folder / _FILE).write_text(to_json(asdict(entrant)), encoding="utf-8")

    def load(folder: Path) -> Entrant:
        values = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        lists = {key: tuple(values[key]) for key in ("size", "wrong")}
        own = {"name": name, "licence": licence_of(config.model)}
        overrides = _typed(config, name, has_option)
        return Entrant(**{**values, **lists, **own, "overrides": overrides})

    what = f"race of {config.model.name} ({pixels(size)}) on {len(photos.rows):,} photos"
    return Store(config.cache_dir).get(KIND, key, what, 16 * len(photos.rows), make, load)


def _run(config: LearnerConfig, model: Classifier, photos: Photos) -> Entrant:
    features = pooled_features(config, model, photos)
    c, cv_error = choose_c(features.train, features.train_labels, config.seed)
    head = fit_head(features.train, features.train_labels, c)
    tensors = model.backbone.state_dict().values()
    return Entrant(
        name=config.model.name,
        network=config.model.name,
        size=config.data.height_width,
        wrong=tuple((head.predict(features.valid) != features.valid_labels).tolist()),
        c=c,
        cv_error=cv_error,
        speed=photos_per_second(config, model, len(photos.rows)),
        megabytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6,
        licence="",
        overrides=(),
    )


def _typed(config: LearnerConfig, name: str, has_option: bool) -> tuple[str, ...]:
    """The arguments of `pets train` for this network at this size."""
    height, width = config.data.height_width
    size = height if height == width else f"[{height},{width}]"
    fitted = (f"model.args.img_size={size}",) if "img_size" in config.model.args else ()
    network = (f"model={name}",) if has_option else ("model=timm", to_override("model.name", name))
    return *network, f"data.size={size}", *fitted


def one_step_larger(size: tuple[int, int], patch: tuple[int, int]) -> tuple[int, int]:
    """Return a size 1.15 times as large, in whole patches: 256 for 224, 300 for 260."""
    pairs = zip(size, patch, strict=True)
    height, width = (
        round(_STEP * side / unit) * unit for side, unit in ((s, max(p, _GRID)) for s, p in pairs)
    )
    return height, width


def _with(config: LearnerConfig, **nodes: dict[str, Any]) -> LearnerConfig:
    """The config with other values in its nodes."""
    update = {name: getattr(config, name).model_copy(update=v) for name, v in nodes.items()}
    return config.model_copy(update=update)
