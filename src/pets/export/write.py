"""Export a trained run; each format's folder appears only after it has been verified."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from pets.errors import ConfigError, ExportError
from pets.export.card import render_card
from pets.export.check import SCRIPT, check
from pets.export.formats import FORMATS
from pets.export.int8 import FILE, quantise
from pets.export.metadata import Metadata
from pets.export.promise import check_promise, write_promise
from pets.export.reference import Reference
from pets.export.scripts import standalone_script
from pets.io.atomic import folder_atomically
from pets.io.serialize import to_json
from pets.models.classifier import Classifier

log = logging.getLogger(__name__)


def check_formats(formats: list[str], model: Classifier, out: Path) -> None:
    """Check that every format can be written, before any is.

    Raises:
        ExportError: A format cannot express the network.
        ConfigError: A format's folder exists already.
    """
    for name in formats:
        _check_module(name, model)
        FORMATS[name].module.check(model)
        _check_free(out / name)


def _check_module(name: str, model: Classifier) -> None:
    """Refuse a network of one's own where its code would be needed. Raises ExportError."""
    module = model.config.module
    if module is not None and name != "onnx":
        raise ExportError(
            f"to={name}: its predict.py would need the code of model.module={module}; expected "
            "to=onnx, which needs none"
        )


def export(name: str, out: Path, metadata: Metadata, reference: Reference, int8: bool) -> None:
    """Write `out/<name>`, verify it, and add a model card; a failed export leaves nothing behind.

    Args:
        name: The format.
        out: The folder of all formats.
        metadata: The metadata of the run.
        reference: Photos, and the run's own logits for them.
        int8: Whether to try INT8 quantisation, too.

    Raises:
        ExportError: Its logits differ from the run's, or it cannot be written.
        ConfigError: The format's folder exists already.
    """
    final = out / name
    log.info("%s: writing it, and checking it on %s photos ...", name, f"{len(reference.rows):,}")
    try:
        with folder_atomically(final) as folder:
            FORMATS[name].module.write(folder, metadata)
            (folder / SCRIPT).write_text(standalone_script(name), encoding="utf-8")
            checked = check(folder, name, reference)
            promise = None
            if metadata.promise is not None:
                write_promise(folder, metadata.promise)
                promise = check_promise(folder, name, reference, metadata.promise)
            quantised = quantise(folder, reference) if int8 and name == "onnx" else None
            text = render_card(name, metadata, checked, quantised, promise)
            (folder / "README.md").write_text(text, encoding="utf-8")
            for file in folder.iterdir():
                shutil.copymode(folder / "README.md", file)  # save_file makes its file owner-only
            values = {
                "format": name,
                **checked.as_dict(),
                "int8": quantised and quantised.as_dict(),
                **({"unsure": promise.as_dict()} if promise else {}),
            }
            (folder / "check.json").write_text(to_json(values, indent=2) + "\n", encoding="utf-8")
            _check_free(final)  # again: it may have appeared meanwhile
    except OSError as error:
        reason = error.strerror or error
        raise ExportError(f"{final}: cannot be written ({reason})") from error
    same, by_file = checked.pictures, checked.files
    log.info("%s  %s", name, final)
    log.info(
        "  same pictures: %s of %s %s photos get the same class, logits differ by up to %.1e",
        f"{same.same_class:,}", f"{same.photos:,}", checked.split, same.logits,
    )  # fmt: skip
    log.info(
        "  from photo files, without pets: %s of %s, logits by up to %.1e, probabilities by %.1e",
        f"{by_file.same_class:,}", f"{by_file.photos:,}", by_file.logits, by_file.shift,
    )  # fmt: skip
    if promise:
        log.info("  %s", promise.summary)
    if quantised and quantised.kept:
        log.info("  %s: %s", FILE, quantised.summary)
    elif quantised:
        log.warning(
            "  int8 does not pay off here, only the float model is kept: %s", quantised.summary
        )


def _check_free(folder: Path) -> None:
    """Raise ConfigError if the folder exists: it may contain the user's changes."""
    if folder.exists():
        raise ConfigError(
            f"{folder}: exists already; move it away, or export to another folder with out=..."
        )
