"""Grad-CAM on the backbone's features: the regions that support a class."""

from __future__ import annotations

import logging

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from pets.models.classifier import Classifier

log = logging.getLogger(__name__)


class _Top(nn.Module):
    """Pooling and head, from feature maps."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model, self.maps = model, nn.Identity()

    def forward(self, maps: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
        backbone = self.model.backbone
        whole = backbone.as_features(self.maps(maps), features)
        return self.model.head(backbone.pool(whole, size))


class GradCam:
    """Grad-CAM (Selvaraju et al. 2017), using captum, between the backbone and its pooling.

    Only pooling and head are run again: the features are those of the predictions.
    """

    def __init__(self, model: Classifier) -> None:
        self._backbone, top = model.backbone, _Top(model)
        self._cam = LayerGradCam(top, top.maps)

    def __call__(self, features: Tensor, classes: Tensor, size: tuple[int, int]) -> Tensor:
        """Map the features of photos of `size` and class indices (B,) to maps (B, h, w) in 0..1,
        each scaled to a maximum of 1; all zero if nothing supports the class."""
        with torch.enable_grad():
            maps = self._backbone.as_map(features, size).detach().clone().requires_grad_()
            attributions = self._cam.attribute(
                maps, classes, additional_forward_args=(features.detach(), size),
                relu_attributions=True,
            )  # fmt: skip
        cams = attributions.detach()[:, 0]
        return cams / cams.amax((1, 2), keepdim=True).clamp_min(1e-12)


def grad_cam(model: Classifier) -> GradCam | None:
    """Return Grad-CAM for a network; None if the network has no map to credit.

    A warning then says why.
    """
    if reason := model.backbone.why_no_map():
        log.warning("no Grad-CAM of %s: %s", model.config.name, reason)
        return None
    return GradCam(model)
