"""Charts of the report, for the page and for TensorBoard."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform
from torch import Tensor
from torchvision.transforms.v2 import functional as VF
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import make_grid

from pets.config.monitor import ERROR_RATE, Monitor
from pets.data import preview
from pets.data.images import UnreadableImage
from pets.interpretation.analysis import Analysis
from pets.interpretation.calibration import Reliability
from pets.interpretation.curves import PRECISION_RECALL, ROC, Threshold, at_thresholds
from pets.interpretation.interpretation import Floats, Interpretation
from pets.interpretation.layers import BackboneStage
from pets.io.figures import BLUE, GREY, ORANGE, RED, plain
from pets.io.pictures import TITLE, as_pixels, grid
from pets.training.inputs import on_activations

WORST = 4  # classes with a curve of their own
DOTS = (0.1, 0.25, 0.5, 0.75, 0.9)  # thresholds marked on a curve
FEW = 10  # photos of a bin of the reliability diagram; what fewer show may be chance
_COLOURS = (ORANGE, RED, "#7a4fb5", "#2a9d6f")
# By kind of curve: its name, its axes, and where the first threshold's label is and the next ones.
AXES = {
    ROC: ("ROC", "false positive rate", "true positive rate (recall)", (0.3, 0.9), (0, -0.08)),
    PRECISION_RECALL: ("precision-recall", "recall", "precision", (0.9, 0.4), (-0.13, 0)),
}


def learning_curves(
    rows: list[dict[str, Any]], monitor: Monitor = ERROR_RATE, narrow: bool = False
) -> Figure:
    """Plot losses and the monitored metric after every epoch of `metrics.csv`, over all stages.

    With `narrow` the panels are one below the other, for a phone.
    """
    figure, (left, right) = _panels(2, 4.5, 3.4, narrow)
    epochs = np.arange(1, len(rows) + 1)
    for split, colour, label in (("train", BLUE, "training"), ("valid", ORANGE, "validation")):
        losses = [row[f"{split}_loss"] for row in rows]
        left.plot(epochs, losses, "o-", color=colour, label=label, ms=4)
    unit = 100 if monitor.is_share else 1
    scores = [unit * row[monitor.column] for row in rows]
    right.plot(epochs, scores, "o-", color=RED, ms=4)
    right.annotate(
        monitor.show(scores[-1] / unit, 2), (epochs[-1], scores[-1]), xytext=(6, 0),
        textcoords="offset points", va="center", annotation_clip=False,
    )  # fmt: skip
    left.set(xlabel="epoch", ylabel="loss")
    right.set(
        xlabel="epoch", ylabel=f"validation {monitor.words}{' in %' if monitor.is_share else ''}"
    )
    stages = [(name, len(list(of_stage))) for name, of_stage in groupby(r["stage"] for r in rows)]
    for axes in (left, right):
        axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
        start, above = 0.5, axes.get_xaxis_transform()
        for name, length in stages:
            axes.text(start + 0.05, 1.01, plain(name, 20), transform=above, color=GREY)
            start += length
            if start < len(rows):
                axes.axvline(start, color=GREY, lw=0.8, ls=":")
        axes.set_xlim(0.5, len(rows) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    return figure


def _panels(count: int, width: float, height: float, narrow: bool) -> tuple[Figure, list[Any]]:
    """A figure of panels side by side, or one below the other, each of this size in inches."""
    rows, columns = (count, 1) if narrow else (1, count)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel().tolist()


def schedules(stages: Mapping[str, list[tuple[float, float]]]) -> Figure:
    """Plot the learning rate and the momentum of every step, over all stages."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    panels = figure.subplots(1, 2)
    for index, (axes, name) in enumerate(zip(panels, ("learning rate", "momentum"), strict=True)):
        start, above = 0, axes.get_xaxis_transform()
        for stage, values in stages.items():
            steps = range(start, start + len(values))
            axes.plot(steps, [value[index] for value in values], color=BLUE)
            axes.text(start, 1.01, plain(stage, 20), transform=above, color=GREY)
            if start:
                axes.axvline(start, color=GREY, lw=0.8, ls=":")
            start += len(values)
        axes.set(xlabel="step", ylabel=name)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def data_pictures(analysis: Analysis) -> dict[str, Figure]:
    """Draw the run's photos.

    Returns:
        `sizes` of the readable photos; `classes`, the number of photos of each, if there are any;
        `augmented`, some training photos as the network sees them, if they can be read.
    """
    config, photos = analysis.trained.config, analysis.data
    figures = {"sizes": preview.draw_sizes([*analysis.extracted.sizes.values()])}
    if photos.rows:
        figures["classes"] = preview.draw_classes(photos)
    chosen = preview.choose(photos, 4, config.seed)
    with contextlib.suppress(UnreadableImage):
        if chosen:
            views, _ = training_views(analysis)
            figures["augmented"] = preview.draw_augmented(photos, chosen, config, views)
    return figures


def training_views(analysis: Analysis) -> tuple[int, str]:
    """Return the number of augmented views to draw per training photo, and the caption."""
    config, model = analysis.trained.config, analysis.trained.model
    stages, kept = config.plan.stages, config.precompute.views
    frozen = [name for name, stage in stages.items() if on_activations(config, model, stage)]
    all_frozen = len(frozen) == len(stages)
    if not preview.is_augmented(config.augment) or (all_frozen and not kept):
        return 0, "It was trained on photos as they are here, without augmentation."
    views = min(kept, 5) if all_frozen else 5
    many = f"{views} augmented views" if views > 1 else "one augmented view"
    caption = f"On the left the photo, beside it {many}."
    if frozen:
        saw = (
            f"drew from {kept} such views of each photo"
            if kept
            else ("saw the photos without augmentation")
        )
        caption += f" Stage {' and '.join(frozen)} {saw}."
    return views, caption


def reliability_diagram(analysis: Analysis) -> Figure:
    """Plot accuracy over confidence, before and after temperature scaling."""
    before, after = analysis.calibration
    shown = {f"as predicted: ECE {100 * before.ece:.1f} %": before}
    if analysis.calibrated:
        shown[f"temperature {analysis.temperature:.2f}: ECE {100 * after.ece:.1f} %"] = after
    return draw_reliability(shown)


def draw_reliability(shown: Mapping[str, Reliability]) -> Figure:
    """Plot accuracy over confidence, for one or two reliabilities by the label of each.

    The area of a dot is its bin's share of the photos, a line its interval. A bin with fewer than
    `FEW` photos is hollow, with their number beside it, and no line leads to it.
    """
    figure = Figure(figsize=(5.2, 5.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="as sure as right")
    for (label, bins), colour, side in zip(shown.items(), (BLUE, ORANGE), (-1, 1), strict=False):
        x, y, many = bins.confidence, bins.accuracy, bins.counts >= FEW
        sizes = 20 + 600 * bins.counts / max(bins.counts.sum(), 1)
        axes.vlines(x, *bins.intervals.T, color=colour, lw=1, alpha=0.5)
        axes.scatter(x[many], y[many], sizes[many], color=colour, alpha=0.45, linewidths=0)
        axes.plot(x[many], y[many], color=colour, lw=1.2, label=label)
        axes.plot(x[~many], y[~many], "o", mfc="white", mec=colour, ms=5)
        for sure, right, count in zip(x[~many], y[~many], bins.counts[~many], strict=True):
            axes.annotate(
                f"{count}", (sure, right), (6 * side, 0), textcoords="offset points", va="center",
                ha="left" if side > 0 else "right", color=colour, fontsize="small",
            )  # fmt: skip
    axes.plot([], [], "-", color=GREY, lw=1, label="upright: the 95 % interval of a bin")
    hollow = f"a bin with fewer than {FEW} photos, and how many"
    axes.plot([], [], "o", mfc="white", mec=GREY, ms=5, label=hollow)
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1.03), ylim=(-0.04, 1.05))
    figure.legend(frameon=False, loc="outside lower left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def one_vs_rest(analysis: Analysis, narrow: bool = False) -> Figure:
    """Draw a panel for each kind of curve (ROC, precision and recall).

    It has the curve over all classes, with thresholds as dots, and those of the classes with the
    smallest area. With `narrow` the panels are one below the other.
    """
    kinds = analysis.curves
    figure, panels = _panels(len(kinds), 5.2, 4.8, narrow)
    for axes, (kind, (pooled, *by_class)) in zip(panels, kinds.items(), strict=True):
        name, x, y, first, step = AXES[kind]
        for curve, colour in zip(by_class[:WORST], _COLOURS, strict=False):
            label = f"{plain(curve.name, 24)}: {curve.area:.3f}"
            axes.plot(curve.x, curve.y, color=colour, lw=1.1, label=label)
        axes.plot(pooled.x, pooled.y, color=BLUE, lw=2.2, label=f"all classes: {pooled.area:.3f}")
        for number, row in enumerate(at_thresholds(analysis.predictions, DOTS)):
            points = {ROC: (row.false_positives, row.recall), PRECISION_RECALL: _point(row)}
            axes.plot(*points[kind], "o", color=BLUE, ms=5)
            # In a column or row of their own, since the dots may be close together.
            at = (first[0] + number * step[0], first[1] + number * step[1])
            line = {"arrowstyle": "-", "color": BLUE, "lw": 0.5}
            axes.annotate(f"{row.threshold:g}", points[kind], at, color=BLUE, arrowprops=line)
        mean = np.mean([curve.area for curve in by_class]) if by_class else np.nan
        axes.set_title(f"{name}: mean over classes {mean:.3f}", loc="left", fontsize="medium")
        axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
        axes.legend(frameon=False, loc="lower right" if kind == ROC else "lower left")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _point(row: Threshold) -> tuple[float, float]:
    """Where a threshold is on a precision-recall curve; without a decision at its left end."""
    return row.recall, 1.0 if row.precision is None else row.precision


def order_by_confusion(matrix: NDArray[Any]) -> list[int]:
    """Order class indices so that confused classes are next to each other.

    Average linkage over the share of confusions between two classes, with the best order of
    leaves (Bar-Joseph et al. 2001). Classes that are never confused keep their order, at the end.
    """
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    alike = shares + shares.T
    confused = np.flatnonzero(alike.any(1))
    if len(confused) >= 3:
        near = alike[np.ix_(confused, confused)]
        distances = squareform(1 - near / near.max() * (1 - np.eye(len(near))), checks=False)
        tree = optimal_leaf_ordering(linkage(distances, "average"), distances)
        confused = confused[leaves_list(tree)]
    return [*confused.tolist(), *np.flatnonzero(~alike.any(1)).tolist()]


def confusion_chart(matrix: Floats, names: list[str]) -> Figure:
    """Draw counts, coloured by their share of the row, large enough to read every name."""
    side = max(5.0, 0.3 * len(names) + 2.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for actual, predicted in zip(*np.nonzero(matrix), strict=True):
        dark = shares[actual, predicted] > 0.5
        axes.text(
            predicted, actual, f"{int(matrix[actual, predicted])}", ha="center", va="center",
            color="white" if dark else "black" if actual == predicted else RED, fontsize=9,
        )  # fmt: skip
    shown = [plain(name, 40) for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=90)
    axes.set_yticks(range(len(names)), shown)
    axes.set(xlabel="predicted", ylabel="actual")
    return figure


def confusions(predictions: Interpretation, classes: int) -> Figure:
    """Draw the confusion matrix with confused classes next to each other; only the `classes` most
    confused ones are shown."""
    matrix = predictions.confusion_matrix().to_numpy()
    order = order_by_confusion(matrix)[:classes]
    return confusion_chart(matrix[order][:, order], [predictions.classes[i] for i in order])


def kernels_png(kernels: Tensor) -> bytes:
    """Draw the kernels (n, 3, h, w) in a grid, one pixel per weight, one pixel apart."""
    columns = int(np.ceil(np.sqrt(2 * len(kernels))))
    file = io.BytesIO()
    to_pil_image(make_grid(kernels, columns, padding=1, pad_value=0.5)).save(file, "PNG")
    return file.getvalue()


def kernel_grid(kernels: Tensor) -> Figure:
    """Draw the kernels (n, 3, h, w) in a grid, enlarged."""
    return enlarged(as_pixels(kernels_png(kernels)))


def enlarged(picture: Tensor) -> Figure:
    """Draw a small picture (3, h, w) with each pixel as a square."""
    height, width = picture.shape[1:]
    figure = Figure(figsize=(9, 9 * height / width))
    axes = figure.add_axes((0.06, 0, 0.94, 1))
    axes.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.axis("off")
    return figure


def photo_grid(analysis: Analysis, rows: pd.DataFrame, cams: bool = False) -> Figure:
    """Draw photos of the analysis by row with fastai's titles: prediction / actual / loss /
    probability of the actual class; with `cams`, Grad-CAM for the prediction is overlaid."""
    extracted, shown, titles, heat = analysis.extracted, [], [], []
    for row in rows.index.tolist():
        photo, index = analysis.predictions[row], analysis.indices[row]
        names = f"{plain(photo.prediction, TITLE)}\n{plain(f'is {photo.label}', TITLE)}"
        titles.append(f"{names}\n{photo.loss:.2f} / {100 * photo.p_label:.0f} %")
        shown.append(as_pixels(extracted.thumbnails[index]))
        if cams and index in extracted.cams:
            heat.append(extracted.cams[index][0].numpy() / 255)
    if not shown:
        figure = Figure(figsize=(2.2, 0.6))
        axes = figure.add_axes((0, 0, 1, 1))  # notebooks show no figure without axes
        axes.text(0.5, 0.5, "no such photo", ha="center", va="center")
        axes.axis("off")
        return figure
    return grid(shown, titles, columns=min(4, len(shown)), heat=heat)


def patch_rows(stage: BackboneStage) -> Figure:
    """Draw one row per channel, its strongest patches from left to right."""
    side, columns = 96, max(map(len, stage.patches.values()))
    tiles = torch.full((len(stage.patches), columns, 3, side, side), 255, dtype=torch.uint8)
    for row, patches in enumerate(stage.patches.values()):
        for column, patch in enumerate(patches):
            tiles[row, column] = VF.resize(patch.pixels, [side, side])
    figure = enlarged(make_grid(tiles.flatten(0, 1), nrow=columns, pad_value=255))
    for row, channel in enumerate(stage.patches):
        figure.axes[0].text(-6, (row + 0.5) * (side + 2), f"{channel}", ha="right", va="center")
    return figure
