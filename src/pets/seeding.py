"""Named random streams of a run, derived from its seed and a path of names.

The streams are independent of each other's use. So a run resumed from a checkpoint draws the same
numbers as one that was never stopped, with any number of workers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

from pets.distributed.ranks import ranks


def derive(seed: int, *path: str | int) -> int:
    """Return a 63-bit seed for the stream `path`, for example `derive(0, "head", "order", 2)`."""
    name = "/".join(map(str, (seed, *path)))
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


def derive_for_rank(seed: int, *path: str | int) -> int:
    """Like `derive`, with a different seed per rank; rank 0 gets that of a single process."""
    rank = ranks().rank
    return derive(seed, *path, "rank", rank) if rank else derive(seed, *path)


@contextmanager
def torch_stream(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator inside the block, and restore its state after it."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
