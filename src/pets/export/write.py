"""From a trained run to folders that are whole, described and checked, or not there."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pets.config import ExportFormat
from pets.errors import ExportError, some
from pets.export import hub, onnx, safetensors
from pets.export.card import card
from pets.export.check import SCRIPT, Check, check
from pets.export.destination import check_free, list_files, listed
from pets.export.facts import Facts
from pets.export.int8 import FILE, Quantised, quantise
from pets.export.reference import Reference
from pets.export.scripts import whole
from pets.io.atomic import folder_atomically
from pets.io.serialize import to_json
from pets.models.classifier import Classifier

log = logging.getLogger(__name__)

_CHECKED = "check.json"


@dataclass(frozen=True)
class Format:
    """How a form is written; `check` refuses networks that it cannot express, before anything is
    read or written."""

    write: Callable[[Path, Facts], None]
    check: Callable[[Classifier], None]


def _any_network(model: Classifier) -> None:
    """What torch cannot express shows when it is tried."""


_FORMATS: dict[ExportFormat, Format] = {
    "safetensors": Format(safetensors.write, safetensors.check),
    "onnx": Format(onnx.write, _any_network),
    "hub": Format(hub.write, hub.check),
}


def check_formats(formats: list[ExportFormat], model: Classifier, out: Path) -> None:
    """Raises ExportError for a network that one of the formats cannot express, and ConfigError
    where a folder has something of the user's in its place."""
    for name in formats:
        _FORMATS[name].check(model)
        check_free(out / name, out)


def export(name: ExportFormat, out: Path, facts: Facts, reference: Reference, int8: bool) -> None:
    """Write, check and describe `out/<name>`; it is there when all of that went well.

    Raises ExportError where it does not do as the run does, or cannot be written, and ConfigError
    where files of the user's are in its place.
    """
    place = out / name
    before = listed(place)
    log.info("%s: written, then run on %s photos ...", name, f"{len(reference.rows):,}")
    try:
        found, small = _whole(name, place, facts, reference, int8)
    except OSError as error:
        reason = error.strerror or error
        raise ExportError(f"{place}: cannot be written ({reason})") from error
    _say(name, place, found, small)
    if gone := sorted(set(before) - set(listed(place))):
        log.warning("  the export before had %s, which this one has not", some(gone))


def _whole(
    name: ExportFormat, place: Path, facts: Facts, reference: Reference, int8: bool
) -> tuple[Check, Quantised | None]:
    with folder_atomically(place) as folder:
        _FORMATS[name].write(folder, facts)
        (folder / SCRIPT).write_text(whole(name), encoding="utf-8")
        found = check(folder, name, reference)
        small = quantise(folder, reference) if int8 and name == "onnx" else None
        (folder / "README.md").write_text(card(name, facts, found, small), encoding="utf-8")
        values = {"format": name, **found.as_dict(), "int8": small and small.as_dict()}
        for file in folder.iterdir():
            shutil.copymode(folder / "README.md", file)  # safetensors are made for the owner alone
        (folder / _CHECKED).write_text(to_json(values, indent=2) + "\n", encoding="utf-8")
        list_files(folder)
        check_free(place, place.parent)  # again: writing took its time
    return found, small


def _say(name: str, place: Path, found: Check, small: Quantised | None) -> None:
    same, by_file = found.pictures, found.files
    log.info("%s  %s", name, place)
    log.info(
        "  same pictures: %s of %s %s photos get the same class, logits differ by up to %.1e",
        f"{same.same_class:,}", f"{same.photos:,}", found.split, same.logits,
    )  # fmt: skip
    log.info(
        "  from photo files, without pets: %s of %s, logits by up to %.1e, probabilities by %.1e",
        f"{by_file.same_class:,}", f"{by_file.photos:,}", by_file.logits, by_file.shift,
    )  # fmt: skip
    if small is not None and small.kept:
        log.info("  %s: %s", FILE, small.words)
    elif small is not None:
        log.warning("  int8 is not worth it here, the float model stands alone: %s", small.words)
