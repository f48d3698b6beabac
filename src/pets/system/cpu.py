"""The CPU: usable cores, idle threads, freed memory; and what torch's C++ writes."""

from __future__ import annotations

import contextlib
import os
import sys

# Iterations of an empty loop: some microseconds; libgomp's default of 300,000 takes milliseconds.
_SPINS = 10_000
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's mallopt
_NEVER_TRIM, _ONE_GIB = 2**31 - 1, 2**30


def available_cores() -> int:
    """Return how many cores this process may use, at least one."""
    if hasattr(os, "sched_getaffinity"):  # systems on which a process can be bound to some cores
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spin_briefly() -> None:
    """Let OpenMP's idle threads sleep soon, unless the user has set OMP_WAIT_POLICY.

    Threads that spin while they wait take a core from those that compute: next to two busy
    processes on two cores, training took twice as long. A short spin costs nothing on an idle
    machine. Measured in bench/RESULTS.md.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))


def hide_warnings_of_ranks() -> None:
    """Let torch's C++ write only errors in a process that is one of several ranks.

    Where another rank has died, it would write a warning with a stack now and then, next to the
    line in which pets reports it. A level that the user has chosen is kept. Torch reads the level
    when it is loaded.
    """
    numbers = (os.environ.get(name, "1") for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))
    if any(number != "1" for number in numbers):
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks for the next batch; no-op for other C libraries.

    A network's activations are larger than glibc's threshold, so every layer of every batch would
    get new zeroed pages from the kernel: half of the time of a small network's forward pass.
    """
    import ctypes

    if sys.platform.startswith("linux"):
        with contextlib.suppress(AttributeError):  # musl
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, _ONE_GIB)
            mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM)
