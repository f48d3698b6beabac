"""The catalogue of backbones: size, licence, and whether their weights are here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
import torchvision
from huggingface_hub import try_to_load_from_cache

from pets.config import ModelConfig
from pets.config.validation import typed
from pets.errors import ConfigError, PetsError, some
from pets.models.published import is_address
from pets.models.weights import empty_network, input_size
from pets.run_dir import RunDir

# Options of the group `model` that name no architecture.
_OPEN = ("base", "timm", "torchvision")
# The names under which the hub keeps weights.
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Entry:
    """A backbone that can be chosen.

    `name` is what is typed; `parameters` counts the whole network with its original classifier;
    `size` is the side in pixels of the pictures that the weights were trained with.
    """

    name: str
    parameters: int
    size: int
    licence: str
    is_here: bool


def entry_of(name: str, model: ModelConfig) -> Entry:
    """Return the entry of a config in `conf/model/`. Nothing is downloaded."""
    count, size = _measures(model)
    return Entry(name, count, size, licence_of(model), has_weights(model))


def licence_of(model: ModelConfig) -> str:
    """Return the licence of the pretrained weights in a word, or "unknown"."""
    return weights_origin(model)["licence"].partition(":")[0].partition(",")[0]


def configured() -> dict[str, ModelConfig]:
    """Return the configs in the group `model`, with those of `--config-dir`, inside a command."""
    from hydra.core.global_hydra import GlobalHydra

    names = GlobalHydra.instance().config_loader().get_group_options("model")
    return {name: _composed(f"model={name}") for name in names if name not in _OPEN}


def of_timm(*names: str) -> dict[str, ModelConfig]:
    """Return the configs `model=timm model.name=<name>`, inside a command."""
    model = _composed("model=timm", "model.name=any") if names else None
    return {name: model.model_copy(update={"name": name}) for name in names if model}


def _composed(*overrides: str) -> ModelConfig:
    """The model of `pets train` with these overrides."""
    from hydra import compose

    return typed(ModelConfig, compose("train", list(overrides)).model)


def weights_here(known: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
    """Return every backbone whose weights are on this machine.

    First come the `known` ones in the group `model`, then the others of timm.
    """
    here = {name: model for name, model in known.items() if has_weights(model)}
    same = {model.name for model in here.values()}
    others = [name for name in matching("*") if not same & {name, name.partition(".")[0]}]
    return here | {n: model for n, model in of_timm(*others).items() if has_weights(model)}


def named(names: list[str], known: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
    """Return the backbones of these names.

    A name is one of the `known` ones in the group `model`, one of timm, a pattern for both, or an
    address.

    Raises:
        ConfigError: There is none of a name.
    """
    chosen = dict[str, ModelConfig]()
    for name in names:
        found = {key: model for key, model in known.items() if fnmatch(key, name)}
        if is_address(name):
            found = of_timm(name)
        elif "*" in name:
            found |= of_timm(*matching(name))
        elif not found and timm.is_model(name):
            found = of_timm(name)
        if not found:
            close = get_close_matches(name, {*known, *timm.list_models()}, n=3)
            hint = f"did you mean {some(close)}?" if close else "pets models lists them"
            raise ConfigError(
                f"models={name}: no backbone of this name in conf/model/ or timm; {hint}"
            )
        chosen |= found
    return chosen


def has_weights(model: ModelConfig) -> bool:
    """Whether the pretrained weights can be had without a network."""
    if model.weights == "none":
        return True
    if model.weights == "package":
        return model.package is not None and find_spec(model.package) is not None
    if is_address(model.weights):
        return False
    if model.weights != "default":
        return Path(model.weights).exists()
    if model.library == "torchvision":
        url = torchvision.models.get_model_weights(model.name).DEFAULT.url
    else:
        config = timm.get_pretrained_cfg(model.name)
        if config is not None and config.hf_hub_id:
            kept = (try_to_load_from_cache(config.hf_hub_id, file) for file in _WEIGHT_FILES)
            if any(isinstance(path, str) for path in kept):
                return True
        url = (config.url if config is not None else "") or ""
    return bool(url) and (Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name).is_file()


def matching(pattern: str) -> list[str]:
    """Return timm's architectures with pretrained weights whose names match, `*` for anything."""
    names: list[str] = timm.list_models(pattern, pretrained=True)
    return names


def _measures(model: ModelConfig) -> tuple[int, int]:
    """The parameters and the side of the input, of a network that takes no memory."""
    with torch.device("meta"):
        network = empty_network(model)
    return sum(p.numel() for p in network.parameters()), input_size(network, model)[0]


def weights_origin(model: ModelConfig) -> dict[str, str]:
    """Return the origin and licence of the pretrained weights, without network access; "unknown"
    if the licence cannot be determined."""
    if model.weights == "none":
        weights, licence = "none: random numbers", "none is needed"
    elif model.weights == "package":
        package = str(model.package).replace("_", "-")
        weights, licence = f"ImageNet, the package {package}", _of_package(package)
    elif is_address(model.weights):
        weights, licence = f"{model.name} of {model.weights}", "unknown: see its model card"
    elif model.weights != "default":
        return _of_file(Path(model.weights))
    elif model.library == "timm":
        config = timm.get_pretrained_cfg(model.name)
        tag = (config and config.tag) or "default"
        weights = f"timm {timm.__version__}, {model.name.partition('.')[0]}.{tag}"
        licence = (config and config.license) or "unknown"
    else:
        weights = f"torchvision, {model.name}, trained on ImageNet"
        licence = (
            "unknown: torchvision's code is BSD-3-Clause, but its weights may be subject to other "
            "terms, including those of their training data"
        )
    return {"weights": weights, "licence": licence}


def _of_file(path: Path) -> dict[str, str]:
    """The origin of a trainer's own file; for a run, that of the weights it began with."""
    folder = path.parent.parent if path.suffix == ".ckpt" else path
    try:
        before = RunDir.open(folder).train_config.model
    except PetsError:
        return {"weights": "a file of the trainer's own", "licence": "unknown"}
    if before.weights not in ("default", "package", "none"):
        return {"weights": f"the run {folder.name}", "licence": "unknown"}
    origin = weights_origin(before)
    weights = f"the run {folder.name}, which began with {origin['weights']}"
    return {"weights": weights, "licence": origin["licence"]}


def _of_package(package: str) -> str:
    try:
        licence = distribution(package).read_text("LICENSE") or ""
    except PackageNotFoundError:
        return f"unknown: {package} is not installed here"
    if "Apache License Version 2.0" in " ".join(licence.replace(",", "").split()):
        return "Apache-2.0, says the package's LICENSE file"
    return "unknown"
