"""The commands in Python, for notebooks: the same arguments, checks, files and run directories.

    learn = train("data=demo plan=frozen4")        # pets train data=demo plan=frozen4
    learn.metrics                                  # one row per epoch
    found = learn.interpret()                      # pets interpret run=<run>
    found.plot_top_losses(8), found.most_confused(min_val=2)

Each call runs the command of the same name through Hydra, like the command line, and returns its
result, with fastai's method names. User errors raise PetsError: one line in a notebook.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from pets.cli.arguments import to_overrides
from pets.cli.main import run_command
from pets.comparison.comparison import Comparison
from pets.config import LookConfig
from pets.config.validation import typed
from pets.data import preview
from pets.data.images import open_rgb
from pets.data.photos import SPLITS, Photos
from pets.data.transforms import eval_transform, to_tensor
from pets.errors import PetsError
from pets.interpretation.analysis import Analysis
from pets.interpretation.interpretation import Interpretation
from pets.interpretation.layers import BackboneStage
from pets.io.csv_cells import read_cell
from pets.io.serialize import to_override
from pets.lr_finder.search import LrSearch
from pets.models.classifier import Classifier
from pets.probe.curve_result import CurveResult
from pets.probe.race_result import RaceResult
from pets.report import charts
from pets.run_dir import RunDir
from pets.system.signals import Stopped
from pets.training.checkpoints import load_run
from pets.training.console import hints
from pets.training.metrics_csv import read_metrics
from pets.training.rates import planned
from pets.trust import refusal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLASSES = 60  # in a confusion matrix: more names would be illegible


def look(args: str = "") -> Data:
    """Run `pets look`: the photos with their labels and splits."""
    config, photos = run("look", shlex.split(args))
    return Data(typed(LookConfig, config), photos)


def train(args: str = "") -> Learner:
    """Run `pets train` and return the trained run."""
    return Learner(run("train", shlex.split(args))[1])


def lr_find(args: str = "") -> LrSearch:
    """Run `pets find-lr`: suggested rates for a fresh head."""
    search: LrSearch = run("find-lr", shlex.split(args))[1]
    return search


def run(command: str, args: list[str]) -> tuple[Any, Any]:
    """Run `pets <command> <args>` in this process, with its output here.

    Returns:
        The composed config, and what the command returned.

    Raises:
        PetsError: A user error, or an error of the operating system.
        KeyboardInterrupt: The command was interrupted.
    """
    print("$", shlex.join(["pets", command, *args]))
    try:
        with _own_log():
            return run_command(command, to_overrides(command, args))
    except Stopped:
        raise KeyboardInterrupt from None
    except SystemExit as end:
        if isinstance(end.__cause__, PetsError):
            raise end.__cause__ from None
        if isinstance(end.code, str):
            raise PetsError(end.code) from None
        raise


@contextlib.contextmanager
def _own_log() -> Iterator[None]:
    """Remove a command's log handlers after it; the notebook keeps its own and its output."""
    if absl := sys.modules.get("absl.logging"):
        # Hydra closes the handlers of all libraries. That of absl, which TensorBoard imports,
        # closes its stream, too: the notebook's own output, inside `%%capture` and in tests.
        absl.get_absl_handler().python_handler.stream = sys.__stderr__
    root = logging.getLogger()
    handlers, level, hints_level = root.handlers[:], root.level, hints.level
    hints.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        hints.setLevel(hints_level)


@dataclass(frozen=True)
class Data:
    """What `pets look` previews."""

    config: LookConfig
    photos: Photos

    @property
    def table(self) -> pd.DataFrame:
        """One row per photo: path, label, split."""
        return pd.DataFrame(self.photos.rows)[["path", "label", "split"]]

    @property
    def classes(self) -> list[str]:
        """The classes, in the order of a network's outputs."""
        return self.photos.classes

    def files(self, *splits: str) -> list[Path]:
        """Return the photos' files, of all splits or of some, in the table's order."""
        if unknown := set(splits) - set(SPLITS):
            raise PetsError(f"{min(unknown)}: no such split; expected {', '.join(SPLITS)}")
        return [self.photos.root / photo.path for photo in self.photos.of(*splits or SPLITS)]

    def show_batch(self, photos: int = 12) -> Figure:
        """Draw training photos as the network sees them, with their labels."""
        chosen = preview.choose(self.photos, photos, self.config.seed)
        return preview.draw_photos(self.photos, chosen, self.config.data)

    def show_augmented(self, photos: int = 2) -> Figure:
        """Draw one row per photo: the photo, then five augmented views of it."""
        chosen = preview.choose(self.photos, photos, self.config.seed)
        return preview.draw_augmented(self.photos, chosen, self.config)


class Learner:
    """A finished run: its network, its metrics, and the commands that take `run=`."""

    def __init__(self, run: str | Path | RunDir) -> None:
        self.run = run if isinstance(run, RunDir) else RunDir.open_finished(run)
        self.path = self.run.path

    @cached_property
    def model(self) -> Classifier:
        """The trained network: photos (B, 3, h, w), normalised, to logits (B, classes)."""
        return load_run(self.run).model

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per epoch: stage, losses, error rate and accuracy on the validation photos."""
        return pd.DataFrame(read_metrics(self.path / "metrics.csv"))

    def plot_sched(self) -> Figure:
        """Plot the planned learning rate and momentum of every step.

        Of rates that are spread over the layers it shows the head's.
        """
        config, steps = self.run.train_config, self.metrics.groupby("stage", sort=False)["step"]
        an_epoch = steps.first() - steps.last().shift(fill_value=0)
        values = {
            name: planned(config.optimizer, stage, int(an_epoch[name]) * stage.epochs)
            for name, stage in config.plan.stages.items()
            if name in an_epoch
        }
        return charts.schedules(values)

    def activations(self, *files: str | Path) -> dict[str, Tensor]:
        """Return what goes into each part of the network for some photos, and what comes out.

        Returns:
            `photos` (B, 3, h, w), `features` of the backbone, `logits` and `probabilities`, both
            (B, classes).
        """
        model = self.model
        prepare = eval_transform(model.size, model.preprocess)
        photos = torch.stack([prepare(to_tensor(open_rgb(Path(file)))) for file in files])
        with torch.inference_mode():
            features = model.backbone(photos)
            logits = model.head(model.backbone.pool(features, model.size))
        values = {"photos": photos, "features": features, "logits": logits}
        return values | {"probabilities": logits.softmax(dim=1)}

    def moved(self, since: Learner) -> pd.Series[float]:
        """Return how far each layer group's weights are from those of another run.

        That is |new - old| / |old|, without biases and norms. Raises PetsError if the run has
        another network.
        """
        groups = [learn.model.layer_groups for learn in (self, since)]
        if len({str([p.shape for _, its in group for p in its]) for group in groups}) > 1:
            raise PetsError(f"{since.path}: has another network than {self.path}")
        shares = {}
        for (name, new), (_, old) in zip(*groups, strict=True):
            pairs = [(a.detach(), b.detach()) for a, b in zip(new, old, strict=True) if a.ndim > 1]
            way = sum(float(((a - b) ** 2).sum()) for a, b in pairs)
            shares[name] = (way / max(sum(float((b**2).sum()) for _, b in pairs), 1e-12)) ** 0.5
        return pd.Series(shares)

    def lr_find(self, args: str = "") -> LrSearch:
        """Run `pets find-lr run=<run>`: suggested rates for training after the run."""
        return self._use("find-lr", args)

    def interpret(self, args: str = "") -> Interpreted:
        """Run `pets interpret run=<run>`: what the model gets wrong; also writes the report."""
        return Interpreted.of_analysis(self._use("interpret", args))

    def compare(self, other: str | Path | Learner, args: str = "") -> Comparison:
        """Run `pets compare <other> <run>`: whether this run is better than the other one."""
        other = other if isinstance(other, Learner) else Learner(other)
        typed = [to_override("old", other.path), to_override("new", self.path), "fail_on=never"]
        runs = [self.run, other.run]
        if all(run.trusted for run in runs) and any(map(_own_components, runs)):
            typed.append("trust=true")
        return run("compare", [*typed, *shlex.split(args)])[1]

    def predict(self, source: str | Path, args: str = "") -> pd.DataFrame:
        """Run `pets predict run=<run> source=...`: one row per photo, one probability per class."""
        out = self.path / "predictions" / "notebook.csv"
        with contextlib.suppress(SystemExit):  # rows with an error are in the table
            self._use("predict", args, to_override("source", source), to_override("out", out))
        return pd.read_csv(out).map(read_cell).rename(columns=read_cell)

    def race(self, args: str = "") -> RaceResult:
        """Run `pets race run=<run>`: how other backbones do on the run's photos."""
        return self._use("race", args)

    def curve(self, args: str = "") -> CurveResult:
        """Run `pets curve run=<run>`: what more photos would bring."""
        return self._use("curve", args)

    def _use(self, command: str, args: str, *overrides: str) -> Any:
        typed = [to_override("run", self.path), *overrides, *shlex.split(args)]
        if self.run.trusted and _own_components(self.run):
            typed.append("trust=true")
        return run(command, typed)[1]


def _own_components(run: RunDir) -> bool:
    """Whether commands need trust=true for a run that was trained here, since it uses components of
    the user's. Who made the photos does not matter: they exist."""
    values = run.read_config()
    return refusal({**values, "data": {**values["data"], "prepare": None}}) is not None


@dataclass(frozen=True)
class Interpreted(Interpretation):
    """What `pets interpret` found: the predictions of the split, and figures of them."""

    analysis: Analysis

    @classmethod
    def of_analysis(cls, analysis: Analysis) -> Interpreted:
        """Return the predictions of an analysis, with figures."""
        own = analysis.predictions
        return cls(own.table, own.log_probabilities, own.classes, analysis)

    def plot_top_losses(self, k: int = 8) -> Figure:
        """Draw the photos with the highest loss, with Grad-CAM.

        Above each stand prediction, actual, loss, and the probability of the actual class.
        """
        return self.show(self.top_losses(k))

    def show(self, rows: pd.DataFrame, cams: bool = True) -> Figure:
        """Draw photos like `plot_top_losses`, with or without Grad-CAM.

        `rows` are of the table, as `most_correct`, `most_uncertain` and others return them.
        """
        return charts.photo_grid(self.analysis, rows, cams)

    def plot_confusion_matrix(self) -> Figure:
        """Draw the confusion matrix, with confused classes next to each other."""
        return charts.confusions(self, CLASSES)

    def plot_kernels(self) -> Figure:
        """Draw the kernels of the first layer in colour."""
        if self.analysis.kernels is None:
            raise PetsError("the first layer of this network has no kernels over colours")
        return charts.kernel_grid(self.analysis.kernels)

    @property
    def stages(self) -> list[BackboneStage]:
        """The stages of the network, in order, with the patches that activate them most."""
        return self.analysis.stages

    def plot_patches(self, stage: int) -> Figure:
        """Draw one row per channel of the stage: the patches that activate it most."""
        return charts.patch_rows(self.stages[stage])
