"""The job of `pets predict`: blocks of photos to shards, shared by the ranks; then one file."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from pets.distributed.process_group import all_gather, on_rank_0
from pets.distributed.ranks import ranks
from pets.errors import DataError
from pets.prediction.blocks import Block, blocks
from pets.prediction.merge import join
from pets.prediction.output import Out, earlier_kept, hold, refuse_strangers, writing
from pets.prediction.shards import Shards
from pets.prediction.sources import Source
from pets.prediction.stream import Named, Network, name_photos
from pets.prediction.table import schema, table_of
from pets.system.cpu import available_cores
from pets.system.signals import Stopped
from pets.training.speed import Speed

log = logging.getLogger(__name__)
_MOST_THREADS = 16


@dataclass(frozen=True)
class How:
    """How photos are named: `shard` photos are a block; `settings`, plain values, are all that the
    numbers depend on beside the photos."""

    batch_size: int
    threads: int
    shard: int
    tta: int
    temperature: float
    top_k: int | None
    settings: dict[str, Any]


@dataclass(frozen=True)
class Done:
    """What came of it: photos, those that could not be read, those of them that were there already;
    the first rows and the first reasons; how fast, over all ranks."""

    photos: int
    unreadable: int
    before: int
    rows: list[dict[str, Any]]
    problems: list[str]
    speed: Speed


def predict(network: Network, source: Source, out: Out, how: How, shown: int) -> Done:
    """Name all photos of the source into `out`; what is there already of the same is kept.

    Of several ranks each takes every `world`-th block; rank 0 puts them together. Raises
    ConfigError where nothing can be written or others' files are in the way, DataError where the
    source changed meanwhile.
    """
    shards = Shards(out.shards, how.settings)
    with writing(out), contextlib.ExitStack() as held:
        on_rank_0(lambda: hold(out, held))
        on_rank_0(lambda: refuse_strangers(out, shards))
        try:
            fingerprints, before, speed = _pass(network, source, shards, how)
        except Stopped as stopped:
            if ranks().writer:
                _say_how_to_go_on(stopped, shards, how)
            raise
        everywhere = all_gather((before, astuple(speed)))
        if not ranks().writer:
            return Done(0, 0, 0, [], [], speed)
        done = _looked_through(shards, fingerprints, shown)
        shards.drop(len(fingerprints))
        if not out.folder:
            # A table of reasons alone does not take the place of an earlier one.
            if done.unreadable < done.photos or not out.path.exists():
                form = schema(network.model.classes, how.top_k)
                with earlier_kept(out):
                    join(shards, len(fingerprints), out.path, form)
            shutil.rmtree(out.shards)
        whole = Speed()
        for _, values in everywhere:
            one = Speed(*values)
            whole.images += one.images
            whole.waiting += one.waiting / len(everywhere)
            whole.working += one.working / len(everywhere)
        return replace(done, before=sum(n for n, _ in everywhere), speed=whole)


def threads_for(asked: int | str) -> int:
    """How many threads read photos: one for every core that this rank has."""
    if asked == "auto":
        return max(1, min(available_cores() // ranks().local_world, _MOST_THREADS))
    return int(asked)


def _pass(
    network: Network, source: Source, shards: Shards, how: How
) -> tuple[list[str], int, Speed]:
    """This rank's blocks to shards. Returns the fingerprints of all ranks' blocks, how many photos
    were there already, and how fast the others went."""
    here, speed = ranks(), Speed()
    fingerprints: list[str] = []
    before = 0
    total = source.total if here.world == 1 else None
    with tqdm(total=total, unit="photo", leave=False, disable=None if here.writer else True) as bar:

        def to_do() -> Iterator[Block]:
            nonlocal before
            for block in blocks(source, how.shard):
                fingerprints.append(block.fingerprint)
                if block.index % here.world != here.rank:
                    continue
                if shards.has(block):
                    before += len(block.files)
                    bar.update(len(block.files))
                    continue
                yield block

        found: list[Named] = []
        for named in name_photos(
            network, to_do(), how.batch_size, how.tta, how.temperature, how.threads, speed
        ):
            found.append(named)
            if named.last:
                shards.write(named.block, _table(found, network.model.classes, how.top_k))
                found.clear()
            bar.update(len(named.errors))
    return fingerprints, before, speed


def _table(found: list[Named], classes: list[str], top_k: int | None) -> Any:
    probabilities = np.concatenate([part.probabilities for part in found])
    errors = [error for part in found for error in part.errors]
    return table_of(found[0].block.files, probabilities, errors, classes, top_k)


def _looked_through(shards: Shards, fingerprints: list[str], shown: int) -> Done:
    """All shards counted and compared with the source as rank 0 saw it."""
    photos = unreadable = 0
    problems: list[str] = []
    rows: list[dict[str, Any]] = []
    for index, expected in enumerate(fingerprints):
        about = shards.about(index)
        if about is None or about.files != expected:
            raise DataError(
                f"{shards.file(index)}: is not of the photos that it should be; they changed in "
                "the meantime: run the same command again"
            )
        photos += about.photos
        unreadable += about.unreadable
        if len(rows) < shown:
            rows += shards.table(index).slice(0, shown - len(rows)).to_pylist()
        if about.unreadable and len(problems) < shown:
            errors = shards.table(index)["error"].drop_null().to_pylist()
            problems += errors[: shown - len(problems)]
    return Done(photos, unreadable, 0, rows, problems, Speed())


def _say_how_to_go_on(stopped: Stopped, shards: Shards, how: How) -> None:
    there = sum(1 for _ in shards.folder.glob("part-*.parquet"))
    log.warning(
        "stopped by %s; %s of %s photos are kept in %s, the same command goes on there",
        stopped.signal.name,
        "1 part" if there == 1 else f"{there:,} parts",
        f"up to {how.shard:,}",
        shards.folder,
    )
    stopped.said = True
