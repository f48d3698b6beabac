"""`pets predict`: name what is on a photo, in a folder, or in a list of photos."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pets.config import PredictConfig
from pets.errors import ConfigError, DataError
from pets.validation import typed

if TYPE_CHECKING:
    from pets.prediction import Prediction

SCHEMA = PredictConfig
log = logging.getLogger(__name__)

_SHOWN = 40  # rows on screen; the file has them all


def run(cfg: DictConfig) -> None:
    """Predict, show the first rows, and write them all."""
    config = typed(PredictConfig, cfg)
    from pets.run_dir import RunDir

    run_dir = RunDir.open_finished(config.run)

    from tqdm import tqdm

    from pets.evaluation import load_run
    from pets.lightning import quiet
    from pets.memory import keep_freed_memory
    from pets.prediction import find_source, predict
    from pets.prediction_files import prediction_file

    quiet()
    keep_freed_memory()
    _check_device(config.device)
    files = find_source(config.source)
    model = load_run(run_dir, config.ckpt).model
    source = Path(config.source).resolve()
    name = (source.name if source.is_dir() else source.stem) or "predictions"
    out = Path(config.out) if config.out else run_dir.path / "predictions" / f"{name}.csv"
    first: list[Prediction] = []
    unreadable: list[str] = []
    batches = predict(model, files, config.batch_size, config.num_workers, config.device)
    with (
        prediction_file(out, model.classes) as write,
        tqdm(total=len(files), unit="photo", leave=False, disable=None) as bar,
    ):
        for batch in batches:
            write(batch)
            first += batch[: max(_SHOWN - len(first), 0)]
            unreadable += [row.error for row in batch if row.error]
            bar.update(len(batch))
    _show(first, len(files), model.classes, min(config.top, len(model.classes)))
    for line in unreadable[:_SHOWN]:
        log.warning("skipped: %s", line)
    done = len(files) - len(unreadable)
    if not done:
        raise DataError(f"source={config.source}: none of the files could be read")
    log.info("%s of %s photos named, written to %s", f"{done:,}", f"{len(files):,}", out)


def _check_device(device: str) -> None:
    import torch

    try:
        if device != "auto":
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:100]
        raise ConfigError(f"device={device}: cannot be used here ({reason}); use auto") from error


def _show(rows: list[Prediction], total: int, classes: list[str], top: int) -> None:
    shown = [row for row in rows if row.probabilities is not None]
    if not shown:
        return
    width = min(max(len(_short(row.file)) for row in shown), 40)
    breed = max(map(len, classes))
    log.info("%s  %s  %6s  runners-up", "file".ljust(width), "breed".ljust(breed), "prob")
    for row in shown:
        assert row.probabilities is not None
        ranked = sorted(zip(row.probabilities, classes, strict=True), reverse=True)[:top]
        others = ", ".join(f"{name} {100 * p:.1f} %" for p, name in ranked[1:])
        (p, name) = ranked[0]
        log.info(
            "%s  %s  %4.1f %%  %s",
            _short(row.file).ljust(width),
            name.ljust(breed),
            100 * p,
            others,
        )
    if total > len(rows):
        log.info("... and %s more in the file", f"{total - len(rows):,}")


def _short(file: Path) -> str:
    name = str(file)
    return name if len(name) <= 40 else f"...{name[-37:]}"
