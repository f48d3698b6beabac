"""Label rules: the label of each photo. `LABEL_RULES` is the one place where a rule is added."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pets.config import DataConfig
from pets.data.diagnostics import Diagnostics
from pets.data.split_folders import TRAIN, VALID, folders_of, split_folders
from pets.data.tables import label_from_table
from pets.errors import DataError, some
from pets.registry import Registry

Labels = dict[str, str | None]  # by the photo's path below data.root; None: it has no label


@dataclass(frozen=True)
class LabelRule:
    """A way to label photos, chosen by `data.label_from`.

    Attributes:
        name: the value of `data.label_from`.
        doc: one line about it.
        label: from photos, as paths below `data.root`, to their labels. It gets the config and the
            diagnostics too, and raises DataError for a mistake in the config.
        unlabelled: what is wrong with photos without a label; `{config}` is the data config.
        finds_photos: the rule knows itself which photos there are, and is given none.
    """

    name: str
    doc: str
    label: Callable[[list[str], DataConfig, Diagnostics], Labels]
    unlabelled: str
    finds_photos: bool = False


LABEL_RULES: Registry[LabelRule] = Registry()


def label_from_filename(paths: list[str], label_regex: str) -> dict[str, str | None]:
    """Match the regex on the file name alone (fastai's `from_name_re`), so it works on every OS.

    The label is the group named `label`, else the first group; None where nothing matches.
    Raises DataError for a regex that is wrong or has no group.
    """
    try:
        pattern = re.compile(label_regex)
    except re.error as error:
        raise DataError(f"data.label_regex={label_regex}: not a regex ({error})") from error
    if pattern.groups == 0:
        raise DataError(
            f"data.label_regex={label_regex}: has no group; put the label's part in brackets, "
            r"""e.g. "data.label_regex='^(.+)_\d+\.jpg$'" """.strip()
        )
    group: str | int = "label" if "label" in pattern.groupindex else 1
    matches = {path: pattern.search(PurePosixPath(path).name) for path in paths}
    return {path: (match[group] or None) if match else None for path, match in matches.items()}


def label_from_folder(
    paths: list[str], config: DataConfig, diagnostics: Diagnostics
) -> dict[str, str | None]:
    """The first folder below the photos' folder, or below a split's, as torchvision's ImageFolder
    has it; None for photos in no such folder.

    Folders beside the training photos' without folders inside have no labels: they are left out and
    told. Where photos lie deeper everywhere, which folder is the class must be said by
    `data.class_folder`. Raises DataError.
    """
    splits = split_folders(paths, config)
    folders = {path: folders_of(path, config.images) for path in paths}
    if splits:
        flat = defaultdict(list)
        for path, names in folders.items():
            if names and splits.get(names[0]) not in (TRAIN, VALID):
                flat[names[0]].append(path)
        for folder, inside in sorted(flat.items()):
            if all(len(folders[path]) == 1 for path in inside):
                diagnostics.left_out |= set(inside)
                diagnostics.warning("unlabelled", inside, _flat(folder, config))
                folders = {
                    path: names for path, names in folders.items() if path not in set(inside)
                }
        strange = {path for path, names in folders.items() if names and names[0] not in splits}
        folders = {path: names[1:] for path, names in folders.items()}
        _check_depth(
            {p: names for p, names in folders.items() if p not in strange}, config, diagnostics
        )
    else:
        _check_depth(folders, config, diagnostics)
    place = -1 if config.class_folder == "last" else 0
    return {path: names[place] if names else None for path, names in folders.items()}


def _flat(folder: str, config: DataConfig) -> Callable[[list[str]], str]:
    place = Path(config.root) / config.images / folder
    return lambda paths: (
        f"left out {len(paths):,} photos of {place}: no class folders are in it, so they have no "
        f"labels: {some(paths)}; pets predict source={place} names them"
    )


def _check_depth(
    folders: dict[str, tuple[str, ...]], config: DataConfig, diagnostics: Diagnostics
) -> None:
    deep = [path for path, names in folders.items() if len(names) > 1]
    if config.class_folder is not None or not deep:
        return
    place = Path(config.root) / config.images
    if any(len(names) == 1 for names in folders.values()):
        diagnostics.note(
            "nested",
            deep,
            lambda paths: (
                f"{place}: {len(paths):,} photos lie in folders inside a class's and count as its "
                f"own: {some(paths)}; data.class_folder=last makes classes of those folders"
            ),
        )
        return
    inside = defaultdict(set)
    for path in deep:
        inside[folders[path][0]].add(folders[path][1])
    first, last = (sorted({folders[path][which] for path in deep}) for which in (0, -1))
    line = (
        f"{place}: which folder of {deep[0]} is the class? data.class_folder=first "
        f"({some(first)}) or data.class_folder=last ({some(last)})"
    )
    one, *others = sorted(first, key=lambda name: TRAIN not in name.casefold())
    if not others:
        line += f"; or data.images={(PurePosixPath(config.images) / one).as_posix()}"
    elif any(inside[one] & inside[other] for other in others):
        line += f'; are they splits? "data.split_folders={{train: {one}, test: {others[0]}}}"'
    diagnostics.error("unlabelled", None, line)


def alike(labels: Iterable[str]) -> list[list[str]]:
    """Groups of labels that look the same: they differ in the case of letters, in how accents are
    encoded, in blanks, underscores or points at an end, in signs that cannot be seen, or in a
    number's leading zeros."""
    groups = defaultdict(list)
    for label in sorted(set(labels)):
        spelled = unicodedata.normalize("NFKC", label).casefold()
        seen = "".join(sign for sign in spelled if unicodedata.category(sign) != "Cf")
        key = " ".join(re.sub(r"[\s_-]+", " ", seen).split()).strip(" .")
        groups[str(int(key)) if key.isdecimal() else key].append(label)
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
        "a column of a CSV or Parquet file, which names the photos too",
        lambda _, config, diagnostics: label_from_table(Path(config.root), config, diagnostics),
        "data.table={config.table} has no label for",
        finds_photos=True,
    )
)
