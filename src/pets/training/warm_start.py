"""Begin from a network that pets has trained: its backbone, and its head if the classes agree.

`model.weights` names a run, one of its checkpoints, or its export to safetensors. All of them are
data: tensors and plain values are read, and nothing that they name is imported or called.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from torch import Tensor

from pets.config import LearnerConfig, ModelConfig
from pets.data.photos import Photos
from pets.data.splits import TEST, TRAIN, VALID
from pets.data.transforms import Preprocess
from pets.errors import RunError, WeightsError, reason_of, some
from pets.io.atomic import regular
from pets.models.backbone import Backbone
from pets.models.classifier import Classifier, new_backbone
from pets.models.weights import empty_network, read_state_dict
from pets.run_dir import RunDir
from pets.seeding import derive, torch_stream
from pets.training.checkpoints import read_checkpoint
from pets.training.table import load_table

log = logging.getLogger(__name__)

_EXPORT = ("config.json", "model.safetensors")


class _Architecture(BaseModel):
    """The network in a checkpoint or an export: a checkpoint's head is a class (`_target_`), an
    export's a list of torch layers on pooled features."""

    library: str
    name: str
    head: dict[str, Any] | list[dict[str, Any]]
    pooling: str = ""


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network in a file.

    Attributes:
        file: The file with its tensors.
        architecture: Of backbone and head.
        classes: Their names, in the order of its outputs.
        preprocess: How its photos were prepared.
        backbone: Tensors, by their names in a `Backbone`.
        head: Tensors of the head.
        run: The run directory, or None for an export.
    """

    file: Path
    architecture: _Architecture
    classes: list[str]
    preprocess: Preprocess
    backbone: dict[str, Tensor]
    head: dict[str, Tensor]
    run: Path | None


def initial_backbone(config: LearnerConfig) -> tuple[Backbone, Preprocess, str]:
    """Return the backbone that a new run begins with, its preprocessing, and its source.

    The source says where the weights are from.

    Raises:
        WeightsError: The weights are unavailable, or of another architecture.
        ConfigError: The architecture is unknown.
    """
    model, earlier = config.model, read_trained(config.model.weights)
    if earlier is None:
        return new_backbone(model, config.seed)
    old = earlier.architecture
    if (old.library, old.name.partition(".")[0]) != (model.library, model.name.partition(".")[0]):
        raise WeightsError(
            f"model.weights={model.weights}: is a {old.name} of {old.library}, not the config's "
            f"{model.name} of {model.library}; choose that network with model=..."
        )
    plain = model.model_copy(update={"lora": None})
    backbone = Backbone(empty_network(model), plain)
    try:
        backbone.load_state_dict(earlier.backbone)
    except RuntimeError as error:
        raise WeightsError(_misfit(model, error)) from error
    backbone.config = model
    if model.lora is not None:
        with torch_stream(derive(config.seed, "lora")):
            backbone.add_adapters()
    return backbone, earlier.preprocess, str(earlier.file)


def take_over_head(config: LearnerConfig, model: Classifier, photos: Photos) -> None:
    """Load the head of the run in `model.weights`, if there is one and it fits.

    Logs whether it was loaded, and warns of held-out photos that the run was trained on.
    """
    earlier = read_trained(config.model.weights)
    if earlier is None:
        return
    reason = _load_head(earlier, model)
    name = f"model.weights={config.model.weights}"
    if reason:
        log.info("%s: the backbone is that of the run; the head starts fresh: %s", name, reason)
    else:
        log.info("%s: backbone and head (%s classes)", name, len(model.classes))
    if earlier.run is None:
        log.info("  an export does not name its training photos: held-out ones may be among them")
        return
    table = load_table(RunDir(earlier.run), photos.root)
    trained_on = {photo.content for photo in table.of(TRAIN)}
    held_out = photos.of(VALID, TEST)
    if seen := sum(content.hex() in trained_on for content in photos.contents(held_out)):
        log.warning(
            "%s of the %s validation and test photos are training photos of %s: the accuracy is "
            "inflated; with the data.split, data.split_seed, data.valid_pct and data.test_pct of "
            "that run they are not",
            f"{seen:,}", f"{len(held_out):,}", earlier.run,
        )  # fmt: skip


def read_trained(weights: str) -> TrainedNetwork | None:
    """Return the trained network that `weights` names; None if it names none.

    It may be a run directory (its best checkpoint), a checkpoint (`.ckpt`), or an export to
    safetensors (its folder or file).

    Raises:
        WeightsError: A folder is neither a run nor an export, or it cannot be read.
    """
    if weights in ("default", "package", "none"):
        return None
    try:
        return _read(Path(weights))
    except (RunError, WeightsError) as error:
        reason = str(error).removeprefix(f"{weights}: ")
        raise WeightsError(f"model.weights={weights}: {reason}") from error


def _read(path: Path) -> TrainedNetwork | None:
    if path.is_dir() and (path / "status.json").is_file():
        run = RunDir.open(path)
        best = run.checkpoint("best")
        if not best.is_file():
            raise RunError(
                f"a run ({run.state}) without {best.name}; expected one that has finished an epoch"
            )
        return _of_checkpoint(best)
    if path.is_dir():
        if not all((path / name).is_file() for name in _EXPORT):
            raise WeightsError("is neither a run directory nor an export to safetensors")
        return _of_export(path)
    if path.suffix == ".ckpt":
        return _of_checkpoint(path)
    beside = path.parent / _EXPORT[0]
    if path.is_file() and path.name == _EXPORT[1] and beside.is_file():
        return _of_export(path.parent)
    return None


def _of_checkpoint(file: Path) -> TrainedNetwork:
    # Trusted, because nothing is built from it: whatever it names is not called.
    content = read_checkpoint(file, trusted=True)
    tensors = {name.removeprefix("model."): value for name, value in content["state_dict"].items()}
    run = file.parent.parent
    return _described(
        file, content["pets"].get("model"), content["pets"].get("classes"),
        content["pets"].get("preprocess"), tensors, run if (run / "photos.csv").is_file() else None,
    )  # fmt: skip


def _of_export(folder: Path) -> TrainedNetwork:
    config, file = folder / _EXPORT[0], folder / _EXPORT[1]
    try:
        about = json.loads(regular(config).read_text(encoding="utf-8"))
        how = about["preprocessing"]
        preprocess = {name: how[name] for name in Preprocess.__dataclass_fields__}
        classes, architecture = about["classes"], about["architecture"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{config}: does not describe an export of pets export to=safetensors "
            f"({type(error).__name__}: {error}); expected that, or a run"
        ) from error
    tensors = {
        name.replace("backbone.", "backbone.network.", 1): value
        for name, value in read_state_dict(file).items()
    }
    return _described(file, architecture, classes, preprocess, tensors, None)


def _described(
    file: Path, architecture: Any, classes: Any, preprocess: Any, tensors: dict[str, Tensor],
    run: Path | None,
) -> TrainedNetwork:  # fmt: skip
    parts: dict[str, dict[str, Tensor]] = {"backbone": {}, "head": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts.get(part, {})[rest] = value
    try:
        return TrainedNetwork(
            file, _Architecture.model_validate(architecture),
            TypeAdapter(list[str]).validate_python(classes),
            TypeAdapter(Preprocess).validate_python(preprocess),
            parts["backbone"], parts["head"], run,
        )  # fmt: skip
    except ValidationError as error:
        reason = error.errors()[0]
        key = ".".join(map(str, reason["loc"]))
        raise WeightsError(
            f"{file}: does not describe its network ({key}: {reason['msg']}); it was changed, take "
            "it from a copy"
        ) from error


def _load_head(earlier: TrainedNetwork, model: Classifier) -> str:
    """Load the head's tensors. Returns why it was not possible, or ""."""
    if earlier.classes != model.classes:
        if sorted(earlier.classes) == sorted(model.classes):
            return "its classes are in another order"
        gone = [name for name in earlier.classes if name not in model.classes]
        more = [name for name in model.classes if name not in earlier.classes]
        changes = (("without", gone), ("with", more))
        said = " and ".join(f"{word} {some(names)}" for word, names in changes if names)
        return f"the classes here are others: {said}"
    head: Any = model.head
    old, target = earlier.architecture.head, model.config.head.target
    if isinstance(old, dict):
        if old.get("_target_") != target:
            return f"the run's is {old.get('_target_')}, the config's {target}"
    else:
        kinds, chain = [layer.get("kind") for layer in old], None
        if hasattr(head, "chain"):
            chain = head.chain()
            same = model.backbone.pooling == earlier.architecture.pooling
        if chain is None or not same or [type(layer).__name__ for layer in chain] != kinds:
            return f"the export's layers are not those of {target}"
        head = chain
    try:
        head.load_state_dict(earlier.head)
    except RuntimeError:
        return f"its tensors have other sizes than those of {target} in the config"
    return ""


def _misfit(model: ModelConfig, error: Exception) -> str:
    reason = reason_of(error)
    return f"model.weights={model.weights}: its backbone does not fit {model.name} ({reason})"
