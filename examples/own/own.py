"""One of each kind of part that pets does not have; the YAML files beside it name them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torchmetrics.classification import MulticlassAccuracy

from pets.io.serialize import to_json

COLOURS = {"blue": (40, 80, 200), "green": (40, 160, 60), "red": (200, 50, 40)}


def draw_spots(root: Path, photos: int, seed: int) -> None:
    """Draw the data set, once: spots of three colours. `root` is the folder to make."""
    root.mkdir()
    for name, colour in COLOURS.items():
        for number in range(photos):
            rng = np.random.default_rng([seed, number])
            image = Image.new("RGB", (64, 64), tuple(rng.integers(90, 170, 3).tolist()))
            x, y, r = rng.integers([20, 20, 8], [44, 44, 18]).tolist()
            ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=colour)
            image.save(root / f"{number}-{name}.png")


def label(path: str) -> str | None:
    """The label rule: `blue` for `7-blue.png`; None, for no label, where there is no colour."""
    name = PurePosixPath(path).stem.rpartition("-")[2]
    return name if name in COLOURS else None


class SoftenedLoss(nn.Module):
    """Cross-entropy of logits (B, C) that are divided by a temperature."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits / self.temperature, targets)


class WorstClass(MulticlassAccuracy):
    """The metric: the lowest accuracy of a class. That higher is better, torchmetrics knows."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, average="none")

    def compute(self) -> Tensor:
        return super().compute().min()


class Lion(Optimizer):
    """Lion (Chen et al. 2023): the sign of an average of gradients. The stages give the rates."""

    def __init__(
        self, params: Any, lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            (one, two), rate = group["betas"], group["lr"]
            for weight in (p for p in group["params"] if p.grad is not None):
                average = self.state[weight].setdefault("average", torch.zeros_like(weight))
                weight.mul_(1 - rate * group["weight_decay"])
                weight.sub_(rate * average.lerp(weight.grad, 1 - one).sign())
                average.lerp_(weight.grad, 1 - two)
        return loss


class HeadNorm(Callback):
    """Logs the norm of the head's weights after every epoch."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        head: Any = pl_module.get_submodule("model.head")
        norm = torch.cat([p.detach().flatten() for p in head.parameters()]).norm()
        for logger in trainer.loggers:
            logger.log_metrics({"head/norm": float(norm)}, step=trainer.global_step)


class JsonLines(Logger):
    """Writes everything that is logged as lines of JSON. pets gives the run's folder."""

    def __init__(self, save_dir: str, name: str) -> None:
        super().__init__()
        self.file = Path(save_dir) / f"{name}.jsonl"

    @property
    def name(self) -> str:
        return self.file.stem

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(to_json({"step": step, **metrics}) + "\n")

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml of the run has them."""
