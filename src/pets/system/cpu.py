"""The CPU cores that this process may use, and how its threads wait for each other."""

import os

# Turns of an empty loop, some microseconds; libgomp's own 300,000 are milliseconds.
_SPINS = 10_000


def available_cores() -> int:
    """How many; at least one."""
    if hasattr(os, "sched_getaffinity"):  # where a process can be bound to some of them
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spin_briefly() -> None:
    """Let OpenMP's idle threads sleep soon, unless the user has chosen how they wait.

    Threads that spin while they wait for each other take a core from those that compute: beside
    two busy processes on two cores, training took twice as long. Spinning for a moment costs
    nothing on a quiet machine. Measured in bench/RESULTS.md.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))
