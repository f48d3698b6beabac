"""The sections of the page; new ones are added to `SECTIONS`.

A section is a function here that returns the values for its template `sections/<name>.html`, or
None if there is nothing to show. The page has them in the order of this file.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pets.data.photos import OTHER
from pets.data.splits import TEST
from pets.interpretation.analysis import Analysis
from pets.interpretation.curves import at_thresholds
from pets.io.atomic import regular
from pets.io.figures import as_svg
from pets.io.pictures import jpeg, jpeg_uri, pixels, png_uri
from pets.io.serialize import to_yaml
from pets.lr_finder.search import FOLDER as LR_FINDER
from pets.registry import Registry
from pets.report import charts
from pets.report.photos import PagePhotos
from pets.report.published import PUBLISHED, same_split
from pets.training.measures import measured
from pets.training.metrics_csv import read_metrics

Values = dict[str, Any]
Fill = Callable[[Analysis, PagePhotos], Values | None]
PAIRS = 12  # most confused pairs shown with photos; the matrix has all of them
CELLS = 60  # maximum classes in the matrix, the most confused ones
SUSPECTS = 36  # label suspects shown with photos; the CSV has all of them
THRESHOLDS = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]  # of the table below the curves
PHOTOS_PER_CLASS = 4  # in the galleries of a class


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: Its id and the name of its template.
        title: Its link at the top of the page; if empty, it belongs to the section before it.
        doc: One-line description.
        fill: Returns the values for its template.
        turn: Sections add photos in this order, until the image budget is used up.
    """

    name: str
    title: str
    doc: str
    fill: Fill
    turn: int


SECTIONS: Registry[Section] = Registry()


def section(name: str, title: str, turn: int = 100) -> Callable[[Fill], Fill]:
    """Add a function to `SECTIONS`."""

    def add(fill: Fill) -> Fill:
        doc = (fill.__doc__ or "").partition("\n")[0]
        SECTIONS.add(Section(name, title, doc, fill, turn))
        return fill

    return add


@section("numbers", "Numbers")
def numbers(analysis: Analysis, _: PagePhotos) -> Values:
    """Metrics, published results for comparison, learning curves and lr finder curves."""
    config, run = analysis.trained.config, analysis.trained.run
    metrics = measured(config)
    published = PUBLISHED.get(config.data.name, ()) if analysis.split != OTHER else ()
    count, epochs = len(analysis.predictions), read_metrics(run.path / "metrics.csv")
    beside = [(entry, same_split(entry, config.data, analysis.split, count)) for entry in published]
    pictures = {file.stem: file for file in sorted((run.path / LR_FINDER).glob("*.png"))}
    stages = [name for name in config.plan.stages if name in pictures]
    return {
        "added": {
            name.replace("_", " "): metrics[name].show(value)
            for name, value in analysis.added_metrics.items()
        },
        "limited": run.status.get("limited"),
        "published": beside,
        "same": any(same for _, same in beside),
        "curves": [
            as_svg(charts.learning_curves(epochs, run.monitor, narrow)) for narrow in (False, True)
        ]
        if epochs
        else None,
        "finder": {
            name: png_uri(regular(pictures[name]).read_bytes())
            for name in dict.fromkeys([*stages, *pictures])
        },
    }


@section("matrix", "Confusions", turn=5)
def matrix(analysis: Analysis, photos: PagePhotos) -> Values:
    """The confusion matrix, with confused classes next to each other and photos for each cell."""
    predictions = analysis.predictions
    counts = predictions.confusion_matrix().to_numpy()
    order = charts.order_by_confusion(counts)
    left_out = max(len(order) - CELLS, 0)
    if left_out:
        wrong = counts.sum(1) + counts.sum(0) - 2 * counts.diagonal()
        chosen = set(np.argsort(-wrong, kind="stable")[:CELLS].tolist())
        order = [i for i in order if i in chosen]
    cells = {}
    # Mistakes first: if the budget runs out, only correct predictions are missing.
    pairs = [(a, p) for a in order for p in order if counts[a, p]]
    for a, p in sorted(pairs, key=lambda pair: pair[0] == pair[1]):
        confused = predictions.confused(predictions.classes[a], predictions.classes[p])
        rows = confused.index.tolist()
        cells[f"{order.index(a)}-{order.index(p)}"] = {
            "count": int(counts[a, p]),
            "share": counts[a, p] / counts[a].sum(),
            "photos": photos.add_captioned(rows if a != p else rows[: analysis.settings.gallery]),
        }
    names = [predictions.classes[i] for i in order]
    return {"matrix": {"names": names, "cells": cells, "left_out": left_out}}


@section("pairs", "", turn=2)
def pairs(analysis: Analysis, photos: PagePhotos) -> Values:
    """The most confused pairs: misclassified photos, nearest training photos, correct ones."""
    predictions, shown = analysis.predictions, []
    for actual, predicted, count in predictions.most_confused()[:PAIRS]:
        rows = predictions.confused(actual, predicted).index.tolist()
        near = analysis.neighbours(rows[:1])
        shown.append(
            {
                "actual": actual,
                "predicted": predicted,
                "count": count,
                "back": len(predictions.confused(predicted, actual)),
                "of": int((predictions.table["label"] == actual).sum()),
                "mistaken": photos.add_with_predictions(rows[:PHOTOS_PER_CLASS]),
                "right": {
                    name: photos.add_with_predictions(
                        predictions.most_correct(name, PHOTOS_PER_CLASS).index.tolist()
                    )
                    for name in (actual, predicted)
                },
                "near": photos.add_neighbours(near[rows[0]]),
            }
        )
    return {"pairs": shown}


@section("losses", "Top losses", turn=1)
def top_losses(analysis: Analysis, photos: PagePhotos) -> Values:
    """Photos with the highest loss, their Grad-CAMs and nearest training photos."""
    rows = analysis.predictions.top_losses(analysis.settings.top_losses).index.tolist()
    near = analysis.neighbours(rows)
    shown = [
        photo | {"cams": photos.cams(row), "near": photos.add_neighbours(near[row])}
        for row in rows
        for photo in photos.add_with_predictions([row])
    ]
    return {"top_losses": shown, "no_cams": analysis.trained.model.backbone.why_no_map()}


@section("galleries", "Galleries", turn=3)
def galleries(analysis: Analysis, photos: PagePhotos) -> Values:
    """Random right and wrong photos, and the most uncertain ones."""
    predictions, k = analysis.predictions, analysis.settings.gallery
    seed = analysis.trained.config.seed
    chosen = {
        "Wrong, at random": predictions.random_incorrect(k, seed),
        "Right, at random": predictions.random_correct(k, seed),
        "Most uncertain": predictions.most_uncertain(k),
    }
    return {
        "galleries": {
            title: {
                "shown": photos.add_with_predictions(rows.index.tolist()),
                "exist": len(rows) > 0,
            }
            for title, rows in chosen.items()
        }
    }


@section("one-class", "", turn=6)
def one_class(analysis: Analysis, photos: PagePhotos) -> Values:
    """By class: the most confident correct and incorrect predictions."""
    predictions = analysis.predictions
    verbs = {"correct": predictions.most_correct, "incorrect": predictions.most_incorrect}
    return {
        "by_class": {
            name: {
                key: photos.add_captioned(best(name, PHOTOS_PER_CLASS).index.tolist())
                for key, best in verbs.items()
            }
            for name in predictions.classes
        }
    }


@section("classes", "Classes")
def classes(analysis: Analysis, _: PagePhotos) -> Values:
    """One row per class: its metrics, and the class it is most often confused with."""
    report = analysis.predictions.classification_report()
    rows: Any = report.astype(object).where(report.notna(), None)
    taken: dict[str, str] = {}
    for actual, predicted, count in analysis.predictions.most_confused():
        taken.setdefault(actual, f"{predicted} ({count})")
    return {
        "classes": [
            {"name": name, "confused": taken.get(name, ""), **values}
            for name, values in rows.to_dict("index").items()
        ]
    }


@section("curves", "Curves")
def curves(analysis: Analysis, _: PagePhotos) -> Values | None:
    """ROC and precision-recall curves, if the run measures the area under one."""
    kinds = analysis.curves
    if not kinds:
        return None
    by_class = next(iter(kinds.values()))[1:]  # the first one is over all classes
    return {
        "pictures": [as_svg(charts.one_vs_rest(analysis, narrow)) for narrow in (False, True)],
        "names": " and ".join(charts.AXES[kind][0] for kind in kinds),
        "panels": len(kinds),
        "worst": min(len(by_class), charts.WORST),
        "classes": len(by_class),
        "thresholds": at_thresholds(analysis.predictions, THRESHOLDS),
    }


@section("layers", "Layers")
def layers(analysis: Analysis, _: PagePhotos) -> Values | None:
    """The first kernels, and the patches that activate each stage's channels most."""
    stages, kernels = [], analysis.kernels
    if kernels is None and not analysis.stages:
        return None
    for stage in analysis.stages:
        height, width = stage.field.pixels
        shown = {
            "name": stage.name,
            "sees": f"{height} x {width} pixels",
            # On large patches a ring marks the unit.
            "large": max(height, width) > 0.5 * max(analysis.trained.model.size),
            "channels": {
                channel: [{"uri": _jpeg_uri(p.pixels), "unit": p.unit} for p in patches]
                for channel, patches in stage.patches.items()
                if patches
            },
        }
        stages.append(shown)
    return {
        "stages": stages,
        "kernels": png_uri(charts.kernels_png(kernels)) if kernels is not None else "",
        "wanted": bool(analysis.settings.channels),
    }


@section("calibration", "Calibration")
def calibration(analysis: Analysis, _: PagePhotos) -> Values:
    """Calibration: the reliability diagram."""
    return {"reliability": as_svg(charts.reliability_diagram(analysis))}


@section("suspects", "Labels", turn=4)
def suspects(analysis: Analysis, photos: PagePhotos) -> Values:
    """Likely label errors, the most suspect first."""
    paths = analysis.all_predictions.table["path"]
    index_of = dict(zip(paths, analysis.extracted.indices, strict=True))
    rows = []
    for row in analysis.suspects.head(SUSPECTS).to_dict("records"):
        index, path = index_of[row["path"]], row["path"]
        fits = photos.add(index, path, f"labelled {row['given']}, looks like {row['label']}")
        rows.append({**row, "photo": index if fits else None})
    splits = analysis.suspects["split"]
    return {"rows": rows, "total": len(splits), "test": int((splits == TEST).sum())}


@section("data", "Data")
def data(analysis: Analysis, _: PagePhotos) -> Values:
    """The run's photos: counts by class, sizes, and augmented views."""
    return {
        "pictures": {
            # Photos would be large as PNG, and charts blurred as JPEG.
            tag: jpeg_uri(pixels(figure)) if tag == "augmented" else as_svg(figure)
            for tag, figure in charts.data_pictures(analysis).items()
        },
        "training_views": charts.training_views(analysis)[1],
    }


@section("config", "Config")
def config(analysis: Analysis, _: PagePhotos) -> Values:
    """The run's config.yaml."""
    return {"config_yaml": to_yaml(analysis.trained.run.config)}


def _jpeg_uri(patch: Tensor) -> str:
    return f"data:image/jpeg;base64,{b64encode(jpeg(patch, 96)).decode()}"
