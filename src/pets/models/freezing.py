"""Freeze a classifier up to a layer group (fastai's `freeze_to`)."""

from __future__ import annotations

from torch import nn

from pets.errors import ConfigError
from pets.models.classifier import Classifier

BATCH_NORM = nn.modules.batchnorm._BatchNorm


def frozen_groups(names: list[str], n: int) -> int:
    """How many of the named layer groups `freeze_to(n)` freezes. Raises ConfigError."""
    total = len(names)
    if not -total <= n < total:
        raise ConfigError(
            f"freeze_to={n}: this model has {total} layer groups ({', '.join(names)}); "
            f"expected -{total} to {total - 1}"
        )
    return n % total


def freeze_to(model: Classifier, n: int) -> None:
    """Only the layer groups from the n-th on train: 0 all of them, -1 the head alone.

    With the model's `frozen_norm=train` the batch norms' scale and shift train in frozen groups
    too, as in fastai.
    """
    frozen = _frozen_ids(model, n)
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) not in frozen)
    if model.config.frozen_norm == "train":
        for module in model.backbone.modules():
            if isinstance(module, BATCH_NORM):
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(True)


def train_mode(model: Classifier, n: int) -> None:
    """Training mode for what trains, evaluation mode for what is frozen: no dropout there.

    The backbone's batch norms follow the model's policies: with `eval` they normalise by the
    pretrained statistics and leave those alone, with `train` by each batch's own (fastai's way).
    """
    frozen = _frozen_ids(model, n)
    model.train()
    _rest(model, frozen)
    for module in model.backbone.modules():
        if isinstance(module, BATCH_NORM):
            ids = {id(parameter) for parameter in module.parameters()}
            is_frozen = bool(ids & frozen)
            policy = model.config.frozen_norm if is_frozen else model.config.unfrozen_norm
            module.train(policy == "train")


def _rest(module: nn.Module, frozen: set[int]) -> None:
    """Evaluation mode for the largest parts whose parameters are all frozen."""
    ids = {id(parameter) for parameter in module.parameters()}
    if ids and ids <= frozen:
        module.eval()
    else:
        for child in module.children():
            _rest(child, frozen)


def _frozen_ids(model: Classifier, n: int) -> set[int]:
    names = [name for name, _ in model.layer_groups]
    groups = model.layer_groups[: frozen_groups(names, n)]
    return {id(parameter) for _, parameters in groups for parameter in parameters}
