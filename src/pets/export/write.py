"""Export of a trained run: each format's folder is written, checked, described, or not there."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from pets.errors import ExportError, some
from pets.export.card import card
from pets.export.check import SCRIPT, Check, check
from pets.export.destination import check_free, list_files, listed
from pets.export.formats import FORMATS
from pets.export.int8 import FILE, Quantised, quantise
from pets.export.metadata import Metadata
from pets.export.reference import Reference
from pets.export.scripts import whole
from pets.io.atomic import folder_atomically
from pets.io.serialize import to_json
from pets.models.classifier import Classifier

log = logging.getLogger(__name__)

_CHECKED = "check.json"


def check_formats(formats: list[str], model: Classifier, out: Path) -> None:
    """Check, before anything is written, that every format can be.

    Raises:
        ExportError: a format cannot express the network.
        ConfigError: a folder holds files of the user's.
    """
    for name in formats:
        FORMATS[name].check(model)
        check_free(out / name, out)


def export(name: str, out: Path, metadata: Metadata, reference: Reference, int8: bool) -> None:
    """Write `out/<name>`, check it, and describe it; nothing is left of an export that fails.

    Args:
        name: the format.
        out: the folder of all formats.
        metadata: what the export says of the run.
        reference: photos, and the run's own logits for them.
        int8: also try 8-bit integers.

    Raises:
        ExportError: its logits are not the run's, or it cannot be written.
        ConfigError: the folder holds files of the user's.
    """
    folder = out / name
    before = listed(folder)
    log.info("%s: written, then run on %s photos ...", name, f"{len(reference.rows):,}")
    try:
        checked, quantised = _write_and_check(name, folder, metadata, reference, int8)
    except OSError as error:
        reason = error.strerror or error
        raise ExportError(f"{folder}: cannot be written ({reason})") from error
    _log_result(name, folder, checked, quantised)
    if gone := sorted(set(before) - set(listed(folder))):
        log.warning("  the export before had %s, which this one has not", some(gone))


def _write_and_check(
    name: str, final: Path, metadata: Metadata, reference: Reference, int8: bool
) -> tuple[Check, Quantised | None]:
    with folder_atomically(final) as folder:
        FORMATS[name].write(folder, metadata)
        (folder / SCRIPT).write_text(whole(name), encoding="utf-8")
        checked = check(folder, name, reference)
        quantised = quantise(folder, reference) if int8 and name == "onnx" else None
        text = card(name, metadata, checked, quantised)
        (folder / "README.md").write_text(text, encoding="utf-8")
        values = {
            "format": name,
            **checked.as_dict(),
            "int8": quantised and quantised.as_dict(),
        }
        for file in folder.iterdir():
            shutil.copymode(folder / "README.md", file)  # safetensors are made for the owner alone
        (folder / _CHECKED).write_text(to_json(values, indent=2) + "\n", encoding="utf-8")
        list_files(folder)
        check_free(final, final.parent)  # again: writing took its time
    return checked, quantised


def _log_result(name: str, folder: Path, checked: Check, quantised: Quantised | None) -> None:
    same, by_file = checked.pictures, checked.files
    log.info("%s  %s", name, folder)
    log.info(
        "  same pictures: %s of %s %s photos get the same class, logits differ by up to %.1e",
        f"{same.same_class:,}", f"{same.photos:,}", checked.split, same.logits,
    )  # fmt: skip
    log.info(
        "  from photo files, without pets: %s of %s, logits by up to %.1e, probabilities by %.1e",
        f"{by_file.same_class:,}", f"{by_file.photos:,}", by_file.logits, by_file.shift,
    )  # fmt: skip
    if quantised is not None and quantised.kept:
        log.info("  %s: %s", FILE, quantised.summary)
    elif quantised is not None:
        log.warning(
            "  int8 is not worth it here, the float model stands alone: %s", quantised.summary
        )
