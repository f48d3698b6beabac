"""A report with its files: page, predictions table, suspected labels, summary, TensorBoard."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from pets.config import InterpretSettings
from pets.data.external import place_of
from pets.data.photos import OTHER, Photos
from pets.errors import RunError
from pets.interpretation.analysis import Study, study
from pets.interpretation.summary import summary
from pets.interpretation.suspects import write_suspects
from pets.io.atomic import write_atomically
from pets.io.serialize import to_json
from pets.io.writable import check_writable
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
) -> Study:
    """Study a split and write what was found; returns the study.

    The page of the run's own test photos (or validation photos, where it has none) is
    `report.html` in the run directory; any other lies with its table in `interpret/<name>/`.
    Raises PetsError.
    """
    began = time.perf_counter()
    main = split_of(trained.run, "auto")
    split = OTHER if others is not None else split_of(trained.run, split)
    name = place_of(others) if others is not None else split
    name += "_best" if ckpt == "best" else ""
    name += f"_tta{settings.tta}" if settings.tta > 1 else ""
    run = trained.run.path
    folder = run / "interpret" / name
    page = run / "report.html" if name == main else folder / "report.html"
    check_writable(folder, page.parent)
    found = study(trained, photos, split, settings, others)
    try:
        _write(found, folder, page, ckpt, loggers, name)
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written ({error.strerror or error}); what was there before and "
            "is not yet replaced stays. Make room, or see that you may write there"
        ) from error
    log.info(
        "%s of %s %s photos right; %.0f s; report %s",
        f"{int(found.found.correct.sum()):,}", f"{len(found.found):,}", split,
        time.perf_counter() - began, page,
    )  # fmt: skip
    return found


@rank_zero_only
def _write(
    found: Study, folder: Path, page: Path, ckpt: str, loggers: Sequence[Logger], name: str
) -> None:
    run = found.trained.run
    folder.mkdir(parents=True, exist_ok=True)
    about = {"run": run.path.name, "ckpt": ckpt, "views": found.settings.tta}
    found.all.save(folder / "predictions.parquet", **about)
    write_suspects(folder / "suspects.csv", found.suspects)
    write_atomically(
        folder / "summary.json", (to_json({**about, **summary(found)}, indent=2) + "\n").encode()
    )
    write_page(found, page, folder / "suspects.csv")
    epochs = read_metrics(run.path / "metrics.csv")
    add_pictures(found, loggers, name, step=epochs[-1]["step"] if epochs else 0)
