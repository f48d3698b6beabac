"""A report with its files: page, predictions table, suspected labels, summary, TensorBoard."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.loggers import Logger

from pets.config import InterpretSettings
from pets.data.external import result_name
from pets.data.photos import OTHER, Photos
from pets.distributed.ranks import ranks
from pets.errors import RunError
from pets.interpretation.analysis import Analysis, analyse
from pets.interpretation.suspects import write_suspects
from pets.io.atomic import check_writable, write_atomically
from pets.io.serialize import to_json
from pets.report.page import write_page
from pets.report.tensorboard import add_pictures
from pets.training.evaluation import Trained, split_of
from pets.training.metrics_csv import read_metrics

log = logging.getLogger(__name__)


def write_report(
    trained: Trained,
    photos: Photos,
    settings: InterpretSettings,
    split: str = "auto",
    ckpt: str = "last",
    others: Photos | None = None,
    loggers: Sequence[Logger] = (),
) -> Analysis:
    """Analyse a split, write the report and its files, and return the analysis.

    The page of the run's own test photos (or validation photos, where it has none) is
    `report.html` in the run directory; any other lies with its table in `interpret/<name>/`.
    Raises PetsError.
    """
    began = time.perf_counter()
    main = split_of(trained.run, "auto")
    split = OTHER if others is not None else split_of(trained.run, split)
    name = result_name(others) if others is not None else split
    name += "_best" if ckpt == "best" else ""
    name += f"_tta{settings.tta}" if settings.tta > 1 else ""
    run = trained.run.path
    folder = run / "interpret" / name
    page = run / "report.html" if name == main else folder / "report.html"
    check_writable(folder, page.parent)
    analysis = analyse(trained, photos, split, settings, others)
    try:
        if ranks().writer:
            _write(analysis, folder, page, ckpt, loggers, name)
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written ({error.strerror or error}); what was there before and "
            "is not yet replaced stays. Make room, or see that you may write there"
        ) from error
    log.info(
        "%s of %s %s photos right; %.0f s; report %s",
        f"{int(analysis.predictions.correct.sum()):,}", f"{len(analysis.predictions):,}", split,
        time.perf_counter() - began, page,
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
