"""What an untrusted run, checkpoint or sweep may contain: values, and names from an allow-list.

Nothing else that it references is imported or called, and nothing is written outside its folder.
With `trust=true` a command accepts everything. SECURITY.md states the guarantee.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pets.errors import RunError

TRUST = "if you trust who made it: trust=true"


def _paths(module: str, names: str) -> set[str]:
    return {f"{module}.{name}" for name in names.split()}


# By the key of a node, the dotted paths that it may reference. None of these has an argument that
# takes a file path or an address.
ALLOWED: dict[str, set[str]] = {
    "model.head": _paths("pets.models.heads", "BatchNormHead ConcatPoolHead LinearHead"),
    "optimizer": _paths(
        "torch.optim",
        "ASGD Adadelta Adagrad Adam AdamW Adamax NAdam RAdam RMSprop Rprop SGD",
    ),
    "augment": {"pets.data.augment.LessonCrop"} | _paths(
        "torchvision.transforms.v2",
        "AugMix CenterCrop ColorJitter CutMix ElasticTransform GaussianBlur GaussianNoise "
        "Grayscale JPEG MixUp Pad RandAugment RandomAdjustSharpness RandomAffine RandomApply "
        "RandomAutocontrast RandomChannelPermutation RandomChoice RandomCrop RandomEqualize "
        "RandomErasing RandomGrayscale RandomHorizontalFlip RandomInvert RandomOrder "
        "RandomPerspective RandomPhotometricDistort RandomPosterize RandomResize "
        "RandomResizedCrop RandomRotation RandomShortestSize RandomSolarize RandomVerticalFlip "
        "RandomZoomOut Resize TrivialAugmentWide",
    ),
    "callbacks": {
        "pets.callbacks.epoch_table.EpochTable",
        "pets.callbacks.progress.ProgressBar",
        *_paths(
            "pytorch_lightning.callbacks", "EMAWeightAveraging EarlyStopping LearningRateMonitor"
        ),
    },
    "logger": _paths(
        "pytorch_lightning.loggers", "CSVLogger MLFlowLogger TensorBoardLogger WandbLogger"
    ),
}  # fmt: skip
_LOGGER_ARGUMENTS = {
    "name", "version", "prefix", "sub_dir", "default_hp_metric", "log_graph", "project", "entity",
    "group", "tags", "offline", "experiment_name", "run_name", "tracking_uri",
}  # fmt: skip
_NAME = re.compile(r"(?!\.)[\w.+ -]*")  # name of a file or folder, never a path


def canonical(target: str) -> str:
    """Return the dotted path under the name of the package that runs it.

    Lightning has two names, with classes of their own.
    """
    return re.sub(r"^lightning\.pytorch\.", "pytorch_lightning.", target)


def check(values: Mapping[str, Any], source: Path) -> None:
    """Raise RunError if plain values reference anything that is not allowed.

    They are a config, or a checkpoint's description of its network.

    Args:
        values: Plain values, with the keys of a training config.
        source: The file that they were read from, for the message.
    """
    if reason := refusal(values):
        raise RunError(f"{source}: {reason}; expected what pets comes with; {TRUST}")


def refusal(values: Mapping[str, Any]) -> str | None:
    """Return the first key that is not allowed in an untrusted config, with its value, or None."""
    return next(_refused(values, ()), None)


def inside(values: dict[str, Any]) -> dict[str, Any]:
    """Return the config without values that reach outside the run.

    It uses this user's cache, does not create or download data, sends nothing to a server, and does
    not set `trust`.
    """
    cache = os.environ.get("PETS_CACHE", "~/.cache/pets")
    values = {**values, "cache_dir": cache, "trust": False}
    if sent := sends(values):
        values["logger"] = {k: v for k, v in values["logger"].items() if k not in sent}
    if isinstance(values.get("data"), dict):
        values["data"] = {**values["data"], "prepare": None}
    return values


def sends(values: Mapping[str, Any]) -> list[str]:
    """Return the names of the loggers that send what a run logs to a server."""
    loggers = values.get("logger")
    return [
        name
        for name, node in (loggers.items() if isinstance(loggers, Mapping) else ())
        if isinstance(node, Mapping)
        and (
            node.get("tracking_uri") is not None
            or (str(node.get("_target_")).endswith("WandbLogger") and not node.get("offline"))
        )
    ]


def check_links(folder: Path) -> None:
    """Raise RunError if a link leads out of a folder, or a pipe is in it.

    Writes would follow the link, and whoever opens the pipe would wait for ever.
    """
    whole = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(whole):
            raise RunError(
                f"{path}: leads out of the folder, to {path.resolve()}; expected a file; {TRUST}"
            )
        if path.is_fifo():
            raise RunError(f"{path}: is a pipe; expected a regular file; remove it")


def check_words(overrides: Sequence[str], source: Path, keys: Sequence[str]) -> None:
    """Raise RunError if saved overrides do more than set values of a training.

    Those in `source`, a sweep's file, may set the training config's `keys` and choose pets' own
    options.
    """
    key = rf"({'|'.join(map(re.escape, keys))})([./][\w./-]+)?"
    allowed = re.compile(
        rf"(\+\+?)?{key}=[^$\\]*|~{key}(=[^$\\]*)?"
        r"|hydra/sweeper=(grid|optuna)|hydra\.sweeper\.(n_trials|n_jobs)=\d+"
        r"|hydra/sweeper/pruner=(none|median|halving|hyperband)"
        r"|hydra\.sweeper\.pruner\.[a-z]\w*=(\d+|auto)"
    )
    for override in overrides:
        parts = ("_target_", "data.prepare", "data/prepare", "..")
        if any(part in override for part in parts) or not allowed.fullmatch(override):
            raise RunError(
                f"{source}: {override}: is more than a value for a training; expected "
                f"<key>=<value>; {TRUST}"
            )


class PlainLoader(yaml.SafeLoader):
    """Loads YAML of plain values; aliases are refused, since they allow exponential expansion."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases (*name), which pets never writes")
        return super().compose_node(parent, index)


def _refused(value: Any, keys: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _refused(item, keys)
    key = ".".join(keys)
    if key == "metrics" and isinstance(value, str) and "." in value:
        yield f"metrics={value}: is not called for a run from elsewhere"
    if not isinstance(value, Mapping):
        return
    if keys == ("model",):
        package = value.get("package")
        if isinstance(package, str) and not package.isidentifier():
            yield f"model.package={package}: is not the name of a package"
        if value.get("module") is not None:
            yield f"model.module={value['module']}: is not imported for a run from elsewhere"
    if keys == ("data",) and "." in str(value.get("label_from")):
        yield f"data.label_from={value['label_from']}: is not called for a run from elsewhere"
    if "_target_" in value:
        target, group = value["_target_"], _group(keys)
        if not isinstance(target, str) or canonical(target) not in ALLOWED.get(group, ()):
            yield f"{key}._target_={target}: is not called for a run from elsewhere"
        if group == "logger":
            for name, inner in value.items():
                texts = map(str, inner if isinstance(inner, list) else [inner])
                known = name in _LOGGER_ARGUMENTS and all(map(_NAME.fullmatch, texts))
                if name != "_target_" and not known:
                    yield f"{key}.{name}={inner}: may lead out of the run's folder"
    for name, inner in value.items():
        if str(name).startswith("_") and name != "_target_":
            yield f"{key}.{name}={inner}: is not an argument"
        yield from _refused(inner, (*keys, str(name)))


def _group(keys: tuple[str, ...]) -> str:
    """Return the group of `ALLOWED` for a node at these keys, or "" if no node is allowed there.

    Transforms may contain further transforms, which are checked, too; nothing else may contain a
    node.
    """
    if keys[:1] == ("augment",):
        return "augment"
    if keys in (("model", "head"), ("optimizer",)):
        return ".".join(keys)
    return keys[0] if len(keys) == 2 and keys[0] in ("callbacks", "logger") else ""
