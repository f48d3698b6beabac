"""Configs of data sets and augmentation."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pets.config.base import PathText, Strict, Target
from pets.registry import named_in

Fraction = Annotated[float, Field(ge=0, lt=1)]
Side = Annotated[int, Field(ge=8, le=4096)]
SplitFolders = dict[Literal["train", "valid", "test", "unused"], str | list[str]]
Size = Side | Annotated[tuple[Side, Side], Field(strict=False)]
LabelRuleName = Annotated[str, named_in("pets.data.labels:LABEL_RULES")]
SIZE = "pixels: one number from 8 to 4096, or [height, width]"


def height_width(size: Size) -> tuple[int, int]:
    """Return a size as (height, width) in pixels."""
    return (size, size) if isinstance(size, int) else size


class DataConfig(Strict):
    """A data set: where the photos are, how they are labelled, split and loaded."""

    name: str
    licence: str | None = None  # absent in configs of older runs
    root: PathText = Field(min_length=1, description="a folder")
    prepare: Target | None
    images: str
    photo_list: PathText | None
    label_from: LabelRuleName
    label_regex: str | None
    table: PathText | None
    path_column: str | None
    label_column: str | None
    relabel: PathText | None
    exclude: PathText | None = None  # absent in configs of older runs
    split: Literal["auto", "random", "official", "folders", "column"]
    split_column: str | None
    # Absent in configs of older runs.
    split_folders: SplitFolders | None = Field(
        default=None, description="{train: <folder>, valid: <folder>}, a list for several, or null"
    )
    class_folder: Literal["first", "last"] | None = None
    valid_pct: Fraction
    test_pct: Fraction
    carve_pct: Fraction
    split_seed: int
    on_bad_image: Literal["error", "skip"]
    on_unlabelled: Literal["error", "skip"]
    size: Size = Field(description=SIZE)
    cache: Literal["none", "decoded", "auto"]
    cache_side: Side | None = Field(description="pixels from 8 to 4096, or null")
    batch_size: int = Field(ge=1)
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        description="a whole number of at least 0, or auto"
    )

    @property
    def height_width(self) -> tuple[int, int]:
        """`size` as (height, width) in pixels."""
        return height_width(self.size)

    @property
    def named_splits(self) -> dict[str, str]:
        """The split of each folder that `split_folders` names."""
        named = (self.split_folders or {}).items()
        return {
            folder: split
            for split, folders in named
            for folder in ([folders] if isinstance(folders, str) else folders)
        }

    @model_validator(mode="after")
    def _splits_from_folders(self) -> "DataConfig":
        named = list((self.split_folders or {}).values())
        folders = [f for names in named for f in ([names] if isinstance(names, str) else names)]
        twice = [folder for folder in folders if folders.count(folder) > 1]
        if twice:
            raise ValueError(
                f"split_folders: {twice[0]} is named twice; expected one split a folder"
            )
        wrong = [folder for folder in folders if not folder or "/" in folder or "\\" in folder]
        if wrong:
            raise ValueError(
                f"split_folders: {wrong[0] or 'an empty name'} is not a folder name; expected "
                "folders directly in data.images"
            )
        if self.split_folders and self.split not in ("auto", "folders"):
            raise ValueError(
                f"split_folders has no effect with split={self.split}; set data.split=folders"
            )
        if self.split_folders == {} and self.split == "folders":
            raise ValueError("split_folders={} means no folders; expected some, or null")
        if self.class_folder is not None and self.label_from != "folder":
            raise ValueError(
                f"class_folder has no effect with label_from={self.label_from}; "
                "set data.label_from=folder"
            )
        return self

    @model_validator(mode="after")
    def _no_key_without_effect(self) -> "DataConfig":
        """Refuse keys that the chosen labelling or split would ignore."""
        if self.label_from == "filename" and self.label_regex is None:
            raise ValueError(
                "label_from=filename needs a regex, as in \"data.label_regex='^(.+)_\\d+'\""
            )
        if self.label_from != "filename" and self.label_regex is not None:
            raise ValueError(
                f"label_regex has no effect with label_from={self.label_from}; "
                "set data.label_from=filename or data.label_regex=null"
            )
        columns = {"path_column": self.path_column, "label_column": self.label_column}
        if self.label_from == "table":
            missing = [k for k, v in {"table": self.table, **columns}.items() if v is None]
            if missing:
                raise ValueError(f"label_from=table needs data.{missing[0]}")
        elif self.table is not None:
            raise ValueError(
                f"table has no effect with label_from={self.label_from}; set data.label_from=table"
            )
        if self.split == "column" and (self.split_column is None or self.label_from != "table"):
            raise ValueError("split=column needs data.label_from=table and data.split_column")
        if self.split != "column" and self.split_column is not None:
            raise ValueError(
                f"split_column has no effect with split={self.split}; set data.split=column"
            )
        for name, value in (("valid_pct", self.valid_pct), ("carve_pct", self.carve_pct)):
            if value == 0:
                raise ValueError(f"{name}=0: expected above 0: training needs validation photos")
        if self.cache_side is not None and self.cache == "none":
            raise ValueError("cache_side has no effect with cache=none; set data.cache=decoded")
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
