"""LoRA (Hu et al. 2021), by peft: small matrices beside frozen layers are trained instead."""

from __future__ import annotations

import copy
import re
from importlib.util import find_spec
from typing import Any

from torch import nn

from pets.config import LoraConfig
from pets.errors import ConfigError, reason_of, some
from pets.system.installation import install

_ADAPTER = re.compile(r"\.lora_[AB]\.default\.")


def add_adapters(network: nn.Module, config: LoraConfig) -> None:
    """Put an adapter beside each chosen layer of the network, by default its linear layers.

    The names of their tensors change. Raises ConfigError if there is no such layer, or no peft.
    """
    if find_spec("peft") is None:
        raise ConfigError(f"model.lora: its package peft is not installed; {install('lora')}")
    import peft

    linear = {name for name, module in network.named_modules() if type(module) is nn.Linear}
    chosen = config.target_modules or sorted(linear)
    if not chosen:
        raise ConfigError(
            "model.lora: this network has no linear layers; expected the names of other layers: "
            "model.lora.target_modules=[conv1]"
        )
    settings = peft.LoraConfig(r=config.r, lora_alpha=config.alpha, target_modules=chosen)
    try:
        peft.inject_adapter_in_model(settings, network)
    except (ValueError, TypeError) as error:
        reason = reason_of(error)
        raise ConfigError(
            f"model.lora.target_modules: {some(chosen)} cannot have adapters ({reason}); expected "
            "names of linear layers or convolutions, as qkv or fc1, or null for all linear layers"
        ) from error


def is_adapter(name: str) -> bool:
    """Whether a parameter belongs to an adapter."""
    return _ADAPTER.search(name) is not None


def name_before(name: str) -> str:
    """Return the name of a parameter before adapters were added.

    That of an adapter is the name of the weight beside it.
    """
    return _ADAPTER.sub(".", name).replace(".base_layer.", ".")


def merged(network: nn.Module) -> nn.Module:
    """Return a copy without adapters, which are added to the weights beside them."""
    network = copy.deepcopy(network)
    adapted: list[tuple[str, Any]] = [
        (name, module) for name, module in network.named_modules() if hasattr(module, "lora_A")
    ]
    for name, module in adapted:
        module.merge()
        network.set_submodule(name, module.get_base_layer())
    return network.requires_grad_(True)
