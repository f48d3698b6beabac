"""The fastest available forward pass of the frozen backbone that matches eager PyTorch."""

from __future__ import annotations

import copy
import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from pets.errors import ConfigError
from pets.features.folding import fold
from pets.models.backbone import Backbone
from pets.system.installation import install

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # of the largest activation: maximum difference between an engine and eager
GAIN = 1.2  # minimum speed-up over eager; less is not worth differences in the last digits
ROUNDS = 3  # timings of each engine, on half a batch; the median counts
FEW_BATCHES = 20  # trying all engines costs about ten batches: shorter passes cannot recoup that
# Compiling takes 10 to 30 seconds on one core (ResNet-34, EfficientNet-Lite0), twice that on a busy
# machine. A speed-up of 1.2 saves 100 s of a pass that long, but often there is no speed-up.
LONG_PASS = 600.0  # seconds

Forward = Callable[[Tensor], Tensor]


class EngineUnavailable(Exception):
    """An engine is unavailable; the message says why, and how to fix it if possible."""


def check_engine(name: str, device: str) -> None:
    """Raise ConfigError early if the engine's package is missing or `device` is unsupported."""
    try:
        if name == "openvino":
            _need_openvino(device)
    except EngineUnavailable as refused:
        raise ConfigError(f"precompute.engine=openvino: {refused}; expected auto") from refused


def _need_openvino(device: str) -> None:
    if device != "cpu":
        raise EngineUnavailable(f"it computes on CPUs, the backbone is on {device}")
    if find_spec("openvino") is None:
        raise EngineUnavailable(f"its package is not installed ({install('openvino')})")


def uncompiled(network: nn.Module, example: Tensor) -> Forward:
    """PyTorch eager mode."""
    return network


def compiled(network: nn.Module, example: Tensor) -> Forward:
    """Compile for batches of the example's size only: every other size would cost as much again.

    Smaller batches are padded with zeros, larger ones are split.
    """
    # Freezing packs the weights for oneDNN; without it ResNet-34 runs at half of eager's speed.
    fast: Any = torch.compile(network, dynamic=False, options={"freezing": True})
    size = len(example)

    def forward(photos: Tensor) -> Tensor:
        maps = []
        for part in torch.split(photos, size):
            full = torch.zeros_like(example)
            full[: len(part)] = part
            maps.append(fast(full)[: len(part)])
        return torch.cat(maps)

    with torch.no_grad():
        forward(example)
    return forward


def openvino(network: nn.Module, example: Tensor) -> Forward:
    """Convert for OpenVINO, for batches of any size.

    Raises:
        EngineUnavailable: The network is not on a CPU, or OpenVINO is not installed.
    """
    _need_openvino(example.device.type)
    # OpenVINO sends usage telemetry if this package is present; block it, since the user has not
    # consented.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov

    any_batch = ov.PartialShape([-1, *example.shape[1:]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about shapes, which are the same for all photos
        # Two photos: a batch of one would be traced as a constant.
        two = example[:1].repeat(2, 1, 1, 1)
        model = ov.convert_model(network, example_input=two, input=[any_batch])
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # its default is bfloat16 on CPUs that support it
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # the loaders' processes need the cores too
    }
    fast = ov.compile_model(model, "CPU", settings)
    return lambda photos: torch.from_numpy(fast(photos.contiguous().numpy())[0])


@dataclass(frozen=True)
class Engine:
    """Maps normalised photos (B, 3, h, w) to the backbone's features, without autograd.

    Any batch size; the photos may be on any device. Its weights are a copy of the backbone's.
    """

    name: str
    forward: Forward

    @torch.no_grad()  # not inference_mode: a head cannot train on its tensors
    def __call__(self, photos: Tensor) -> Tensor:
        return self.forward(photos)


def make_engine(
    name: str, backbone: Backbone, example: Tensor, photos: int, channels_last: bool
) -> Engine:
    """Build the engine of `precompute.engine`, checked against eager on `example` (B, 3, h, w).

    `auto` takes the fastest, which depends on the number of `photos`. The backbone and its training
    flags are not changed.

    Raises:
        ConfigError: A named engine is unavailable here, or does not match eager.
    """
    eager = _build("eager", backbone, example, channels_last)
    if name == "eager":
        return eager
    if name == "auto":
        return _fastest(eager, backbone, example, photos, channels_last)
    try:
        return _build_matching(name, backbone, example, channels_last, eager(example))
    except EngineUnavailable as refused:
        raise ConfigError(
            f"precompute.engine={name}: {refused}; expected auto, or eager, which always works"
        ) from refused


def choose(times: Mapping[str, float]) -> str:
    """Return the fastest engine by seconds if it beats `eager` by enough, else `eager`."""
    fastest = min(times, key=lambda name: times[name])
    return fastest if times["eager"] >= GAIN * times[fastest] else "eager"


def _fastest(
    eager: Engine, backbone: Backbone, example: Tensor, photos: int, channels_last: bool
) -> Engine:
    if photos < FEW_BATCHES * len(example):
        log.info("precompute.engine: eager (%s photos are too few to try others)", f"{photos:,}")
        return eager
    engines, refusals = {"eager": eager}, dict[str, str]()
    expected = eager(example)

    def try_engine(name: str) -> None:
        try:
            engines[name] = _build_matching(name, backbone, example, channels_last, expected)
        except EngineUnavailable as refused:
            refusals[name] = str(refused)

    try_engine("folded")
    try_engine("openvino")
    half = example[: (len(example) + 1) // 2]
    times = _seconds(engines, half)
    if min(times.values()) / len(half) * photos >= LONG_PASS:
        try_engine("compile")
        times = _seconds(engines, example)  # the compiled engine only accepts full-size batches
    else:
        refusals["compile"] = "the pass is too short to pay for compiling"
    chosen = choose(times)
    factors = [f"{n} {times['eager'] / s:.2f} times eager's speed" for n, s in times.items()]
    reasons = factors[1:] + [f"no {name}: {reason}" for name, reason in refusals.items()]
    log.info("precompute.engine: %s (%s)", chosen, "; ".join(reasons))
    return engines[chosen]


def _seconds(engines: Mapping[str, Engine], photos: Tensor) -> dict[str, float]:
    """Return each engine's median seconds on `photos`; runs are interleaved so that background load
    affects all engines equally."""
    timings: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine(photos).flatten()[0].item()  # waits for an accelerator
            timings[name].append(time.perf_counter() - started)
    return {name: median(seconds) for name, seconds in timings.items()}


def _build_matching(
    name: str, backbone: Backbone, example: Tensor, channels_last: bool, expected: Tensor
) -> Engine:
    """Build an engine and check its maps against eager's `expected`. Raises EngineUnavailable."""
    try:
        engine = _build(name, backbone, example, channels_last)
        # A single photo, too: the last batch of a pass is smaller than the others.
        maps = torch.cat([engine(example), engine(example[:1])])
    except EngineUnavailable:
        raise
    except Exception as error:  # compilers raise many exception types
        reason = (str(error).splitlines() or [""])[0][:160]
        line = f"it does not work here ({type(error).__name__}: {reason})"
        raise EngineUnavailable(line) from error
    expected = torch.cat([expected, expected[:1]])
    if maps.shape != expected.shape:
        raise EngineUnavailable(f"it gives {tuple(maps.shape)} instead of {tuple(expected.shape)}")
    apart, largest = (maps - expected).abs().max().item(), expected.abs().max().item()
    if not apart <= TOLERANCE * largest:  # `not <=`, so that NaN is refused, too
        raise EngineUnavailable(
            f"its activations differ from eager's by up to {apart:.1e}, more than {TOLERANCE:.0e} "
            f"of the largest, {largest:.1e}"
        )
    return engine


def _build(name: str, backbone: Backbone, example: Tensor, channels_last: bool) -> Engine:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    device = next(backbone.parameters()).device
    example = example.to(device, memory_format=layout)
    network = copy.deepcopy(backbone).eval().requires_grad_(False)
    if name != "eager":
        folded = fold(network, example[:1])
        if name == "folded" and not folded:
            raise EngineUnavailable("this network has no batch norm to fold")
    forward = _BUILDERS[name](network.to(memory_format=layout), example)
    return Engine(name, lambda photos: forward(photos.to(device, memory_format=layout)))


_BUILDERS = {"eager": uncompiled, "folded": uncompiled, "compile": compiled, "openvino": openvino}
