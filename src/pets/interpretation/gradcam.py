"""Grad-CAM on the backbone's feature map: the regions that support a class."""

from __future__ import annotations

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn


class GradCam:
    """Grad-CAM (Selvaraju et al. 2017), using captum, between backbone and head.

    Only the head is run again: the feature maps are those of the predictions.
    """

    def __init__(self, head: nn.Module) -> None:
        top = nn.Sequential(nn.Identity(), head)
        self._cam = LayerGradCam(top, top[0])

    def __call__(self, maps: Tensor, classes: Tensor) -> Tensor:
        """Map feature maps (B, C, h, w) and class indices (B,) to maps (B, h, w) in 0..1, each
        scaled to a maximum of 1; all zero if nothing supports the class."""
        with torch.enable_grad():
            maps = maps.detach().clone().requires_grad_()
            attributions = self._cam.attribute(maps, classes, relu_attributions=True)
        cams = attributions.detach()[:, 0]
        return cams / cams.amax((1, 2), keepdim=True).clamp_min(1e-12)
