"""Configs of data sets and augmentation."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from pets.config.base import PathText, Strict, Target
from pets.registry import named_in, unexpected

Fraction = Annotated[float, Field(ge=0, lt=1)]
Side = Annotated[int, Field(ge=8, le=4096)]
SplitFolders = dict[Literal["train", "valid", "test", "unused"], str | list[str]]
Size = Side | Annotated[tuple[Side, Side], Field(strict=False)]
LabelRuleName = Annotated[str, named_in("pets.data.labels:LABEL_RULES", paths=True)]
SIZE = "pixels: one number from 8 to 4096, or [height, width]"
VALID_PCT, CARVE_PCT = 0.2, 0.05  # the defaults of conf/data/base.yaml
USUAL_SIZE = (224, 224)  # where data.size=auto is asked for and no weights are chosen


def _captures(regex: str | None) -> str | None:
    """Refuse a text that is not a regex, or captures nothing."""
    reason = "it has no group"
    try:
        if regex is None or re.compile(regex).groups:
            return regex
    except re.error as error:
        reason = str(error)
    raise unexpected(f"a regex with the part to take in brackets, as in '^(.+)_\\d+' ({reason})")


Regex = Annotated[str | None, AfterValidator(_captures)]


def _compiles(regex: str) -> str:
    try:
        re.compile(regex)
    except re.error as error:
        raise PydanticCustomError("regex", "a regex on the name of a class") from error
    return regex


Pattern = Annotated[str, AfterValidator(_compiles)]


def height_width(size: Size) -> tuple[int, int]:
    """Return a size as (height, width) in pixels."""
    return (size, size) if isinstance(size, int) else size


class DataConfig(Strict):
    """A data set: where the photos are, how they are labelled, split and loaded."""

    name: str
    licence: str | None = None
    root: PathText = Field(min_length=1, description="a folder")
    dataset: PathText | None = None  # of data=hf; `prepare` makes `root` of it
    prepare: Target | None
    images: str
    photo_list: PathText | None
    label_from: LabelRuleName
    label_regex: Regex
    table: PathText | None
    path_column: str | None
    label_column: str | None
    relabel: PathText | None
    exclude: PathText | None = None
    split: Literal["auto", "random", "kfold", "official", "folders", "column"]
    folds: Annotated[int, Field(ge=2)] | None = Field(
        default=None, description="a whole number of at least 2, or null"
    )
    fold: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="a whole number from 0 to data.folds - 1, or null"
    )
    group_column: str | None = None
    group_regex: Regex = None
    group_near: Annotated[int, Field(ge=0, le=48)] | None = Field(
        default=None, description="bits from 0 to 48, or null"
    )
    split_column: str | None
    split_folders: SplitFolders | None = Field(
        default=None, description="{train: <folder>, valid: <folder>}, a list for several, or null"
    )
    class_folder: Literal["first", "last"] | None = None
    superclass: (
        Annotated[str, Field(min_length=1)]
        | Annotated[dict[str, Pattern], Field(min_length=1)]
        | None
    ) = Field(
        default=None,
        description="a column of data.table, {name: regex on the class}, or null",
    )
    valid_pct: Fraction
    test_pct: Fraction
    carve_pct: Fraction
    split_seed: int
    on_bad_image: Literal["error", "skip"]
    on_unlabelled: Literal["error", "skip"]
    size: Size | Literal["auto"] = Field(description=f"{SIZE}, or auto")
    cache: Literal["none", "decoded", "auto"]
    cache_side: Side | None = Field(description="pixels from 8 to 4096, or null")
    sampler: Literal["shuffle", "balanced", "weighted"] = "shuffle"
    batch_size: int = Field(ge=1)
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        description="a whole number of at least 0, or auto"
    )

    @property
    def height_width(self) -> tuple[int, int]:
        """`size` as (height, width) in pixels, which `auto` has only once weights are loaded."""
        assert self.size != "auto"
        return height_width(self.size)

    @property
    def size_without_weights(self) -> tuple[int, int]:
        """`size` as (height, width) in pixels, for commands that load no weights."""
        return USUAL_SIZE if self.size == "auto" else self.height_width

    @property
    def named_splits(self) -> dict[str, str]:
        """The split of each folder that `split_folders` names."""
        return {folder: split for split, folder in self._split_folders}

    @property
    def _split_folders(self) -> list[tuple[str, str]]:
        return [
            (split, folder)
            for split, folders in (self.split_folders or {}).items()
            for folder in ([folders] if isinstance(folders, str) else folders)
        ]

    @model_validator(mode="after")
    def _folders_are_names(self) -> "DataConfig":
        folders = [folder for _, folder in self._split_folders]
        for folder in folders:
            if folders.count(folder) > 1:
                raise ValueError(
                    f"split_folders: {folder} is named twice; expected one split per folder"
                )
            if not folder or "/" in folder or "\\" in folder:
                raise ValueError(
                    f"split_folders: {folder or 'an empty name'} is not a folder name; expected "
                    "folders directly in data.images"
                )
        if self.split_folders == {} and self.split == "folders":
            raise ValueError("split_folders={} means no folders; expected some, or null")
        return self

    @model_validator(mode="after")
    def _no_key_without_effect(self) -> "DataConfig":
        """Refuse keys that the chosen labelling, split or cache would ignore."""
        if self.split == "column" and (self.split_column is None or self.label_from != "table"):
            raise ValueError("split=column needs data.label_from=table and data.split_column")
        needs = (  # a key, its value if not set, and the key and values with which it has an effect
            ("split_folders", None, "split", ("folders", "auto")),
            ("split_column", None, "split", ("column",)),
            ("class_folder", None, "label_from", ("folder",)),
            ("label_regex", None, "label_from", ("filename", "superclass")),
            ("table", None, "label_from", ("table",)),
            ("cache_side", None, "cache", ("decoded", "auto")),
            ("valid_pct", VALID_PCT, "split", ("random", "auto")),
            ("test_pct", 0, "split", ("random", "auto", "kfold")),
            ("carve_pct", CARVE_PCT, "split", ("official", "folders", "column", "auto")),
        )
        for key, unset, other, values in needs:
            value = getattr(self, key)
            if value and value != unset and getattr(self, other) not in values:
                raise ValueError(
                    f"{key} has no effect with {other}={getattr(self, other)}; set "
                    f"data.{other}={values[0]} or data.{key}={'null' if unset is None else unset}"
                )
        if self.label_from == "superclass" and not isinstance(self.superclass, dict):
            raise ValueError(
                "label_from=superclass needs a regex on the class for each superclass, as in "
                "\"data.superclass={cat: '^[A-Z]', dog: '^[a-z]'}\""
            )
        if isinstance(self.superclass, str) and self.label_from != "table":
            raise ValueError(
                "superclass names a column, which only data.table has; set data.label_from=table, "
                "or \"data.superclass={cat: '^[A-Z]', dog: '^[a-z]'}\""
            )
        if self.label_from in ("filename", "superclass") and self.label_regex is None:
            raise ValueError(
                f"label_from={self.label_from} needs a regex, as in "
                "\"data.label_regex='^(.+)_\\d+'\""
            )
        for key in ("table", "path_column", "label_column"):
            if self.label_from == "table" and getattr(self, key) is None:
                raise ValueError(f"label_from=table needs data.{key}")
        return self

    @model_validator(mode="after")
    def _folds_and_groups(self) -> "DataConfig":
        """Check the keys of `split=kfold`, and that at most one key groups the photos."""
        if (self.folds is None or self.fold is None) and self.split == "kfold":
            raise ValueError("split=kfold needs folds and fold, as in data.folds=5 data.fold=0")
        for key in ("folds", "fold"):
            if getattr(self, key) is not None and self.split != "kfold":
                raise ValueError(
                    f"{key} has no effect with split={self.split}; set data.split=kfold or "
                    f"data.{key}=null"
                )
        if self.folds is not None and self.fold is not None and self.fold >= self.folds:
            raise ValueError(
                f"fold={self.fold}: with folds={self.folds} expected 0 to {self.folds - 1}"
            )
        keys = ("group_column", "group_regex", "group_near")
        given = [key for key in keys if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} both group the photos; expected one of them")
        if given and self.split not in ("random", "kfold"):
            raise ValueError(
                f"{given[0]} has no effect with split={self.split}, which has its own splits; set "
                f"data.split=random or kfold, or data.{given[0]}=null"
            )
        if self.group_column is not None and self.label_from != "table":
            raise ValueError("group_column is a column of data.table; set data.label_from=table")
        return self

    @model_validator(mode="after")
    def _photos_for_every_purpose(self) -> "DataConfig":
        for name, value in (("valid_pct", self.valid_pct), ("carve_pct", self.carve_pct)):
            if value == 0:
                raise ValueError(f"{name}=0: expected above 0: training needs validation photos")
        if self.valid_pct + self.test_pct >= 0.95:
            raise ValueError(
                f"valid_pct + test_pct = {self.valid_pct + self.test_pct:g} leaves nothing to "
                "train on; expected less than 0.95"
            )
        return self


class AugmentConfig(Strict):
    """Augmentation of training photos: each on its own, then whole batches."""

    crop: Target | None
    photo: dict[str, Target]
    batch: dict[str, Target]
