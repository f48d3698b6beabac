"""Label rules: the label of each photo. New rules are added to `LABEL_RULES`."""

from __future__ import annotations

import shlex
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pets.config import DataConfig
from pets.config.instantiate import imported
from pets.data.diagnostics import Diagnostics
from pets.data.name_matching import captured
from pets.data.splits import TRAIN, VALID, folders_of, split_folders
from pets.data.superclasses import by_pattern
from pets.data.tables import labels_from_table
from pets.errors import ConfigError, DataError, some
from pets.registry import Registry

Labels = dict[str, str | None]  # by path below data.root; None: no label


@dataclass(frozen=True)
class LabelRule:
    """A way to label photos, chosen by `data.label_from`.

    Attributes:
        name: the value of `data.label_from`.
        doc: one line about it.
        label: returns the labels of photos, given as paths below `data.root`, the config and the
            diagnostics. It raises DataError for an invalid config, and may leave out photos.
        unlabelled: message about photos without a label; `{config}` is the data config.
    """

    name: str
    doc: str
    label: Callable[[list[str], DataConfig, Diagnostics], Labels]
    unlabelled: str


LABEL_RULES: Registry[LabelRule] = Registry()


def label_rule(name: str) -> LabelRule:
    """Return the rule of this name, or one that calls the function at this dotted path.

    The function gets a photo's path below `data.root`, with `/`, and returns its label, or None.
    Raises ConfigError if there is no such function.
    """
    if name in LABEL_RULES:
        return LABEL_RULES[name]
    function = imported("data.label_from", name)
    if not callable(function):
        raise ConfigError(
            f"data.label_from={name}: is not a function; expected one that takes a photo's path"
        )

    def label(paths: list[str], config: DataConfig, diagnostics: Diagnostics) -> Labels:
        return {path: _own_label(name, function, path) for path in paths}

    return LabelRule(name, "a function of the photo's path", label, f"{name} returns None for")


def _own_label(name: str, function: Callable[[str], object], path: str) -> str | None:
    try:
        label = function(path)
        if label is None or (isinstance(label, str) and label):
            return label
        raise TypeError(f"it returns {label!r}, expected a text or None")
    except Exception as error:  # the function may be anybody's
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"data.label_from={name}: fails for {path} ({reason})") from error


def label_from_filename(paths: list[str], label_regex: str) -> Labels:
    """Match the regex only on the file name (fastai's `from_name_re`), so it works on every OS.

    The label is the group named `label`, else the first group; None where nothing matches.
    """
    names = {path: PurePosixPath(path).name for path in paths}
    labels = captured(label_regex, "label", names.values())
    return {path: labels[name] for path, name in names.items()}


def label_from_superclass(paths: list[str], config: DataConfig, diagnostics: Diagnostics) -> Labels:
    """Return the superclass of the class in each file's name. Raises DataError.

    `data.superclass` says which, as cats and dogs of 37 breeds (fastai's `is_cat`); it is None for
    a photo whose class has none.
    """
    assert isinstance(config.superclass, dict)  # the config has checked it
    classes = label_from_filename(paths, config.label_regex or "")
    groups = by_pattern(config.superclass, sorted(set(filter(None, classes.values()))))
    return {path: groups.get(label or "") for path, label in classes.items()}


def label_from_folder(paths: list[str], config: DataConfig, diagnostics: Diagnostics) -> Labels:
    """Return the first folder below the photos' folder, or below a split's, as the label.

    That is the rule of torchvision's ImageFolder. The label is None for photos in no such folder.

    Folders beside the training photos' without folders inside have no labels: they are left out
    and reported. Where photos lie deeper everywhere, `data.class_folder` must choose. Raises
    DataError.
    """
    images = Path(config.root) / config.images
    folders = {path: folders_of(path, config.images) for path in paths}
    if splits := split_folders(paths, config):
        inside = defaultdict(list)
        for path, names in folders.items():
            inside[names[0] if names else ""].append(path)
        for top, its in sorted(inside.items()):
            if splits.get(top, top) in (TRAIN, VALID, "") or any(len(folders[p]) > 1 for p in its):
                continue
            typed = shlex.quote(f"source={images / top}")
            line = (
                f"left out <n> photos of {images / top}: no class folders are in it, so "
                f"they have no labels; pets predict {typed} classifies them"
            )
            diagnostics.left_out |= set(its)
            diagnostics.warning("unlabelled", its, line)
            folders = {path: names for path, names in folders.items() if path not in set(its)}
        folders = {path: names[1:] for path, names in folders.items()}
    deep = [path for path, names in folders.items() if len(names) > 1]
    if deep and config.class_folder is None:
        first, last = ({folders[path][which] for path in deep} for which in (0, -1))
        if any(len(names) == 1 for names in folders.values()):
            line = (
                f"{images}: <n> photos are in folders inside a class's folder and count as photos "
                "of this class: <photos>; data.class_folder=last makes classes of the inner folders"
            )
            diagnostics.note("nested", deep, line)
        else:
            line = (
                f"{images}: which folder of {deep[0]} is the class? data.class_folder=first "
                f"({some(sorted(first))}) or data.class_folder=last ({some(sorted(last))}); if the "
                'first are splits, "data.split_folders={train: <folder>, test: <folder>}"'
            )
            diagnostics.error("unlabelled", None, line)
    which = -1 if config.class_folder == "last" else 0
    return {path: names[which] if names else None for path, names in folders.items()}


def alike(labels: Iterable[str]) -> list[list[str]]:
    """Group labels that differ only in case, Unicode form, punctuation or leading zeros."""
    groups = defaultdict(list)
    for label in sorted(set(labels)):
        spelled = unicodedata.normalize("NFKC", label).casefold()
        letters = [sign for sign in spelled if unicodedata.category(sign)[0] in "LMN"]
        groups["".join(letters).lstrip("0") or label].append(label)
    return [group for group in groups.values() if len(group) > 1]


LABEL_RULES.add(
    LabelRule(
        "filename",
        "a group of a regular expression on the file's name",
        lambda paths, config, _: label_from_filename(paths, config.label_regex or ""),
        "data.label_regex={config.label_regex} does not match",
    )
)
LABEL_RULES.add(
    LabelRule("folder", "the folder of a class", label_from_folder, "no label folder around")
)
LABEL_RULES.add(
    LabelRule(
        "table",
        "a column of a CSV or Parquet file of photos",
        labels_from_table,
        "data.table={config.table} has no label for",
    )
)
LABEL_RULES.add(
    LabelRule(
        "superclass",
        "the superclass of the class in the file's name",
        label_from_superclass,
        "data.superclass={config.superclass} has no group for the class of",
    )
)
