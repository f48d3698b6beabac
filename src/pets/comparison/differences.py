"""What two runs differ in: their configs, the versions they ran with, and their photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pets.data.photos import SPLITS, Photos
from pets.io.serialize import to_json
from pets.run_dir import RunDir

ABSENT = "–"
# Keys that say where a run was made, not what it is.
_PLACES = ("cache_dir", "resume", "trust", "sweep")
_PACKAGES = ("torch", "torchvision", "timm", "pytorch_lightning")


class Difference(NamedTuple):
    """A key with its value in both runs, as text."""

    key: str
    old: str
    new: str


@dataclass(frozen=True)
class DataDifference:
    """How the photos of two runs differ; the same photo is the same bytes, whatever its name.

    Attributes:
        counts: By split, the number of photos in the old and in the new run.
        shared: How many photos are in both runs.
        only_old: How many are in the old run alone.
        only_new: How many are in the new run alone.
        moved: `train -> test`: how many photos changed their split in this way.
        relabelled: How many have another label in the new run.
        classes_gone: Classes of the old run alone.
        classes_added: Classes of the new run alone.
    """

    counts: dict[str, tuple[int, int]]
    shared: int
    only_old: int
    only_new: int
    moved: dict[str, int]
    relabelled: int
    classes_gone: list[str]
    classes_added: list[str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def config_differences(old: RunDir, new: RunDir) -> list[Difference]:
    """Return the keys that differ, in the order of the new run's config, and then the versions.

    The configs are only shown: nothing in them is imported or called.
    """
    return [
        Difference(key, values[0].get(key, ABSENT), values[1].get(key, ABSENT))
        for values in zip(
            (_config(old), _versions(old)), (_config(new), _versions(new)), strict=True
        )
        for key in dict.fromkeys([*values[1], *values[0]])
        if values[0].get(key) != values[1].get(key)
    ]


def data_difference(old: Photos, new: Photos) -> DataDifference:
    """Compare the tables of photos of two runs, as they were when the runs were trained."""
    before = {photo.content: photo for photo in old.rows}
    after = {photo.content: photo for photo in new.rows}
    both = [(before[content], photo) for content, photo in after.items() if content in before]
    moved = Counter(f"{a.split} -> {b.split}" for a, b in both if a.split != b.split)
    return DataDifference(
        counts={split: (len(old.of(split)), len(new.of(split))) for split in SPLITS},
        shared=len(both),
        only_old=len(before) - len(both),
        only_new=len(after) - len(both),
        moved=dict(sorted(moved.items())),
        relabelled=sum(a.label != b.label for a, b in both),
        classes_gone=[name for name in old.classes if name not in new.classes],
        classes_added=[name for name in new.classes if name not in old.classes],
    )


def _config(run: RunDir) -> dict[str, str]:
    values = {key: value for key, value in run.read_config().items() if key not in _PLACES}
    return dict(_flat(values, ""))


def _versions(run: RunDir) -> dict[str, str]:
    about = run.read_json("environment.json")
    packages = about.get("packages")
    packages = packages if isinstance(packages, Mapping) else {}
    versions = {"pets": about.get("pets"), "python": about.get("python")}
    versions |= {name: packages.get(name) for name in _PACKAGES}
    return {f"version of {name}": str(value) for name, value in versions.items() if value}


def _flat(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield dotted keys with their values as text; an empty section counts as a value."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value if isinstance(value, str) else to_json(value, default=str)
