"""The report's figures in the loggers, large enough to be legible there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure
from pytorch_lightning.loggers import Logger

from pets.interpretation.analysis import Analysis
from pets.io.pictures import pixels
from pets.report import charts
from pets.training.loggers import log_picture, show_pictures


def add_pictures(analysis: Analysis, loggers: Sequence[Logger], name: str, step: int) -> None:
    """Add every figure under `interpret/<name>/`, at `step`."""
    for tag, figure in figures(analysis) if show_pictures(loggers) else ():
        log_picture(loggers, f"interpret/{name}/{tag}", pixels(figure, dpi=100), step)


def figures(analysis: Analysis) -> Iterator[tuple[str, Figure]]:
    """Yield tag and figure of each figure that has photos."""
    predictions, settings = analysis.predictions, analysis.settings
    seed = analysis.trained.config.seed
    yield "confusion_matrix", charts.confusions(predictions, 60)  # more names would be illegible
    for tag, figure in charts.data_pictures(analysis).items():
        yield f"data/{tag}", figure
    yield "calibration", charts.reliability_diagram(analysis)
    if analysis.curves:
        yield "curves", charts.one_vs_rest(analysis)
    worst = predictions.top_losses(min(settings.top_losses, 16))
    yield "top_losses", charts.photo_grid(analysis, worst, cams=True)
    pairs = predictions.most_confused()[:6]
    confused = [predictions.confused(actual, predicted).head(4) for actual, predicted, _ in pairs]
    galleries = {
        "random_correct": predictions.random_correct(settings.gallery, seed),
        "random_incorrect": predictions.random_incorrect(settings.gallery, seed),
        "most_uncertain": predictions.most_uncertain(settings.gallery),
        "most_confused": pd.concat([predictions.table.head(0), *confused]),
    }
    for tag, rows in galleries.items():
        if len(rows):
            yield tag, charts.photo_grid(analysis, rows)
    if analysis.kernels is not None:
        yield "first_kernels", charts.kernel_grid(analysis.kernels)
    for stage in analysis.stages:
        yield f"layers/{stage.name}", charts.patch_rows(stage)
