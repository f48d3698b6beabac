"""A model in the layout of the Hugging Face hub, as `pets export to=hub` writes it.

It is a folder, or a repository of the hub.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from torch import nn

from pets.config import ModelConfig
from pets.config.base import HUB, Target
from pets.data.transforms import Preprocess
from pets.errors import RunError, reason_of
from pets.io.atomic import regular
from pets.models.backbone import Backbone
from pets.models.classifier import Classifier
from pets.models.heads import LinearHead
from pets.models.published import FILES
from pets.models.weights import empty_network, read_state_dict
from pets.system.reachable import check_reachable

CONFIG, WEIGHTS = FILES


class _Preprocessing(BaseModel):
    """timm's description of the input; `classifier` is the name of the last layer."""

    input_size: tuple[int, int, int]
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_pct: float = Field(gt=0, le=1)
    classifier: str


class _About(BaseModel):
    temperature: float = Field(gt=0, allow_inf_nan=False)


class _Config(BaseModel):
    """The part of `config.json` that describes the model."""

    architecture: str
    label_names: list[str] = Field(min_length=2)
    pretrained_cfg: _Preprocessing
    model_args: dict[str, Any] = {}
    pets: _About


def hub_folder(run: str) -> Path:
    """Return the folder of an export, downloaded if `run` is hf-hub:user/name. Raises RunError."""
    if not run.startswith(HUB):
        return Path(run)
    from huggingface_hub import constants, snapshot_download

    name, _, revision = run.removeprefix(HUB).partition("@")
    try:
        try:
            check_reachable(constants.ENDPOINT)
            local = False
        except OSError:
            local = True  # the client would retry for minutes; what is in its cache is enough
        return Path(
            snapshot_download(
                name, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS],
                local_files_only=local,
            )
        )  # fmt: skip
    except Exception as error:  # the client raises many kinds
        reason = reason_of(error)
        if local:
            reason = f"{constants.ENDPOINT} cannot be reached, and it is not in the cache"
        raise RunError(
            f"run={run}: cannot be downloaded ({reason}); expected {HUB}user/name, or the folder "
            "of an export"
        ) from error


def load_hub(folder: Path) -> tuple[Classifier, float, Path]:
    """Build the classifier of a folder in the hub's layout; nothing that it names is called.

    Returns the classifier, its temperature, and the file of its weights.

    Raises:
        RunError: It was not written by `pets export to=hub`, or is damaged.
        WeightsError: Its weights cannot be read.
        ConfigError: timm has no such architecture.
    """
    file = folder / CONFIG
    try:
        config = _Config.model_validate(json.loads(regular(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        reason = reason_of(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise RunError(
            f"{file}: is not of pets export to=hub ({reason}); expected such a folder, or a run"
        ) from error
    # Of the constructor's arguments only the size: others might name files and addresses.
    size, pooled = config.model_args.get("img_size"), config.model_args.get("global_pool")
    args = {} if size is None else {"img_size": config.pretrained_cfg.input_size[1:]}
    model = ModelConfig(
        library="timm", name=config.architecture, weights="", package=None, groups=None,
        args=args, pool="token" if pooled == "token" else "own",
        head=Target.model_validate({"_target_": f"{LinearHead.__module__}.LinearHead"}),
        frozen_norm="eval", unfrozen_norm="eval", channels_last=True,
    )  # fmt: skip
    how = config.pretrained_cfg
    preprocess = Preprocess(how.mean, how.std, how.interpolation, how.crop_pct)
    backbone = Backbone(empty_network(model), model)
    classifier = Classifier(backbone, model, config.label_names, preprocess, how.input_size[1:])
    assert isinstance(classifier.head, LinearHead)
    classifier.head.norm = nn.Identity()  # the export has folded it into the linear layer
    tensors, top = read_state_dict(folder / WEIGHTS), f"{how.classifier}."
    linear = {n.removeprefix(top): v for n, v in tensors.items() if n.startswith(top)}
    rest = {name: value for name, value in tensors.items() if not name.startswith(top)}
    try:
        classifier.head.linear.load_state_dict(linear)
        classifier.backbone.network.load_state_dict(rest)
    except RuntimeError as error:
        reason = reason_of(error)
        raise RunError(f"{folder / WEIGHTS}: does not fit its {CONFIG} ({reason})") from error
    return classifier.eval(), config.pets.temperature, folder / WEIGHTS
