"""A folder that torch and torchvision or timm load: weights, and all else as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from pets.errors import ExportError
from pets.export.metadata import Metadata
from pets.io.serialize import to_json
from pets.models.classifier import Classifier
from pets.models.heads import Chain

# The layers that a chain may have, and what each is built with.
_LAYERS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("in_features", "out_features"),
    nn.LayerNorm: ("normalized_shape", "eps"),
    nn.BatchNorm1d: ("num_features", "eps"),
    nn.ReLU: (),
}


def write(folder: Path, metadata: Metadata) -> None:
    """`model.safetensors` and `config.json`."""
    model = metadata.trained.model
    config = {
        "architecture": check(model),
        "classes": model.classes,
        "preprocessing": metadata.preprocessing,
        **metadata.as_dict(),
    }
    text = to_json(config, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    tensors = {
        f"{part}.{name}": tensor.contiguous()
        for part, module in (("backbone", model.backbone.network), ("head", chain_of(model).layers))
        for name, tensor in module.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors")


def check(model: Classifier) -> dict[str, Any]:
    """Plain values from which the network is built again without pets.

    Raises:
        ExportError: The head is not described by torch's own layers.
    """
    chain = chain_of(model)
    strange = [type(layer).__name__ for layer in chain.layers if type(layer) not in _LAYERS]
    if strange:
        known = ", ".join(kind.__name__ for kind in _LAYERS)
        raise ExportError(
            f"to=safetensors: the head {model.config.head.target} has {', '.join(strange)}; "
            f"expected {known} (to=onnx takes any head)"
        )
    backbone = model.backbone
    parts = [] if backbone.is_timm else [name for name, _ in backbone.network.named_children()]
    return {
        "library": model.config.library,
        "name": model.config.name,
        "parts": parts,
        "pooling": chain.pooling,
        "head": [
            {
                "kind": type(layer).__name__,
                "with": {name: getattr(layer, name) for name in _LAYERS[type(layer)]},
            }
            for layer in chain.layers
        ],
    }


def chain_of(model: Classifier) -> Chain:
    """The head as pooling and torch's layers. Raises ExportError where it does not say them."""
    head: Any = model.head
    if not hasattr(head, "chain"):
        raise ExportError(
            f"to=safetensors, to=hub: the head {model.config.head.target} has no method chain that "
            "says its layers; to=onnx takes any head"
        )
    return head.chain()
