"""Export in the layout of the Hugging Face hub, which only timm loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from torch import nn

from pets.errors import ExportError
from pets.export.metadata import Metadata
from pets.export.safetensors import chain_of
from pets.models.classifier import Classifier

_RELATIVE_TOLERANCE = 1e-4  # of the largest logit


def write(folder: Path, metadata: Metadata) -> None:
    """Write `model.safetensors` and `config.json` in timm's format."""
    model = metadata.trained.model
    network = check(model)
    known = network.pretrained_cfg
    # Keep only the entries that do not depend on timm's own pretrained weights.
    network.pretrained_cfg = {
        **{key: known.get(key) for key in ("architecture", "first_conv", "classifier")},
        "tag": metadata.trained.config.data.name,
        "input_size": (3, *model.size),
        "pool_size": None,
        "interpolation": model.preprocess.interpolation,
        "mean": model.preprocess.mean,
        "std": model.preprocess.std,
        "crop_pct": model.preprocess.crop_pct,
        "crop_mode": "center",
        "num_classes": len(model.classes),
        "license": metadata.licence or "other",  # chosen by whoever publishes the model
    }
    about = {"label_names": model.classes, "pets": metadata.as_dict()}
    save_for_hf(network, str(folder), about, safe_serialization=True)


@torch.no_grad()
def check(model: Classifier) -> Any:
    """Return timm's complete network with the run's weights.

    Raises:
        ExportError: timm has no such network with such a head, or its outputs differ.
    """
    linear, backbone = as_linear(chain_of(model)), model.backbone
    if linear is None or backbone.pooling == "concat":
        raise ExportError(
            f"to=hub: the head {model.config.head.target} is more than an average and one linear "
            "layer, all that timm can load; train with model/head=batch_norm, or to=safetensors"
        )
    name = model.config.name.partition(".")[0]
    library = model.config.library
    if not timm.is_model(name):
        raise ExportError(f"to=hub: timm has no {name}, {library}'s own; expected to=safetensors")
    args = dict(model.config.args)
    if backbone.pooling == "token":
        args["global_pool"] = "token"
    network: Any = timm.create_model(
        name, pretrained=False, num_classes=len(model.classes), **args
    ).eval()
    top = network.pretrained_cfg.get("classifier")
    tensors = {f"{top}.{key}": tensor for key, tensor in linear.state_dict().items()}
    try:
        network.load_state_dict({**backbone.network.state_dict(), **tensors})
    except RuntimeError as error:
        raise ExportError(
            f"to=hub: timm's {name} is not built as the run's ({library}, an average and one "
            "linear layer on top); to=safetensors takes it"
        ) from error
    photo = torch.rand(2, 3, *model.size, generator=torch.Generator().manual_seed(0))
    ours, theirs = model(photo), network(photo)
    if not (ours - theirs).abs().max() <= _RELATIVE_TOLERANCE * ours.abs().max().clamp(min=1):
        raise ExportError(
            f"to=hub: timm's {name} gives other numbers with the same weights: it does more than "
            "an average between its features and the linear layer; to=safetensors takes it"
        )
    return network


@torch.no_grad()
def as_linear(chain: nn.Sequential) -> nn.Linear | None:
    """Fold batch norms followed by a linear layer into one linear layer.

    Returns None for any other chain. At inference a batch norm is `a * x + b` per feature, so that
    `w (a x + b) + c = (w a) x + (w b + c)`.
    """
    *norms, last = chain
    if type(last) is not nn.Linear:
        return None
    if not all(type(norm) is nn.BatchNorm1d and norm.affine for norm in norms):
        return None
    weight, bias = last.weight.double(), last.bias.double()
    for norm in reversed(norms):
        assert isinstance(norm, nn.BatchNorm1d)
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        factor = norm.weight.double() / (variance.double() + norm.eps).sqrt()
        shift = norm.bias.double() - mean.double() * factor
        weight, bias = weight * factor, bias + weight @ shift
    linear = nn.Linear(last.in_features, last.out_features)
    linear.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return linear
