"""The process group of a job: what its ranks exchange beside gradients, and how they end together.

Everything goes through `torch.distributed`. The group is made before the training, and Lightning
takes it as it is: gloo for what lies in memory, NCCL for what lies on GPUs. Waits may last for
days, because rank 0 may compute features while the others wait. A rank that ends closes its
connections, so the others get an error at once; torchrun and Slurm end what is left of the job.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pets.distributed.ranks import Ranks, ranks
from pets.errors import LostRankError, PetsError, RankError
from pets.io.serialize import to_json
from pets.system.os_errors import system_error
from pets.system.signals import Stopped

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import Store, Work  # type: ignore[attr-defined]

Value = TypeVar("Value")

_START = timedelta(minutes=5)  # until all ranks must have started
_LONGEST_WAIT = timedelta(days=7)
_SHORT = timedelta(seconds=3)  # for a word through the store
_CAUSE = "pets/cause"  # why the first rank ended that did not end well
_LEFT = "pets/left"  # how many ranks have ended
_KILLED = "killed, or its machine is gone"

_store: Store | None = None  # of the group that this process is in


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Be one of the job's ranks inside the block; one process by itself needs no group.

    The ranks leave the block together. An error on any of them ends all of them with an exit code
    other than 0: rank 0 raises it with the rank's number, the others end without a message.

    Raises:
        RankError: not all ranks start.
        LostRankError: another rank has failed or was killed.
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
    except BaseException as error:
        _leave_early(store, here, error)
        if here.writer:
            raise
        raise SystemExit(error.code if isinstance(error, SystemExit) else 1) from None
    else:
        _destroy()
    finally:
        _store = None


@contextlib.contextmanager
def other_ranks_errors() -> Iterator[None]:
    """Replace an error that follows from another rank's end by that rank's own message.

    Raises:
        LostRankError: another rank has failed or was killed.
        Stopped: another rank was stopped by a signal.
    """
    try:
        yield
    except BaseException as error:
        if _store is None or isinstance(error, PetsError):
            raise
        broken = _is_broken_connection(error)
        if not broken and not isinstance(error, Stopped):
            raise
        raise _cause_of(error, broken, _store, ranks()) from None


def all_gather(value: Value) -> list[Value]:
    """Exchange a value; returns when every rank has given its own.

    Args:
        value: numbers, texts, bytes, tensors, and lists, tuples and dicts of them.

    Returns:
        The values of all ranks, on every rank, in their order.
    """
    if _store is None:
        return [value]
    with other_ranks_errors():
        return [_decode(content) for content in _gather_bytes(_encode(value))]


def on_rank_0(make: Callable[[], Value]) -> Value:
    """What `make()` returns on rank 0, on every rank; the others wait for it."""
    if _store is None:
        return make()
    return all_gather(make() if ranks().writer else None)[0]  # type: ignore[return-value]


def leader_first(make: Callable[[], Value]) -> Value:
    """Call `make()` on one rank of each machine, then on the others, who find what was made."""
    if _store is None:
        return make()
    made = [make()] if ranks().leader else []
    all_gather(None)
    return made[0] if made else make()


def check_same(what: str, value: Any) -> None:
    """Raises RankError on ranks that see another value than rank 0."""
    expected = all_gather(value)[0]
    if value != expected:
        raise RankError(
            f"{what}: {value} on {socket.gethostname()}, {expected} on rank 0; the machines of one "
            "training must see the same files"
        )


def reduce(tensor: Tensor, op: str = "sum") -> Tensor:
    """The `sum`, `mean` or `max` of a tensor over all ranks, on every rank."""
    if _store is None:
        return tensor
    from torch import distributed

    total = tensor.clone()
    operation = distributed.ReduceOp.MAX if op == "max" else distributed.ReduceOp.SUM
    distributed.all_reduce(total, operation)
    return total / ranks().world if op == "mean" else total


def _join(here: Ranks) -> Store:
    """Make the group. Lightning logs on rank 0 alone; each rank has its share of the cores."""
    os.environ |= here.environment  # as torchrun has it; of a step of srun it is not there yet
    # What the store's C++ code writes about a rank that has ended is written here in one line.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    from lightning_utilities.core.rank_zero import rank_zero_only
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    from pets.system.devices import share_threads

    backend = "gloo"
    if torch.cuda.is_available() and distributed.is_nccl_available():
        backend = "cpu:gloo,cuda:nccl"
    try:
        store = next(rendezvous("env://", timeout=_START))[0]
        distributed.init_process_group(
            backend, store=store, rank=here.rank, world_size=here.world, timeout=_LONGEST_WAIT
        )
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RankError(
            f"rank {here.rank} of {here.world} did not meet the others at {here.address}, port "
            f"{here.port}, within {_START.seconds} s ({reason})"
        ) from error
    rank_zero_only.rank = here.rank  # type: ignore[attr-defined]
    if here.local_world > 1 and "OMP_NUM_THREADS" not in os.environ:
        share_threads(here.local_world)
    return store


def _destroy(early: bool = False) -> None:
    from torch import distributed

    with contextlib.suppress(RuntimeError, ValueError, AssertionError):
        if early and distributed.group.WORLD is not None:
            distributed.group.WORLD.abort()  # NCCL would wait for ranks that are gone
        distributed.destroy_process_group()


def _leave_early(store: Store, here: Ranks, error: BaseException) -> None:
    """Leave word of the error in the store, then close the connections, which wakes the others.

    Rank 0 may be the one that serves the store: it stays until the others have read it.
    """
    until = time.monotonic() + _SHORT.seconds
    with contextlib.suppress(RuntimeError):
        store.set_timeout(_SHORT)
        if not isinstance(error, LostRankError):
            number = error.signal if isinstance(error, Stopped) else 0
            store.compare_set(_CAUSE, "", to_json([here.rank, _message(error), number]))
        left = store.add(_LEFT, 1)
        _destroy(early=True)
        while here.writer and left < here.world and time.monotonic() < until:
            time.sleep(0.05)
            left = store.add(_LEFT, 0)


def _cause_of(error: BaseException, broken: bool, store: Store, here: Ranks) -> BaseException:
    """The error that says why another rank has ended, if that is the cause of an error here."""
    rank, message, number = here.rank, "", 0
    try:
        store.set_timeout(_SHORT)
        if store.check([_CAUSE]):
            rank, message, number = json.loads(store.get(_CAUSE))
    except RuntimeError:
        if broken:  # the store ended with rank 0, which cannot tell any more
            print(f"rank {here.rank}: rank 0 has ended: {_KILLED}", file=sys.stderr)
    if rank != here.rank and not number:
        return LostRankError(f"rank {rank}: {message}")
    if rank != here.rank and broken:
        return Stopped(number)
    return LostRankError(f"another rank has ended: {_KILLED}") if broken else error


def _is_broken_connection(error: BaseException) -> bool:
    """Whether a collective failed because another rank is gone."""
    from torch.distributed import DistError

    is_gloo = isinstance(error, RuntimeError) and "gloo" in str(error)
    return is_gloo or isinstance(error, DistError)


def _message(error: BaseException) -> str:
    if isinstance(error, Stopped):
        return f"stopped by {error.signal.name}"
    if isinstance(error, PetsError):
        return str(error)
    return system_error(error) or "".join(traceback.format_exception(error)).strip()


def _gather_bytes(content: Tensor) -> list[Tensor]:
    """The contents (bytes,) uint8 of all ranks, which differ in length."""
    import torch

    sizes = _gather(torch.tensor([len(content)]))
    longest = int(max(sizes))
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: len(content)] = content
    return [found[: int(n)] for found, n in zip(_gather(padded), sizes, strict=True)]


def _gather(tensor: Tensor) -> list[Tensor]:
    import torch
    from torch import distributed

    gathered = [torch.zeros_like(tensor) for _ in range(ranks().world)]
    _wait(distributed.all_gather(gathered, tensor, async_op=True))
    return gathered


def _wait(work: Work | None) -> None:
    """Wait in Python, where a signal is heard: C++ would not come back for it."""
    assert work is not None
    pause = 0.0005
    while not work.is_completed():
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    work.wait()


def _encode(value: Any) -> Tensor:
    import torch

    stream = io.BytesIO()
    torch.save(value, stream)  # noqa: TID251 - goes to no file
    return torch.frombuffer(stream.getbuffer(), dtype=torch.uint8)


def _decode(content: Tensor) -> Any:
    import torch

    return torch.load(io.BytesIO(content.numpy().tobytes()), weights_only=True)
