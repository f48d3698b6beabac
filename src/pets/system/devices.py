"""Devices: which one to use, its fast precision, threads, and the compiler."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pets.errors import ConfigError

_whole: int | None = None


def share_threads(jobs: int) -> None:
    """Use this process's share of the threads, if several `jobs` run on this machine."""
    global _whole
    own = torch.get_num_threads()
    _whole = _whole or own
    torch.set_num_threads(max(1, own // jobs))


@contextlib.contextmanager
def all_threads() -> Iterator[None]:
    """Use all threads inside the block, for work that other jobs wait for."""
    share = torch.get_num_threads()
    torch.set_num_threads(_whole or share)
    try:
        yield
    finally:
        torch.set_num_threads(share)


def device_type(accelerator: Any) -> str:
    """Return cpu, cuda or mps for Lightning's `accelerator`: auto, gpu, cpu, ..."""
    if accelerator not in ("auto", "gpu"):
        return str(accelerator)
    current = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if current is None else current.type


def usable_device(name: str, gpu: int | None = None) -> torch.device:
    """Return the device of this name (cuda:1), or with `auto` the machine's best.

    If several processes share the machine, `gpu` is the index of this process's GPU. Raises
    ConfigError if the device cannot be used here.
    """
    chosen = device_type("auto") if name == "auto" else name
    if chosen == "cuda" and gpu is not None:
        chosen = f"cuda:{gpu}"
    try:
        device = torch.device(chosen)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:100]
        raise ConfigError(f"device={name}: cannot be used here ({reason}); use auto") from error
    return device


def fast_precision(device: str) -> str:
    """Return Lightning's name of the fastest precision without visible loss of accuracy.

    bfloat16 on devices with hardware for it: GPUs since NVIDIA's Ampere, CPUs with AMX. Other CPUs
    emulate it, at a quarter of the speed.
    """
    if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed"
    if device == "cpu" and torch.cpu._is_amx_tile_supported():
        return "bf16-mixed"
    return "32-true"


def check_compiler() -> None:
    """Raise ConfigError if there is no C++ compiler, which torch.compile needs."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except (InvalidCxxCompiler, RuntimeError) as error:
        raise ConfigError(
            "compile=true: no C++ compiler found (g++ or clang++, or the one that CXX names); "
            "install one, or set compile=false"
        ) from error


def resolve_precision(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Trainer's arguments with `precision: auto` resolved for its accelerator."""
    if values.get("precision") != "auto":
        return dict(values)
    device = device_type(values.get("accelerator", "auto"))
    return {**values, "precision": fast_precision(device)}
