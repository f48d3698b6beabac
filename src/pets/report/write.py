"""A report with its files: page, predictions table, suspected labels, summary, and pictures in the
loggers."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateNotFound
from pytorch_lightning.loggers import Logger

from pets.config import InterpretSettings
from pets.data.external import result_name
from pets.data.photos import OTHER, Photos
from pets.errors import RunError
from pets.interpretation.analysis import Analysis, analyse
from pets.interpretation.suspects import write_suspects
from pets.io.atomic import check_writable, write_atomically
from pets.io.serialize import to_argument, to_json
from pets.report.photos import PagePhotos
from pets.report.pictures import add_pictures
from pets.report.published import split_in_words
from pets.report.sections import SECTIONS
from pets.report.template import own, template
from pets.training.checkpoints import Trained
from pets.training.evaluation import split_of
from pets.training.looks import COUNTED, count_look, count_look_among, looks_at
from pets.training.metrics_csv import read_metrics

log = logging.getLogger(__name__)


def write_page(analysis: Analysis, file: Path, suspects: Path) -> None:
    """Write the page of an analysis; `suspects` is the CSV of label suspects that it mentions."""
    photos, values = PagePhotos(analysis), dict[str, dict[str, Any]]()
    for section in sorted(SECTIONS.values(), key=lambda section: section.turn):
        filled = section.fill(analysis, photos)
        if filled is not None:
            values[section.name] = filled
    page = template("pets.report", "page.html").render(
        sections=[(s, values[s.name]) for s in SECTIONS.values() if s.name in values],
        headline=_headline(analysis),
        analysis=analysis,
        config=analysis.trained.config,
        suspects_file=suspects,
        relabel=to_argument("data.relabel", suspects),
        photos=photos,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        style=own("pets.report", "page.css"),
        script=own("pets.report", "page.js", "cams.js", "sort.js"),
    )
    write_atomically(file, page.encode())


def write_report(
    trained: Trained,
    photos: Photos,
    settings: InterpretSettings,
    split: str = "auto",
    ckpt: str = "last",
    external: Photos | None = None,
    loggers: Sequence[Logger] = (),
    looker: str | None = None,
) -> Analysis:
    """Analyse a split, write the report and its files, and return the analysis.

    The report on the run's own test photos (or validation photos) is `report.html` in the run
    directory; all others go to `interpret/<name>/`, next to their tables. A `looker`, the command's
    name, counts the look at test photos; without one it was counted before.

    Raises:
        PetsError: The photos cannot be read, or the report cannot be written.
    """
    started = time.perf_counter()
    main = split_of(trained.run, "auto")
    split = OTHER if external is not None else split_of(trained.run, split)
    name = result_name(external) if external is not None else split
    name += "_best" if ckpt == "best" else ""
    name += f"_tta{settings.tta}" if settings.tta > 1 else ""
    run = trained.run.path
    folder = run / "interpret" / name
    page = run / "report.html" if name == main else folder / "report.html"
    check_writable(folder, page.parent)
    analysis = analyse(trained, photos, split, settings, external)
    if looker is not None and split in COUNTED:
        count_look(trained.run, _contents(analysis), looker)
        if among := count_look_among(trained.run, _contents(analysis), looker):
            log.info("%s", among)
    try:
        _write(analysis, folder, page, ckpt, loggers, name)
    except TemplateNotFound:  # an OSError, but of a section that lacks its file
        raise
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written ({error.strerror or error}); existing files that were "
            "not replaced yet are unchanged. Free some space, or check the permissions"
        ) from error
    if suspects := len(analysis.suspects):
        log.info("%s labels may be wrong: %s", f"{suspects:,}", folder / "suspects.csv")
    log.info(
        "%s of %s %s photos right; %.0f s; report %s",
        f"{int(analysis.predictions.correct.sum()):,}", f"{len(analysis.predictions):,}", split,
        time.perf_counter() - started, page,
    )  # fmt: skip
    return analysis


def _write(
    analysis: Analysis, folder: Path, page: Path, ckpt: str, loggers: Sequence[Logger], name: str
) -> None:
    run = analysis.trained.run
    folder.mkdir(parents=True, exist_ok=True)
    about = {"run": run.path.name, "ckpt": ckpt, "views": analysis.settings.tta}
    analysis.all_predictions.save(folder / "predictions.parquet", **about)
    write_suspects(folder / "suspects.csv", analysis.suspects)
    summary = to_json({**about, **analysis.summary()}, indent=2) + "\n"
    write_atomically(folder / "summary.json", summary.encode())
    write_page(analysis, page, folder / "suspects.csv")
    epochs = read_metrics(run.path / "metrics.csv")
    add_pictures(analysis, loggers, name, step=epochs[-1]["step"] if epochs else 0)


def _contents(analysis: Analysis) -> list[bytes]:
    """Return the content hash of each photo of the split, readable or not."""
    rows = tuple(photo for photo in analysis.photos if photo.split == analysis.split)
    return Photos(analysis.root, rows).contents(rows)


def _headline(analysis: Analysis) -> dict[str, Any]:
    """Return the summary, what was measured, and the classes without photos."""
    predictions, data = analysis.predictions, analysis.trained.config.data
    photos, report = len(predictions), predictions.classification_report()
    absent = report.index[report["photos"] == 0].tolist()
    counted = analysis.split in COUNTED
    looks = looks_at(_contents(analysis), analysis.trained.run) if counted else None
    return {
        **analysis.summary(),
        "errors": int((~predictions.correct).sum()),
        "classes": len(predictions.classes) - len(absent),
        "absent": absent,
        "looks": looks,
        "measured_on": f"{analysis.root}, {photos:,} photos"
        if analysis.split == OTHER
        else split_in_words(data, analysis.split, photos),
    }
