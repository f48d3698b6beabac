"""The frozen backbone's forward pass, as fast as the machine can have it with the same numbers."""

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

TOLERANCE = 1e-4  # of the largest activation: how far an engine may be from eager
GAIN = 1.2  # times eager's speed: less is not worth numbers that differ in the last digits
ROUNDS = 3  # timings of each engine, on half a batch; the median counts
FEW_BATCHES = 20  # trying all engines costs about ten: a shorter pass cannot gain them
# Compiling takes 10 to 30 seconds on one core (ResNet-34, EfficientNet-Lite0), twice that where the
# machine is busy. A factor of 1.2 gives 100 seconds of such a pass back, but often there is none.
LONG_PASS = 600.0  # seconds

Forward = Callable[[Tensor], Tensor]


class Refused(Exception):
    """Why there is no such engine here, and the way out where there is one."""


def check_engine(name: str, device: str) -> None:
    """Say before anything is read that an engine's package is missing, or its device another one.
    Raises ConfigError."""
    try:
        if name == "openvino":
            _need_openvino(device)
    except Refused as refused:
        raise ConfigError(f"precompute.engine=openvino: {refused}; expected auto") from refused


def _need_openvino(device: str) -> None:
    if device != "cpu":
        raise Refused(f"it computes on CPUs, the backbone is on {device}")
    if find_spec("openvino") is None:
        raise Refused(f"its package is not installed ({install('openvino')})")


def as_it_is(network: nn.Module, example: Tensor) -> Forward:
    """torch's own forward pass, a layer after the other."""
    return network


def compiled(network: nn.Module, example: Tensor) -> Forward:
    """Compiled for batches of the example's size alone: every other size would cost as much again.

    Smaller batches are filled up with zeros, larger ones are split.
    """
    # Frozen weights are packed for oneDNN: without it ResNet-34 runs at half of eager's speed.
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
    """Converted for OpenVINO, for batches of any size. Raises Refused off CPUs or without it."""
    _need_openvino(example.device.type)
    # OpenVINO reports its use over the net unless this package is missing: nobody was asked.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov

    any_batch = ov.PartialShape([-1, *example.shape[1:]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, on shapes that are the same for all photos
        # Two photos: a batch of one would be taken for a constant.
        two = example[:1].repeat(2, 1, 1, 1)
        model = ov.convert_model(network, example_input=two, input=[any_batch])
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # its own choice is bfloat16 where the CPU has it
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # the loaders' processes need the cores too
    }
    fast = ov.compile_model(model, "CPU", settings)
    return lambda photos: torch.from_numpy(fast(photos.contiguous().numpy())[0])


@dataclass(frozen=True)
class Engine:
    """Normalised photos (B, 3, h, w) to feature maps (B, C, h', w'), without a graph.

    Any batch size; the photos may lie on any device. Its weights are a copy of the backbone's.
    """

    name: str
    forward: Forward

    @torch.no_grad()  # not inference_mode, whose tensors no head could learn from
    def __call__(self, photos: Tensor) -> Tensor:
        return self.forward(photos)


def make_engine(
    name: str, backbone: Backbone, example: Tensor, photos: int, channels_last: bool
) -> Engine:
    """The engine of `precompute.engine`, checked against eager on `example` (B, 3, h, w).

    `auto` takes the fastest, which depends on how many `photos` will pass. The backbone stays as it
    is, its training flags too. Raises ConfigError where a named engine cannot be had here or
    gives other numbers than eager.
    """
    eager = _build("eager", backbone, example, channels_last)
    if name == "eager":
        return eager
    if name == "auto":
        return _fastest(eager, backbone, example, photos, channels_last)
    try:
        return _agreeing(name, backbone, example, channels_last, eager(example))
    except Refused as refused:
        raise ConfigError(
            f"precompute.engine={name}: {refused}; expected auto, or eager, which always works"
        ) from refused


def choose(times: Mapping[str, float]) -> str:
    """The fastest engine by its seconds, if it gains enough over `eager`; else `eager`."""
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

    def have(name: str) -> None:
        try:
            engines[name] = _agreeing(name, backbone, example, channels_last, expected)
        except Refused as refused:
            refusals[name] = str(refused)

    have("folded")
    have("openvino")
    half = example[: (len(example) + 1) // 2]
    times = _seconds(engines, half)
    if min(times.values()) / len(half) * photos >= LONG_PASS:
        have("compile")
        times = _seconds(engines, example)  # what is compiled takes no halves
    else:
        refusals["compile"] = "the pass is too short to pay for compiling"
    chosen = choose(times)
    factors = [f"{n} {times['eager'] / s:.2f} times eager's speed" for n, s in times.items()]
    said = factors[1:] + [f"no {name}: {reason}" for name, reason in refusals.items()]
    log.info("precompute.engine: %s (%s)", chosen, "; ".join(said))
    return engines[chosen]


def _seconds(engines: Mapping[str, Engine], photos: Tensor) -> dict[str, float]:
    """Median seconds of each on `photos`, in turns: a busy moment of the machine meets all."""
    took: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine(photos).flatten()[0].item()  # waits for an accelerator
            took[name].append(time.perf_counter() - started)
    return {name: median(seconds) for name, seconds in took.items()}


def _agreeing(
    name: str, backbone: Backbone, example: Tensor, channels_last: bool, expected: Tensor
) -> Engine:
    """The engine, if it can be had and gives eager's `expected` maps. Raises Refused."""
    try:
        engine = _build(name, backbone, example, channels_last)
        # One photo alone too: the last batch of a pass is smaller than the others.
        found = torch.cat([engine(example), engine(example[:1])])
    except Refused:
        raise
    except Exception as error:  # compilers have exceptions of their own
        reason = (str(error).splitlines() or [""])[0][:160]
        raise Refused(f"it does not work here ({type(error).__name__}: {reason})") from error
    expected = torch.cat([expected, expected[:1]])
    if found.shape != expected.shape:
        raise Refused(f"it gives {tuple(found.shape)} instead of {tuple(expected.shape)}")
    apart, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    if not apart <= TOLERANCE * largest:  # NaN is no agreement either
        raise Refused(
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
            raise Refused("this network has no batch norm to fold")
    forward = _BUILDERS[name](network.to(memory_format=layout), example)
    return Engine(name, lambda photos: forward(photos.to(device, memory_format=layout)))


_BUILDERS = {"eager": as_it_is, "folded": as_it_is, "compile": compiled, "openvino": openvino}
