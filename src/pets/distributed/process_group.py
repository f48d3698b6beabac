"""The process group of a job: what its ranks exchange besides gradients, and how they end together.

Everything goes through `torch.distributed`. The group is created before training, and Lightning
uses it: gloo for CPU tensors, NCCL for GPU tensors. Waits may last for days, because rank 0 may
compute features while the others wait. A rank that ends closes its connections, so the others get
an error at once; torchrun and Slurm end the rest of the job.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pets.distributed.ranks import Ranks, ranks
from pets.errors import LostRankError, PetsError, RankError, reason_of
from pets.system.os_errors import system_error
from pets.system.signals import Stopped, received

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import Store  # type: ignore[attr-defined]

Value = TypeVar("Value")

_START = timedelta(minutes=5)  # time limit for all ranks to start
_LONGEST_WAIT = timedelta(days=7)
_SHORT = timedelta(seconds=3)  # for a message through the store
_CAUSE = "pets/cause"  # key in the store: why the first rank failed, as one line with its number

_store: Store | None = None  # of the group that this process has joined


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the job's process group for the duration of the block; no-op for a single process.

    The ranks leave the block together. An error on any of them ends all of them with a non-zero
    exit code: rank 0 raises it with the rank's number, the others exit without a message. If rank
    0 itself is killed, torchrun or Slurm reports it.

    Raises:
        RankError: Not all ranks started.
        LostRankError: Another rank failed or was killed.
    """
    global _store
    here = ranks()
    if here.world == 1:
        yield
        return
    _store = store = _join(here)
    try:
        with other_ranks_errors():
            yield
            all_gather(None)
        _destroy()
    except BaseException as error:
        if not here.writer:
            _tell_rank_0(store, here, error)
        _destroy(early=True)
        if here.writer:
            raise
        raise SystemExit(error.code if isinstance(error, SystemExit) else 1) from None
    finally:
        _store = None


@contextlib.contextmanager
def other_ranks_errors() -> Iterator[None]:
    """Replace an error caused by another rank's failure with that rank's own message.

    Raises:
        LostRankError: Another rank failed or was killed.
    """
    try:
        yield
    except Exception as error:
        if _store is None or isinstance(error, PetsError):
            raise
        from torch.distributed import DistError

        broken = isinstance(error, RuntimeError) and "gloo" in str(error)
        if not broken and not isinstance(error, DistError):
            raise
        if number := received():  # both ranks were signalled, and the other one was faster
            raise Stopped(number) from None
        cause = "another rank has ended: killed, or its machine is gone"
        with contextlib.suppress(RuntimeError):
            _store.set_timeout(_SHORT)
            if _store.check([_CAUSE]):
                cause = _store.get(_CAUSE).decode()
        raise LostRankError(cause) from None


def all_gather(value: Value) -> list[Value]:
    """Return the values of all ranks, in rank order: plain types and tensors."""
    if _store is None:
        return [value]
    import torch

    stream = io.BytesIO()
    torch.save(value, stream)  # noqa: TID251 - not to a file
    content = torch.frombuffer(stream.getbuffer(), dtype=torch.uint8)
    with other_ranks_errors():
        # Contents differ in length: they are padded to the longest.
        sizes = [int(size) for size in _gather(torch.tensor([len(content)]))]
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded[: len(content)] = content
        contents = [
            row[:n].numpy().tobytes() for row, n in zip(_gather(padded), sizes, strict=True)
        ]
        return [torch.load(io.BytesIO(content), weights_only=True) for content in contents]


def on_rank_0(make: Callable[[], Value]) -> Value:
    """Call `make` on rank 0 and broadcast the result to all ranks."""
    if _store is None:
        return make()
    return all_gather(make() if ranks().writer else None)[0]  # type: ignore[return-value]


def leader_first(make: Callable[[], Value]) -> Value:
    """Call `make` on one rank of each machine first, then on the others, which use its results."""
    if _store is None:
        return make()
    made = [make()] if ranks().leader else []
    all_gather(None)
    return made[0] if made else make()


def check_same(what: str, value: Any) -> None:
    """Raise RankError on ranks whose value differs from that of rank 0."""
    expected = all_gather(value)[0]
    if value != expected:
        raise RankError(
            f"{what}: {value} on {socket.gethostname()}, {expected} on rank 0; all machines of a "
            "run must see the same files"
        )


def reduce(tensor: Tensor, op: str = "sum") -> Tensor:
    """Return the `sum`, `mean` or `max` of a tensor over all ranks, on every rank."""
    if _store is None:
        return tensor
    from torch import distributed

    total = tensor.clone()
    operation = distributed.ReduceOp.MAX if op == "max" else distributed.ReduceOp.SUM
    distributed.all_reduce(total, operation)
    return total / ranks().world if op == "mean" else total


def _join(here: Ranks) -> Store:
    """Create the group. Lightning then logs only on rank 0; each rank gets its share of cores."""
    os.environ |= here.environment  # as torchrun sets it; srun does not
    # The store's C++ code logs a lost rank in many lines; it is reported here in one.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    from lightning_utilities.core.rank_zero import rank_zero_only
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    from pets.system.devices import share_threads

    nccl = torch.cuda.is_available() and distributed.is_nccl_available()
    try:
        store = next(rendezvous("env://", timeout=_START))[0]
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if nccl else "gloo",
            store=store, rank=here.rank, world_size=here.world, timeout=_LONGEST_WAIT,
        )  # fmt: skip
    except (RuntimeError, OSError) as error:
        reason = reason_of(error)
        raise RankError(
            f"rank {here.rank} of {here.world} could not join the others at {here.address}, port "
            f"{here.port}, within {_START.seconds} s ({reason})"
        ) from error
    rank_zero_only.rank = here.rank  # type: ignore[attr-defined]
    if here.local_world > 1 and "OMP_NUM_THREADS" not in os.environ:
        share_threads(here.local_world)
    return store


def _gather(tensor: Tensor) -> list[Tensor]:
    import torch
    from torch import distributed

    gathered = [torch.zeros_like(tensor) for _ in range(ranks().world)]
    work = distributed.all_gather(gathered, tensor, async_op=True)
    assert work is not None
    # Poll in Python so that signals are handled; a wait in C++ would block them.
    pause = 0.0005
    while not work.is_completed():
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    work.wait()
    return gathered


def _destroy(early: bool = False) -> None:
    from torch import distributed

    with contextlib.suppress(RuntimeError, ValueError, AssertionError):
        if early and distributed.group.WORLD is not None:
            distributed.group.WORLD.abort()  # NCCL would wait for lost ranks
        distributed.destroy_process_group()


def _tell_rank_0(store: Store, here: Ranks, error: BaseException) -> None:
    """Write the error to the store, before the closed connections wake rank 0."""
    if isinstance(error, LostRankError):
        return
    line = str(error) if isinstance(error, PetsError) else system_error(error)
    if isinstance(error, Stopped):
        line = f"stopped by {error.signal.name}"
    message = line or "".join(traceback.format_exception(error)).strip()
    with contextlib.suppress(RuntimeError):
        store.set_timeout(_SHORT)
        store.compare_set(_CAUSE, "", f"rank {here.rank}: {message}")
