"""The process group of a job: what its ranks exchange beside gradients, and how they end together.

Everything goes through `torch.distributed`. The group is made before the training, and Lightning
takes it as it is: gloo for what lies in memory, NCCL for what lies on GPUs. Waits may last for
days, because rank 0 may compute features while the others wait. A rank that ends closes its
connections, so the others get an error at once; torchrun and Slurm end what is left of the job.
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
from pets.errors import LostRankError, PetsError, RankError
from pets.system.os_errors import system_error
from pets.system.signals import Stopped, received

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import Store  # type: ignore[attr-defined]

Value = TypeVar("Value")

_START = timedelta(minutes=5)  # until all ranks must have started
_LONGEST_WAIT = timedelta(days=7)
_SHORT = timedelta(seconds=3)  # for a message through the store
_CAUSE = "pets/cause"  # in the store: why the first rank failed, in one line with its number

_store: Store | None = None  # of the group that this process is in


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Be one of the job's ranks inside the block; one process by itself needs no group.

    The ranks leave the block together. An error on any of them ends all of them with an exit code
    other than 0: rank 0 raises it with the rank's number, the others end without a message. What
    a rank 0 that is killed cannot tell, torchrun and Slurm do.

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
    """Replace an error that follows from another rank's end by that rank's own message.

    Raises:
        LostRankError: another rank has failed or was killed.
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
        if number := received():  # both were asked to stop, and the other rank was faster
            raise Stopped(number) from None
        cause = "another rank has ended: killed, or its machine is gone"
        with contextlib.suppress(RuntimeError):
            _store.set_timeout(_SHORT)
            if _store.check([_CAUSE]):
                cause = _store.get(_CAUSE).decode()
        raise LostRankError(cause) from None


def all_gather(value: Value) -> list[Value]:
    """Return the values that all ranks give, in their order: plain types and tensors."""
    if _store is None:
        return [value]
    import torch

    stream = io.BytesIO()
    torch.save(value, stream)  # noqa: TID251 - goes to no file
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
    """Raise RankError on ranks that see another value than rank 0."""
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

    nccl = torch.cuda.is_available() and distributed.is_nccl_available()
    try:
        store = next(rendezvous("env://", timeout=_START))[0]
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if nccl else "gloo",
            store=store, rank=here.rank, world_size=here.world, timeout=_LONGEST_WAIT,
        )  # fmt: skip
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


def _gather(tensor: Tensor) -> list[Tensor]:
    import torch
    from torch import distributed

    gathered = [torch.zeros_like(tensor) for _ in range(ranks().world)]
    work = distributed.all_gather(gathered, tensor, async_op=True)
    assert work is not None
    # Wait in Python, where a signal is heard: C++ would not come back for it.
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
            distributed.group.WORLD.abort()  # NCCL would wait for ranks that are gone
        distributed.destroy_process_group()


def _tell_rank_0(store: Store, here: Ranks, error: BaseException) -> None:
    """Leave the error in the store, before the closed connections wake rank 0."""
    if isinstance(error, LostRankError):
        return
    line = str(error) if isinstance(error, PetsError) else system_error(error)
    if isinstance(error, Stopped):
        line = f"stopped by {error.signal.name}"
    message = line or "".join(traceback.format_exception(error)).strip()
    with contextlib.suppress(RuntimeError):
        store.set_timeout(_SHORT)
        store.compare_set(_CAUSE, "", f"rank {here.rank}: {message}")
