"""Every random stream of a run, derived from its seed and a path of names.

No stream depends on how much another one has used. So a run that goes on from a checkpoint draws
the same numbers as one that was never stopped, with any number of workers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

from pets.distributed.ranks import ranks


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for the stream named by `path`, for example `derive(0, "head", "order", 2)`."""
    name = "/".join(map(str, (seed, *path)))
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


def derive_for_rank(seed: int, *path: str | int) -> int:
    """Like `derive`, another one on every rank of a training; rank 0 has that of one process."""
    rank = ranks().rank
    return derive(seed, *path, "rank", rank) if rank else derive(seed, *path)


@contextmanager
def torch_stream(seed: int) -> Iterator[None]:
    """Torch's CPU generator seeded inside the block and left as it was after it."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
