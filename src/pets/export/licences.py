"""What the pretrained weights were, and under which licence they may be passed on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from typing import NamedTuple

import timm

from pets.config import ModelConfig


class Origin(NamedTuple):
    """Where the weights come from that a training began with, and their licence, in words."""

    weights: str
    licence: str


def origin_of(model: ModelConfig) -> Origin:
    """What can be known without the net. A licence that is not known is said to be unknown."""
    if model.weights == "none":
        return Origin("none: random numbers", "none is needed")
    if model.weights == "package":
        package = str(model.package).replace("_", "-")
        return Origin(f"ImageNet, the package {package}", _of_package(package))
    if model.weights != "default":
        return Origin("a file of the trainer's own", "unknown")
    if model.library == "timm":
        config = timm.get_pretrained_cfg(model.name)
        tag = (config and config.tag) or "default"
        return Origin(
            f"timm {timm.__version__}, {model.name.partition('.')[0]}.{tag}",
            (config and config.license) or "unknown",
        )
    return Origin(
        f"torchvision, {model.name}, trained on ImageNet",
        "unknown: torchvision's code is BSD-3-Clause, of the weights it says that they may have "
        "terms of their own, as the data set that they were trained on has",
    )


def _of_package(package: str) -> str:
    try:
        about = distribution(package)
    except PackageNotFoundError:
        return f"unknown: {package} is not installed here"
    text = " ".join((about.read_text("LICENSE") or "").replace(",", "").split())
    if "Apache License Version 2.0" in text:
        return "Apache-2.0, says the package's LICENSE file"
    return "unknown"
