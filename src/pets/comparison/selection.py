"""Choose the photos that two runs are compared on: neither of them was trained on any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pets.config import CompareConfig
from pets.data.photos import OTHER, Photo, Photos
from pets.data.splits import TRAIN, VALID
from pets.errors import DataError, RunError, some
from pets.training.checkpoints import Trained
from pets.training.evaluation import select_photos
from pets.training.table import load_table


@dataclass(frozen=True)
class Chosen:
    """The photos to compare on.

    Attributes:
        split: The split of the new run that they are from, or `other`.
        root: The folder that their paths are below.
        photos: The photos, each once.
        contents: The content hashes of the whole split, with photos that are left out.
        classes: The classes that both runs have.
        notes: What was left out and what to be careful of, in sentences.
    """

    split: str
    root: Path
    photos: list[Photo]
    contents: list[bytes]
    classes: list[str]
    notes: list[str]


def choose(old: Trained, new: Trained, config: CompareConfig) -> Chosen:
    """Choose held-out photos of the new run with its labels, or external ones.

    A photo is told by its bytes, whatever its name: of copies, the first counts; a recompressed or
    resized copy of a photo that a run was trained on is not recognised.

    Raises:
        ConfigError: The options contradict each other.
        DataError: A run was trained on some of the photos, or none are left.
        RunError: The runs have no two classes in common, or a file of theirs does not fit.
    """
    classes = _common_classes(old, new)
    asked = select_photos(new, config.data, config.split)
    here, contents = asked.external or asked.own, asked.contents
    by_content: dict[str, Photo] = {}
    for content, photo in zip(contents, here.of(asked.split), strict=True):
        by_content.setdefault(content.hex(), photo)
    notes = _class_notes(old, new, classes, by_content)
    if copies := len(contents) - len(by_content):
        notes.append(f"Copies left out: {copies:,}; each picture counts once.")
    rows = {content: p for content, p in by_content.items() if p.label in classes}
    tables = [load_table(t.run, here.root) for t in (old, new)]
    rows = _never_trained_on(rows, tables, config, asked.split, notes)
    notes += _table_notes(rows, tables, asked.split)
    notes += _earlier_notes(old, new)
    return Chosen(asked.split, here.root, [*rows.values()], contents, classes, notes)


def _common_classes(old: Trained, new: Trained) -> list[str]:
    theirs, own = old.model.classes, new.model.classes
    common = [name for name in own if name in theirs]
    if len(common) < 2:
        only = f"only {common[0]}" if common else "none"
        raise RunError(
            f"old={old.run.path}: of its classes ({some(theirs)}) new={new.run.path} has {only} "
            f"({some(own)}); expected two runs with at least two classes in common"
        )
    return common


def _class_notes(
    old: Trained, new: Trained, classes: list[str], rows: dict[str, Photo]
) -> list[str]:
    notes = []
    for word, trained in (("old", old), ("new", new)):
        if other := [name for name in trained.model.classes if name not in classes]:
            notes.append(f"Classes of the {word} run alone: {some(other)}.")
    if notes:
        out = sum(photo.label not in classes for photo in rows.values())
        notes.append(
            f"Both runs choose among the {len(classes):,} classes that they have in common; "
            f"{out:,} photos of other classes are left out."
        )
    return notes


def _never_trained_on(
    rows: dict[str, Photo], tables: Sequence[Photos], config: CompareConfig, split: str,
    notes: list[str],
) -> dict[str, Photo]:  # fmt: skip
    """Return the photos that neither run was trained on. Raises DataError, unless `leave_out`."""
    of_run = [{p.content for p in table.of(TRAIN)} & rows.keys() for table in tables]
    left = {content: p for content, p in rows.items() if content not in of_run[0] | of_run[1]}
    names = (f"old={config.old}", f"new={config.new}")
    counts = [f"{len(own):,} of {name}" for name, own in zip(names, of_run, strict=True) if own]
    seen = f"{len(rows) - len(left):,} of the {len(rows):,} {split} photos are training photos"
    if counts and left and config.leave_out:
        notes.append(f"Left out: {seen} ({', '.join(counts)}).")
    elif counts:
        rest = f"leave_out=true compares on the other {len(left):,}, " if left else ""
        raise DataError(
            f"{seen} ({', '.join(counts)}); {rest}data.root=<folder> on photos from elsewhere"
        )
    elif not left:
        raise DataError(f"{names[1]}: no {split} photo of a class that both runs have")
    return left


def _earlier_notes(old: Trained, new: Trained) -> list[str]:
    """Name weights that a run began with, if they are neither pretrained nor of the other run."""
    notes = []
    for word, trained, other in (("old", old, new), ("new", new, old)):
        weights = trained.config.model.weights
        if weights in ("default", "package", "none") or weights.startswith("hf-hub:"):
            continue
        if not trained.run.root(weights).resolve().is_relative_to(other.run.path.resolve()):
            notes.append(
                f"The {word} run began with the weights in {weights}: whether those were trained "
                "on some of the photos is not known."
            )
    return notes


def _table_notes(rows: dict[str, Photo], tables: Sequence[Photos], split: str) -> list[str]:
    """Say what the runs' own tables know of the photos."""
    notes = []
    for word, table in zip(("old", "new"), tables, strict=True):
        chosen = sum(p.split == VALID and p.content in rows for p in table.rows)
        if chosen:
            notes.append(
                f"{chosen:,} of the photos are validation photos of the {word} run, by which its "
                "best epoch and its temperature were chosen: it may look better than it is."
            )
        known = [p for p in table.rows if p.content in rows]
        if other := sum(p.label != rows[p.content].label for p in known):
            counts = "the one given here" if split == OTHER else "the new run's"
            notes.append(f"With another label in the {word} run: {other:,}; {counts} counts.")
    return notes
