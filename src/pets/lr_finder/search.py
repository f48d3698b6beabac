"""The learning rate finder in a run: its files, its log, and the rate used for `auto`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger

from pets.config import LearnerConfig
from pets.data.photos import Photos
from pets.distributed.process_group import on_rank_0
from pets.distributed.ranks import ranks
from pets.errors import DataError, PetsError, RunError
from pets.io.serialize import to_json
from pets.lr_finder.curve import Curve
from pets.lr_finder.range_test import record
from pets.lr_finder.suggestions import NoSuggestion
from pets.models.classifier import Classifier
from pets.run_dir import RunDir
from pets.training.loggers import log_picture
from pets.training.rates import spread
from pets.training.stage import Stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

FOLDER = "lr_finder"


@dataclass(frozen=True)
class LrSearch:
    """The search for one stage, from the network's current weights, which it does not change.

    Writes `lr_finder/<name>.png` and `.json` below `folder`, and the picture to the loggers.
    """

    stage: Stage
    model: Classifier
    photos: Photos
    config: LearnerConfig
    folder: Path
    loggers: Sequence[Logger] = ()

    @cached_property
    def curve(self) -> Curve:
        """The curve. Recording it writes its files and logs its suggestions."""
        settings = self.config.lr_finder
        accumulated = int(self.config.trainer.get("accumulate_grad_batches") or 1)
        photos_per_step = self.config.data.batch_size * accumulated * ranks().world
        log.info(
            "\nlr finder, %s: %g to %g in %s steps of %s photos",
            self.title, settings.start_lr, settings.end_lr, settings.steps, photos_per_step,
        )  # fmt: skip
        curve = record(self.stage, self.model, self.photos, self.config)
        if ranks().writer:
            self._write(curve)
        for method, found in curve.suggestions().items():
            rate = f"{found:.2e}" if isinstance(found, float) else f"none: {found}"
            log.info("  %-8s %s", method, rate)
        log.info(
            "  %s after %s steps, %s photos, %.0f s; picture %s",
            curve.ended, len(curve.lrs), f"{curve.photos:,}", curve.seconds, self.file("png"),
        )  # fmt: skip
        return curve

    @property
    def title(self) -> str:
        """The stage, for logs and pictures."""
        first, *more = self.model.trained_groups(self.stage.config.freeze_to)
        return f"{self.stage.name}, training {first}{f' to {more[-1]}' if more else ''}"

    def picture(self) -> Figure:
        """Draw the curve with its suggestions."""
        return self.curve.draw(self.title)

    def file(self, suffix: str) -> Path:
        """Return the path of the picture or of the numbers."""
        return self.folder / FOLDER / f"{self.stage.name}.{suffix}"

    def rates(self) -> dict[str, Any]:
        """Resolve `auto` for the stage: rate, method, and the rate of each trained layer group.

        Raises:
            RunError: The curve supports no suggestion, or there is no curve.
        """
        try:
            method, found = self.curve.choose()
        except NoSuggestion as none:
            picture = self.file("png")
            see = f". See {picture}" if picture.exists() else ""
            raise RunError(f"lr finder, {self.stage.name}: no suggestion; {none}{see}") from none
        lr, asked = self.stage.config.at(found), self.stage.config.lr
        trained, by_group = self.model.trained_groups(self.stage.config.freeze_to), self._spread(lr)
        return {
            "lr": list(lr) if isinstance(lr, tuple) else lr,
            "asked": list(asked) if isinstance(asked, tuple) else asked,
            "method": method,
            "found": found,
            "groups": {name: by_group[name] for name in trained},
        }

    def _spread(self, lr: float | tuple[float, float]) -> dict[str, float]:
        groups = [name for name, _ in self.model.layer_groups]
        return dict(zip(groups, spread(lr, len(groups)), strict=True))

    def _write(self, curve: Curve) -> None:
        from pets.io.pictures import pixels, png

        self.file("png").parent.mkdir(parents=True, exist_ok=True)
        stage = self.stage
        about = {"stage": stage.name, "freeze_to": stage.config.freeze_to}
        numbers = {**about, "factors": self._spread(stage.config.ratios), **curve.as_json()}
        self.file("json").write_text(to_json(numbers, indent=1) + "\n", encoding="utf-8")
        array = pixels(curve.draw(self.title))
        self.file("png").write_bytes(png(array))
        log_picture(self.loggers, f"lr_finder/{stage.name}", array, stage.steps_before)


def find_rate(search: LrSearch, run: RunDir) -> Stage:
    """Replace `auto` in a stage's rate by the finder's suggestion; other rates are unchanged.

    The rate is written to the run's `config.yaml`, so that a resumed run does not search again.
    `lr_found` in `status.json` records the configured value, the method, and the rate of every
    layer group.

    Raises:
        RunError: The curve supports no suggestion; the run can be resumed with a given rate.
    """
    stage, name = search.stage, search.stage.name
    if not stage.config.auto:
        return stage
    key = f"plan.stages.{name}.lr"
    try:
        own = search.rates()
    except PetsError as error:
        raise RunError(
            f"{error}; resume with pets train {run.as_typed('resume')} {key}=<a number>"
        ) from error
    # Ranks on different machines may find rates that differ in the last digit.
    found = on_rank_0(lambda: own)
    # In this order: a run killed in between searches again, with the same result.
    run.update_status(lr_found={**run.status.get("lr_found", {}), name: found})
    run.update_config({key: found["lr"]})
    log.info(
        "  lr %s: %s suggests %.2e, so %s",
        shown(found["asked"]), found["method"], found["found"],
        ", ".join(f"{group} at {rate:.2e}" for group, rate in found["groups"].items()),
    )  # fmt: skip
    rate = stage.config.at(found["found"])
    return replace(stage, config=stage.config.model_copy(update={"lr": rate}))


def record_curve(search: LrSearch) -> None:
    """Record and draw the curve of a stage for inspection; the rate is not changed.

    If there are too few photos, a warning is logged.
    """
    try:
        _ = search.curve
    except DataError as error:
        log.warning("%s", error)


def shown(lr: Any) -> str:
    """Format a rate, or a pair of rates, in the syntax of the config."""
    ends = lr if isinstance(lr, list | tuple) else [lr]
    texts = [end if isinstance(end, str) else f"{end:.3g}" for end in ends]
    return texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"
