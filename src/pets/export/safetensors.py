"""Export for torch with torchvision or timm: weights, and everything else as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from pets.errors import ExportError
from pets.export.metadata import Metadata
from pets.io.serialize import to_json
from pets.models.classifier import Classifier

# The supported layers of a chain, and their constructor arguments.
_LAYERS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("in_features", "out_features"),
    nn.LayerNorm: ("normalized_shape", "eps"),
    nn.BatchNorm1d: ("num_features", "eps"),
    nn.ReLU: (),
}


def write(folder: Path, metadata: Metadata) -> None:
    """Write `model.safetensors` and `config.json`."""
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
        for part, module in (("backbone", model.backbone.network), ("head", chain_of(model)))
        for name, tensor in module.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors")


def check(model: Classifier) -> dict[str, Any]:
    """Return plain values from which the network can be rebuilt without pets.

    Raises:
        ExportError: The head cannot be described by torch's own layers.
    """
    chain = chain_of(model)
    unknown = [type(layer).__name__ for layer in chain if type(layer) not in _LAYERS]
    if unknown:
        known = ", ".join(kind.__name__ for kind in _LAYERS)
        raise ExportError(
            f"to=safetensors: the head {model.config.head.target} has {', '.join(unknown)}; "
            f"expected {known} (to=onnx takes any head)"
        )
    backbone = model.backbone
    parts = [] if backbone.is_timm else [name for name, _ in backbone.network.named_children()]
    return {
        "library": model.config.library,
        "name": model.config.name,
        "args": model.config.args,
        "parts": parts,
        "pooling": backbone.pooling,
        "head": [
            {
                "kind": type(layer).__name__,
                "with": {name: getattr(layer, name) for name in _LAYERS[type(layer)]},
            }
            for layer in chain
        ],
    }


def chain_of(model: Classifier) -> nn.Sequential:
    """Return the head as torch layers, on pooled features.

    Raises ExportError if the head has no `chain`, or pools by itself.
    """
    head: Any = model.head
    if not hasattr(head, "chain"):
        raise ExportError(
            f"to=safetensors, to=hub: the head {model.config.head.target} has no method chain that "
            "lists its layers; to=onnx takes any head"
        )
    if model.backbone.pooling == "map":
        raise ExportError(
            f"to=safetensors, to=hub: the head {model.config.head.target} pools by itself; train "
            "with model.pool=avg or concat, or to=onnx takes any head"
        )
    return head.chain()
