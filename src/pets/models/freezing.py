"""Freeze a classifier up to a layer group (fastai's `freeze_to`)."""

from __future__ import annotations

from torch import nn

from pets.models.classifier import Classifier, frozen_groups
from pets.models.lora import is_adapter

BATCH_NORM = nn.modules.batchnorm._BatchNorm


def freeze_to(model: Classifier, n: int) -> None:
    """Freeze all layer groups before the n-th: 0 trains the whole network, -1 only the head.

    With `lora`, only the adapters of unfrozen groups of the backbone are trained.
    With the model's `frozen_norm=train`, scale and shift of the batch norms are trained in frozen
    groups, too, as in fastai.
    """
    frozen = _frozen_ids(model, n)
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) not in frozen)
    if model.config.lora is not None:
        for name, parameter in model.backbone.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and is_adapter(name))
    if model.config.frozen_norm == "train":
        for module in model.backbone.modules():
            if isinstance(module, BATCH_NORM):
                module.requires_grad_(True)


def train_mode(model: Classifier, n: int) -> None:
    """Set training mode for trained layers, and evaluation mode (no dropout) for frozen ones.

    The backbone's batch norms follow the model's policies: with `eval` they normalise with the
    pretrained statistics and do not update them, with `train` they use batch statistics (as in
    fastai).
    """
    frozen, config = _frozen_ids(model, n), model.config
    model.train()
    unknown: list[nn.Module] = [model]
    while unknown:
        module = unknown.pop()
        ids = {id(parameter) for parameter in module.parameters()}
        if ids and ids <= frozen:
            module.eval()  # with all that is inside it, which need not be looked at
        else:
            unknown += module.children()
    for module in model.backbone.modules():
        if isinstance(module, BATCH_NORM):
            is_frozen = any(id(parameter) in frozen for parameter in module.parameters())
            policy = config.frozen_norm if is_frozen else config.unfrozen_norm
            module.train(policy == "train")


def _frozen_ids(model: Classifier, n: int) -> set[int]:
    groups = model.layer_groups
    frozen = groups[: frozen_groups([name for name, _ in groups], n)]
    return {id(parameter) for _, parameters in frozen for parameter in parameters}
