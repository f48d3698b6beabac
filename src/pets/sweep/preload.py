"""Imported once, before the jobs of a sweep are forked from it: what a training needs."""

import torch.utils.tensorboard
import torchvision

import pets.training.loop

__all__ = ["pets", "torch", "torchvision"]
