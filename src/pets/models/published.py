"""A network of timm in the layout of the Hugging Face hub: on the hub, or in a local folder.

Only `config.json` and `model.safetensors` are read. The config chooses one of timm's own
architectures and has plain values for it; no code comes from the hub.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import timm
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from pydantic import BaseModel, Field, ValidationError

from pets.config import ModelConfig
from pets.config.base import HUB, REPOSITORY
from pets.errors import ConfigError, WeightsError

FOLDER = "local-dir:"
FILES = ("config.json", "model.safetensors")


class _Preprocessing(BaseModel):
    """The values of `pretrained_cfg` that are used."""

    input_size: tuple[int, int, int] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    crop_pct: float | None = Field(None, gt=0, le=1)
    fixed_input_size: bool | None = None
    license: str | None = None


class _Config(BaseModel):
    """The values of `config.json` that are used."""

    architecture: str
    num_classes: int = Field(ge=0)
    model_args: dict[str, Any] = {}
    pretrained_cfg: _Preprocessing


@dataclass(frozen=True)
class Published:
    """A published network.

    Attributes:
        config: The model's config with timm's name and arguments of the architecture; `weights` is
            the address.
        classes: Outputs of its classifier.
        preprocessing: Entries of timm's `pretrained_cfg`.
        file: Its weights.
    """

    config: ModelConfig
    classes: int
    preprocessing: dict[str, Any]
    file: Path


def is_address(name: str) -> bool:
    """Whether a name or weights are an address: `hf-hub:owner/name` or `local-dir:folder`."""
    return name.startswith((HUB, FOLDER))


def read_published(config: ModelConfig) -> Published:
    """Read the config of the published network whose address is `name` or `weights`.

    Its files are downloaded unless they are in the cache.

    Raises:
        ConfigError: The address is malformed or contradicts other keys.
        WeightsError: It is no network of timm in the hub's layout.
        OSError: The hub cannot be reached.
    """
    named = is_address(config.name)
    key, address = ("name", config.name) if named else ("weights", config.weights)
    if config.library != "timm":
        raise ConfigError(f"model.{key}={address}: is for networks of timm; expected model=timm")
    if named and config.weights != "default":
        raise ConfigError(
            f"model.name={address}: its weights come from there; expected model.weights=default"
        )
    about, weights = _files(key, address)
    try:
        found = _Config.model_validate(json.loads(about.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        reason = error.errors()[0]["loc"] if isinstance(error, ValidationError) else "no JSON"
        raise WeightsError(
            f"{address}: its config.json is not timm's ({reason}); expected a network that timm "
            "published, or an export of pets with to=hub"
        ) from error
    architecture = found.architecture.partition(".")[0]
    if not timm.is_model(architecture):
        raise WeightsError(f"{address}: timm {timm.__version__} has no {architecture}")
    if not named and config.name.partition(".")[0] != architecture:
        raise ConfigError(
            f"model.weights={address}: is a {architecture}; expected model.name={architecture}"
        )
    preprocessing = found.pretrained_cfg.model_dump(exclude_none=True)
    ours = {name: value for name, value in found.model_args.items() if name != "num_classes"}
    if ours.pop("in_chans", 3) != 3:
        raise WeightsError(f"{address}: takes other photos than those of three channels")
    args = {**ours, **config.args}
    if preprocessing.get("fixed_input_size") and "input_size" in preprocessing:
        args.setdefault("img_size", list(preprocessing["input_size"][1:]))
    update = {"name": architecture, "weights": address, "args": args}
    return Published(config.model_copy(update=update), found.num_classes, preprocessing, weights)


def _files(key: str, address: str) -> tuple[Path, Path]:
    """The paths of config and weights."""
    name = address.removeprefix(HUB).removeprefix(FOLDER)
    if address.startswith(FOLDER):
        paths = [Path(name).expanduser().resolve() / file for file in FILES]
        if missing := [path for path in paths if not path.is_file()]:
            raise WeightsError(f"model.{key}={address}: {missing[0]} is not there")
        return paths[0], paths[1]
    if not re.fullmatch(REPOSITORY, name):
        raise ConfigError(f"model.{key}={address}: expected {HUB}<owner>/<name>")
    try:
        about, weights = (Path(hf_hub_download(name, file)) for file in FILES)
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):  # offline, and not in the cache
            raise
        raise WeightsError(
            f"model.{key}={address}: has no {' or no '.join(FILES)}; expected a network of timm"
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(f"model.{key}={address}: the hub has no such model") from error
    return about, weights
