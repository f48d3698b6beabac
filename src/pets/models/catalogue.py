"""The catalogue of backbones: size, licence, and whether their weights are here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
import torchvision
from huggingface_hub import try_to_load_from_cache

from pets.config import ModelConfig
from pets.errors import PetsError
from pets.models.published import is_address
from pets.models.weights import empty_network, input_size
from pets.run_dir import RunDir

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
    licence = weights_origin(model)["licence"].partition(":")[0].partition(",")[0]
    return Entry(name, count, size, licence, has_weights(model))


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
