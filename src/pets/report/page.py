"""The report as one HTML file that asks the net for nothing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from pets.interpretation.analysis import Study
from pets.io.atomic import write_atomically
from pets.io.figures import as_svg
from pets.io.pictures import jpeg_uri, pixels, png_uri
from pets.io.serialize import to_yaml
from pets.lr_finder.search import FOLDER as LR_FINDER
from pets.report import charts
from pets.report.image_budget import Album
from pets.report.sections import Sections
from pets.report.template import own, template
from pets.training.metrics_csv import read_metrics

_PACKAGE = "pets.report"


def write_page(study: Study, file: Path, suspects: Path) -> None:
    """Write the page about a study; `suspects` is the CSV that it names."""
    run, config = study.trained.run, study.trained.config
    album = Album(study.observed.thumbnails, study.settings.megabytes)
    sections = Sections(study, album)
    # In this order the photos get their room.
    context: dict[str, Any] = {
        "numbers": sections.numbers(),
        "top_losses": sections.top_losses(),
        "pairs": sections.confused_pairs(),
        "galleries": sections.galleries(),
        "suspects": sections.suspects(),
        "matrix": sections.matrix(),
        "class_galleries": sections.class_galleries(),
        "classes": sections.classes(),
        "layers": sections.layers(),
    }
    epochs = read_metrics(run.path / "metrics.csv")
    context |= {
        "curves": as_svg(charts.learning_curves(epochs)) if epochs else None,
        "finder": {p.stem: png_uri(p.read_bytes()) for p in _finder_pictures(study)},
        "reliability": as_svg(charts.reliability_diagram(study)),
        "data_pictures": {
            # Photos would be large as PNG, lines and bars blurred as JPEG.
            tag: jpeg_uri(pixels(figure)) if tag == "augmented" else as_svg(figure)
            for tag, figure in charts.data_pictures(study).items()
        },
        "training_views": charts.training_views(study)[1],
        "kernels": png_uri(charts.kernels_png(study.kernels)) if study.kernels is not None else "",
        "album": {
            "photos": album.photos,
            "captions": sections.captions,
            "refused": len(album.refused),
        },
        "study": study,
        "config": config,
        "config_yaml": to_yaml(run.config),
        "suspects_file": suspects,
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "style": own(_PACKAGE, "page.css"),
        "script": own(_PACKAGE, "page.js", "sort.js"),
    }
    write_atomically(file, template(_PACKAGE, "page.html").render(context).encode())


def _finder_pictures(study: Study) -> list[Path]:
    """The lr finder's curves, those of the plan's stages first, in its order."""
    stages = list(study.trained.config.plan.stages)
    found = sorted((study.trained.run.path / LR_FINDER).glob("*.png"))
    return sorted(found, key=lambda p: stages.index(p.stem) if p.stem in stages else len(stages))
