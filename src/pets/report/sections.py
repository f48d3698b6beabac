"""The sections of the page. `SECTIONS` is the one place where a section is added.

A section is a function here, which returns what its template `sections/<name>.html` shows.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pets.data.photos import OTHER
from pets.data.splits import TEST
from pets.interpretation.analysis import Analysis
from pets.interpretation.confusion import order_by_confusion
from pets.interpretation.layers import Patch
from pets.io.figures import as_svg
from pets.io.pictures import jpeg, jpeg_uri, pixels, png_uri
from pets.io.serialize import to_yaml
from pets.lr_finder.search import FOLDER as LR_FINDER
from pets.metrics import METRICS
from pets.registry import Registry
from pets.report import charts
from pets.report.photos import PagePhotos
from pets.report.published import LESSON_PAIRS, PUBLISHED, same_split, split_in_words
from pets.training.metrics_csv import read_metrics

PAIRS = 12  # most confused pairs with photos; the matrix has them all
CELLS = 60  # classes in the matrix; beyond that those most confused
SUSPECTS = 36  # label suspects with photos; the CSV has them all
A_CLASS = 4  # photos of a class in its galleries


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        name: its id in the page, and its template `sections/<name>.html`.
        title: its link at the top of the page; without one it belongs to the section before it.
        doc: one line about it.
        fill: what the template shows, from the analysis and the photos of the page; None where
            there is nothing to show, and no section.
        turn: sections take photos in this order, until the image budget is spent.
    """

    name: str
    title: str
    doc: str
    fill: Callable[[Analysis, PagePhotos], dict[str, Any] | None]
    turn: int = 100


SECTIONS: Registry[Section] = Registry()


def headline(analysis: Analysis) -> dict[str, Any]:
    """Accuracy with its interval, mistakes, and what was measured."""
    predictions, data = analysis.predictions, analysis.trained.config.data
    photos, report = len(predictions), predictions.classification_report()
    return {
        "accuracy": predictions.accuracy,
        "interval": predictions.accuracy_interval,
        "mean_class_accuracy": float(report["recall"].mean()),
        "loss": float(predictions.table["loss"].mean()),
        "photos": photos,
        "errors": int((~predictions.correct).sum()),
        "classes": int((report["photos"] > 0).sum()),
        "absent": [name for name in predictions.classes if not report.loc[name, "photos"]],
        "split": f"{analysis.root}, {photos:,} photos"
        if analysis.split == OTHER
        else split_in_words(data, analysis.split, photos),
    }


def numbers(analysis: Analysis, _: PagePhotos) -> dict[str, Any]:
    """Metrics, the published numbers beside them, learning curves and the lr finder's curves."""
    data, run = analysis.trained.config.data, analysis.trained.run
    published = PUBLISHED.get(data.name, ()) if analysis.split != OTHER else ()
    count = len(analysis.predictions)
    beside = [(entry, same_split(entry, data, analysis.split, count)) for entry in published]
    epochs = read_metrics(run.path / "metrics.csv")
    stages = list(analysis.trained.config.plan.stages)
    finder = sorted(
        sorted((run.path / LR_FINDER).glob("*.png")),
        key=lambda file: stages.index(file.stem) if file.stem in stages else len(stages),
    )
    return {
        "added": {
            name.replace("_", " "): METRICS[name].show(value)
            for name, value in analysis.added_metrics.items()
        },
        "published": beside,
        "same": any(same for _, same in beside),
        "curves": as_svg(charts.learning_curves(epochs)) if epochs else None,
        "finder": {file.stem: png_uri(file.read_bytes()) for file in finder},
    }


def matrix(analysis: Analysis, photos: PagePhotos) -> dict[str, Any]:
    """The confusion matrix, confused classes side by side, with the photos of each cell."""
    predictions = analysis.predictions
    counts = predictions.confusion_matrix().to_numpy()
    order = order_by_confusion(counts.astype(float))
    left_out = max(len(order) - CELLS, 0)
    if left_out:
        wrong = counts.sum(1) + counts.sum(0) - 2 * counts.diagonal()
        chosen = set(np.argsort(-wrong, kind="stable")[:CELLS].tolist())
        order = [i for i in order if i in chosen]
    cells = {}
    # The mistakes first: where the budget is short, right ones are the ones to miss.
    pairs = [(a, p) for a in order for p in order if counts[a, p]]
    for a, p in sorted(pairs, key=lambda pair: pair[0] == pair[1]):
        rows = _cell(analysis, predictions.classes[a], predictions.classes[p])
        cells[f"{order.index(a)}-{order.index(p)}"] = {
            "count": int(counts[a, p]),
            "share": counts[a, p] / counts[a].sum(),
            "photos": photos.indices(rows if a != p else rows[: analysis.settings.gallery]),
        }
    names = [predictions.classes[i] for i in order]
    return {"matrix": {"names": names, "cells": cells, "left_out": left_out}}


def pairs(analysis: Analysis, photos: PagePhotos) -> dict[str, Any]:
    """The most confused pairs: mistaken photos, their nearest training photos, and right ones."""
    predictions, lesson = analysis.predictions, analysis.trained.config.data.name == "oxford_pets"
    shown = []
    for actual, predicted, count in predictions.most_confused()[:PAIRS]:
        rows = _cell(analysis, actual, predicted)
        near = analysis.neighbours(rows[:1])
        shown.append(
            {
                "actual": actual,
                "predicted": predicted,
                "count": count,
                "back": len(_cell(analysis, predicted, actual)),
                "of": int((predictions.table["label"] == actual).sum()),
                "lesson": lesson and frozenset({actual, predicted}) in LESSON_PAIRS,
                "mistaken": photos.details(rows[:A_CLASS]),
                "right": {
                    name: photos.details(predictions.most_correct(name, A_CLASS).index.tolist())
                    for name in (actual, predicted)
                },
                "near": photos.neighbours(near[rows[0]]),
            }
        )
    return {"pairs": shown}


def top_losses(analysis: Analysis, photos: PagePhotos) -> dict[str, Any]:
    """Photos with the highest loss, their Grad-CAMs and nearest training photos."""
    rows = analysis.predictions.top_losses(analysis.settings.top_losses).index.tolist()
    near = analysis.neighbours(rows)
    shown = []
    for row in rows:
        for photo in photos.details([row]):
            near_photos = photos.neighbours(near[row])
            shown.append(photo | {"cams": photos.cams(row), "near": near_photos})
    return {"top_losses": shown}


def galleries(analysis: Analysis, photos: PagePhotos) -> dict[str, Any]:
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
            title: {"shown": photos.details(rows.index.tolist()), "exist": len(rows) > 0}
            for title, rows in chosen.items()
        }
    }


def one_class(analysis: Analysis, photos: PagePhotos) -> dict[str, Any]:
    """By class: the surest right photos and the furthest wrong ones."""
    predictions = analysis.predictions
    verbs = {"correct": predictions.most_correct, "incorrect": predictions.most_incorrect}
    return {
        "by_class": {
            name: {
                key: photos.indices(best(name, A_CLASS).index.tolist())
                for key, best in verbs.items()
            }
            for name in predictions.classes
        }
    }


def classes(analysis: Analysis, _: PagePhotos) -> dict[str, Any]:
    """A row a class: its numbers, and the class it is most often taken for."""
    predictions = analysis.predictions
    report = predictions.classification_report()
    wrong = predictions.confusion_matrix().to_numpy().copy()
    np.fill_diagonal(wrong, 0)
    values: Any = report.astype(object).where(report.notna(), None).to_dict("index")
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(predictions.classes):
        taken = int(wrong[i].argmax())
        confused = f"{predictions.classes[taken]} ({wrong[i, taken]})" if wrong[i].any() else ""
        rows.append({"name": name, "confused": confused, **values[name]})
    return {"classes": rows}


def layers(analysis: Analysis, _: PagePhotos) -> dict[str, Any] | None:
    """The first kernels, and for each stage the strongest patches of its channels."""
    stages, kernels = [], analysis.kernels
    if kernels is None and not analysis.stages:
        return None
    for stage in analysis.stages:
        height, width = stage.field.pixels
        channels = {c: [_patch(p) for p in ps] for c, ps in stage.patches.items() if ps}
        # A ring is drawn where a patch is so large that one would not know where to look.
        large = max(height, width) > 0.5 * max(analysis.trained.model.size)
        sees = f"{height} x {width} pixels"
        stages.append({"name": stage.name, "channels": channels, "large": large, "sees": sees})
    return {
        "stages": stages,
        "kernels": png_uri(charts.kernels_png(kernels)) if kernels is not None else "",
        "wanted": bool(analysis.settings.channels),
    }


def calibration(analysis: Analysis, _: PagePhotos) -> dict[str, Any]:
    """The reliability diagram."""
    return {"reliability": as_svg(charts.reliability_diagram(analysis))}


def suspects(analysis: Analysis, photos: PagePhotos) -> dict[str, Any]:
    """Labels that are probably wrong, the most suspect first."""
    paths = analysis.all_predictions.table["path"]
    index_of = dict(zip(paths, analysis.extracted.indices, strict=True))
    rows = []
    for row in analysis.suspects.head(SUSPECTS).to_dict("records"):
        index = index_of[row["path"]]
        photos.caption(index, row["path"], f"labelled {row['given']}, looks like {row['label']}")
        rows.append({**row, "photo": index if photos.budget.take([index]) else None})
    splits = analysis.suspects["split"]
    return {"rows": rows, "total": len(splits), "test": int((splits == TEST).sum())}


def data(analysis: Analysis, _: PagePhotos) -> dict[str, Any]:
    """The run's photos: counts by class, sizes, and augmented views."""
    return {
        "pictures": {
            # Photos would be large as PNG, lines and bars blurred as JPEG.
            tag: jpeg_uri(pixels(figure)) if tag == "augmented" else as_svg(figure)
            for tag, figure in charts.data_pictures(analysis).items()
        },
        "training_views": charts.training_views(analysis)[1],
    }


def config(analysis: Analysis, _: PagePhotos) -> dict[str, Any]:
    """The run's config.yaml."""
    return {"config_yaml": to_yaml(analysis.trained.run.config)}


# In the order of the page.
for section in (
    Section("numbers", "Numbers", "metrics and learning curves", numbers),
    Section("matrix", "Confusions", "the confusion matrix", matrix, turn=5),
    Section("pairs", "", "the most confused pairs", pairs, turn=2),
    Section("losses", "Top losses", "the highest losses, with Grad-CAM", top_losses, turn=1),
    Section("galleries", "Galleries", "right, wrong and uncertain photos", galleries, turn=3),
    Section("one-class", "", "right and wrong photos of one class", one_class, turn=6),
    Section("classes", "Classes", "a row of numbers a class", classes),
    Section("layers", "Layers", "kernels, and patches that excite channels", layers),
    Section("calibration", "Calibration", "whether confidence is accuracy", calibration),
    Section("suspects", "Labels", "labels that may be wrong", suspects, turn=4),
    Section("data", "Data", "classes, sizes, augmented photos", data),
    Section("config", "Config", "the run's config", config),
):
    SECTIONS.add(section)


def _cell(analysis: Analysis, actual: str, predicted: str) -> list[int]:
    """Rows of one cell of the matrix, the surest mistakes first."""
    table = analysis.predictions.table
    rows = table[(table["label"] == actual) & (table["prediction"] == predicted)]
    return rows.sort_values("loss", ascending=False, kind="stable").index.tolist()


def _patch(patch: Patch) -> dict[str, Any]:
    content = b64encode(jpeg(patch.pixels, 96)).decode()
    return {
        "uri": f"data:image/jpeg;base64,{content}",
        "activation": patch.activation,
        "unit": patch.unit,
    }
