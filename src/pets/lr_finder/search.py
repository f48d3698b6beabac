"""The finder at work in a run: its files, what it says, and the rate that `auto` takes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from pets.config import LearnerConfig
from pets.data.photos import Photos
from pets.distributed.ranks import ranks
from pets.errors import RunError
from pets.io.pictures import pixels, png
from pets.io.serialize import to_json
from pets.lr_finder.curve import Curve
from pets.lr_finder.plot import draw
from pets.lr_finder.range_test import record
from pets.lr_finder.suggestions import NoSuggestion
from pets.models.classifier import Classifier
from pets.models.freezing import frozen_groups
from pets.training.rates import spread
from pets.training.stage import Stage

log = logging.getLogger(__name__)

FOLDER = "lr_finder"


@dataclass(frozen=True)
class LrSearch:
    """One stage's search, from the network's weights at this moment; nothing but files changes.

    Writes `lr_finder/<name>.png` and `.json` below `folder`, and the picture into TensorBoard.
    """

    stage: Stage
    model: Classifier
    photos: Photos
    config: LearnerConfig
    folder: Path
    loggers: Sequence[Logger] = ()

    @property
    def name(self) -> str:
        """The stage's."""
        return self.stage.name

    def run(self) -> Curve:
        """The curve with its files and its table of suggestions; recorded once, then remembered."""
        return self._curve

    @cached_property
    def _curve(self) -> Curve:
        settings = self.config.lr_finder
        log.info(
            "\nlr finder, %s: %g to %g in %s steps of %s photos",
            self.title, settings.start_lr, settings.end_lr, settings.steps, self.photos_a_step,
        )  # fmt: skip
        curve = record(self.stage, self.model, self.photos, self.config)
        if ranks().writer:
            self._write(curve)
        for method, found in curve.suggestions().items():
            shown = f"{found:.2e}" if isinstance(found, float) else f"none: {found}"
            log.info("  %-8s %s", method, shown)
        log.info(
            "  %s after %s steps, %s photos, %.0f s; picture %s",
            curve.ended, len(curve.lrs), f"{curve.photos:,}", curve.seconds, self.file("png"),
        )  # fmt: skip
        return curve

    @property
    def title(self) -> str:
        """The stage in words."""
        groups = [name for name, _ in self.model.layer_groups]
        trained = groups[frozen_groups(groups, self.stage.config.freeze_to) :]
        which = trained[0] if len(trained) == 1 else f"{trained[0]} to {trained[-1]}"
        return f"{self.name}, training {which}"

    def picture(self) -> Figure:
        """The curve with its suggestions."""
        return draw(self.run(), self.title)

    @property
    def photos_a_step(self) -> int:
        """Photos of one optimizer step, over all ranks."""
        accumulated = int(self.config.trainer.get("accumulate_grad_batches") or 1)
        return self.config.data.batch_size * accumulated * ranks().world

    def file(self, suffix: str) -> Path:
        """Where the picture or the numbers are."""
        return self.folder / FOLDER / f"{self.name}.{suffix}"

    def see(self) -> str:
        """Where to look, if there is a picture: `. See lr_finder/head.png`."""
        return f". See {self.file('png')}" if self.file("png").exists() else ""

    def rates(self) -> dict[str, Any]:
        """What `auto` means for the stage: rate, method, and the rate of each group that trains.

        Raises RunError where the curve supports no suggestion.
        """
        try:
            method, found = self.run().choose()
        except NoSuggestion as none:
            raise RunError(f"lr finder, {self.name}: no suggestion; {none}") from none
        lr, asked = self.stage.config.at(found), self.stage.config.lr
        groups = [name for name, _ in self.model.layer_groups]
        by_group = dict(zip(groups, spread(lr, len(groups)), strict=True))
        trained = groups[frozen_groups(groups, self.stage.config.freeze_to) :]
        return {
            "lr": list(lr) if isinstance(lr, tuple) else lr,
            "asked": list(asked) if isinstance(asked, tuple) else asked,
            "method": method,
            "found": found,
            "groups": {name: by_group[name] for name in trained},
        }

    def _write(self, curve: Curve) -> None:
        self.file("png").parent.mkdir(parents=True, exist_ok=True)
        groups = [name for name, _ in self.model.layer_groups]
        factors = spread(self.stage.config.ratios, len(groups))
        numbers = {
            "stage": self.name,
            "freeze_to": self.stage.config.freeze_to,
            "factors": dict(zip(groups, factors, strict=True)),
            **curve.as_json(),
        }
        self.file("json").write_text(to_json(numbers, indent=1) + "\n", encoding="utf-8")
        array = pixels(draw(curve, self.title))
        self.file("png").write_bytes(png(array))
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                tag = f"lr_finder/{self.name}"
                logger.experiment.add_image(tag, array, self.stage.steps_before, dataformats="HWC")
                # The command may end here: what its writer has not written would be lost.
                logger.experiment.flush()
