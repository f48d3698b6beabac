"""The report's pictures in TensorBoard, large enough to be read there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
import torch
from matplotlib.figure import Figure
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torchvision.transforms.v2 import functional as VF
from torchvision.utils import make_grid

from pets.interpret.confusion import order_by_confusion
from pets.interpret.layers import Stage
from pets.interpret.study import Study
from pets.pictures import as_pixels, grid, pixels
from pets.report import charts

PAIRS = 6  # rows of the picture of confused pairs
CLASSES = 60  # the matrix's names cannot be read beyond


def add_pictures(study: Study, loggers: Sequence[Logger], name: str, step: int) -> None:
    """Every picture under `interpret/<name>/`, at `step`."""
    writers = [log.experiment for log in loggers if isinstance(log, TensorBoardLogger)]
    if not writers:
        return
    for tag, figure in figures(study):
        array = pixels(figure, dpi=100)
        for writer in writers:
            writer.add_image(f"interpret/{name}/{tag}", array, step, dataformats="HWC")
    for writer in writers:
        # The command may end here: what its writer has not written would be lost.
        writer.flush()


def figures(study: Study) -> Iterator[tuple[str, Figure]]:
    """Tag and figure of each picture; those without photos are left out."""
    found, settings, seed = study.found, study.settings, study.trained.config.seed
    matrix = found.confusion_matrix().to_numpy().astype(float)
    order = order_by_confusion(matrix)[:CLASSES]
    names = [found.classes[i] for i in order]
    yield "confusion_matrix", charts.confusion_chart(matrix[order][:, order], names)
    before, after = study.calibration
    for tag, figure in charts.data_pictures(study).items():
        yield f"data/{tag}", figure
    yield "calibration", charts.reliability_diagram(before, after, study.temperature)
    yield "top_losses", _photos(study, found.top_losses(min(settings.top_losses, 16)), cams=True)
    galleries = {
        "random_correct": found.random_correct(settings.gallery, seed),
        "random_incorrect": found.random_incorrect(settings.gallery, seed),
        "most_uncertain": found.most_uncertain(settings.gallery),
        "most_confused": _confused(study),
    }
    for tag, rows in galleries.items():
        if len(rows):
            yield tag, _photos(study, rows)
    if study.kernels is not None:
        yield "first_kernels", charts.enlarged(as_pixels(charts.kernels_png(study.kernels)))
    for stage in study.stages:
        yield f"layers/{stage.name}", _patches(stage)


def _confused(study: Study) -> pd.DataFrame:
    """Of each of the most confused pairs up to four photos."""
    table = study.found.table
    parts = [
        table[(table["label"] == actual) & (table["prediction"] == predicted)].head(4)
        for actual, predicted, _ in study.found.most_confused()[:PAIRS]
    ]
    return pd.concat(parts) if parts else table.head(0)


def _photos(study: Study, rows: pd.DataFrame, cams: bool = False) -> Figure:
    """fastai's titles: prediction / actual / loss / probability of the actual class."""
    numbers = rows.index.tolist()
    places = [study.places[row] for row in numbers]
    titles = [
        f"{photo.prediction}\nis {photo.label}\n{photo.loss:.2f} / {100 * photo.p_label:.0f} %"
        for photo in map(study.found.__getitem__, numbers)
    ]
    shown = [as_pixels(study.observed.thumbnails[place]) for place in places]
    heat = [study.observed.cams[place][0] / 255 for place in places] if cams else []
    return grid(shown, titles, columns=min(4, len(shown)), heat=heat)


def _patches(stage: Stage) -> Figure:
    """A row a channel, its strongest patches from left to right."""
    side = 96
    columns = max(map(len, stage.patches.values()))
    tiles = torch.full((len(stage.patches) * columns, 3, side, side), 255, dtype=torch.uint8)
    for row, patches in enumerate(stage.patches.values()):
        for column, patch in enumerate(patches):
            tiles[row * columns + column] = VF.resize(patch.pixels, [side, side])
    figure = charts.enlarged(make_grid(tiles, nrow=columns, pad_value=255))
    for row, channel in enumerate(stage.patches):
        figure.axes[0].text(-6, (row + 0.5) * (side + 2), f"{channel}", ha="right", va="center")
    return figure
