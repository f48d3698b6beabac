"""The CPU cores that this process may use."""

import os


def available_cores() -> int:
    """How many; at least one."""
    if hasattr(os, "sched_getaffinity"):  # where a process can be bound to some of them
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
