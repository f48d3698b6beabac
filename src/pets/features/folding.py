"""Fold batch norms into the convolutions before them: the same outputs with less work."""

from __future__ import annotations

from collections import Counter

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.utils.model import reparameterize_model
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(network: nn.Module, photo: Tensor) -> int:
    """Fold the batch norms of a network in evaluation mode, in place.

    Which convolution feeds which batch norm is observed while `photo` (1, 3, h, w) passes through:
    tracing fails on timm's control flow. Returns the number of folded batch norms.
    """
    before = _norms(network)
    reparameterize_model(network, inplace=True)  # RepVGG, LeViT and others bring their own
    for conv, norm in _pairs(network, photo):
        fused = fuse_conv_bn_eval(network.get_submodule(conv), network.get_submodule(norm))  # type: ignore[type-var,arg-type]
        act = getattr(network.get_submodule(norm), "act", nn.Identity())
        network.set_submodule(conv, fused.requires_grad_(False))
        network.set_submodule(norm, act)
    return before - _norms(network)


def _norms(network: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in network.modules())


@torch.no_grad()
def _pairs(network: nn.Module, photo: Tensor) -> list[tuple[str, str]]:
    """Return the names of convolutions and of the batch norms that consume only their output."""
    names = {module: name for name, module in network.named_modules()}
    made: dict[int, tuple[str, Tensor]] = {}  # keeps the tensor alive, so that its id is not reused
    calls: Counter[str] = Counter()
    found: list[tuple[str, str]] = []

    def after_conv(conv: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        calls[names[conv]] += 1
        made[id(out)] = (names[conv], out)

    def before_norm(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        calls[names[norm]] += 1
        if id(args[0]) in made:
            found.append((made[id(args[0])][0], names[norm]))

    hooks = []
    for module in names:
        # Exact types only: a subclass may recompute its kernel (weight standardisation).
        if type(module) in (nn.Conv2d, Conv2dSame):
            hooks.append(module.register_forward_hook(after_conv))
        elif type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(before_norm))
    network(photo)
    for hook in hooks:
        hook.remove()
    # Layers used more than once are not folded.
    fed = Counter(conv for conv, _ in found)
    return [(c, n) for c, n in found if calls[c] == calls[n] == fed[c] == 1]
