"""The work of `pets predict`: photos to shards, shared by the ranks; then one table."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from pets.distributed.process_group import all_gather, on_rank_0
from pets.distributed.ranks import ranks
from pets.errors import DataError
from pets.prediction.output import Output
from pets.prediction.shards import Block, Shards, blocks_of
from pets.prediction.sources import Source
from pets.prediction.stream import Network, Predicted, predict_blocks
from pets.prediction.table import build_table, schema_of
from pets.system.cpu import available_cores
from pets.system.signals import Stopped
from pets.training.speed import Speed

log = logging.getLogger(__name__)
_MAX_THREADS = 16


@dataclass(frozen=True)
class Options:
    """How photos are predicted, by the keys of the config.

    `settings` are plain values: all that the numbers depend on beside the photos.
    """

    batch_size: int
    threads: int
    shard: int
    tta: int
    temperature: float
    top_k: int | None
    settings: dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """How many photos there were, how many of them could not be read, and how many were there
    already; the first rows and errors; the speed of all ranks together."""

    photos: int
    unreadable: int
    reused: int
    rows: list[dict[str, Any]]
    errors: list[str]
    speed: Speed


def predict(
    network: Network, source: Source, output: Output, options: Options, shown: int
) -> Summary | None:
    """Predict all photos of a source; finished blocks of an earlier call are skipped.

    Each of several ranks takes every `world`-th block; rank 0 writes the table and returns the
    summary, with the first `shown` rows and errors.

    Raises:
        ConfigError: The output cannot be written, or is in use.
        DataError: The source changed meanwhile.
    """
    shards = Shards(output.shards, options.settings)
    with output.errors(), contextlib.ExitStack() as lock:
        on_rank_0(lambda: lock.enter_context(output.locked()))
        try:
            fingerprints, reused, speed = _write_shards(network, source, shards, options)
        except Stopped as stopped:
            if ranks().writer:
                _report_stop(stopped, shards, options)
            raise
        by_rank = [(n, Speed(*values)) for n, values in all_gather((reused, astuple(speed)))]
        if not ranks().writer:
            return None
        summary = _summarize(shards, fingerprints, shown, by_rank)
        shards.remove_from(len(fingerprints))
        if not output.folder:
            # A table of nothing but errors does not replace an earlier one.
            if summary.unreadable < summary.photos or not output.path.exists():
                schema = schema_of(network.model.classes, options.top_k)
                output.write(shards, len(fingerprints), schema)
            shutil.rmtree(output.shards)
        return summary


def threads_for(num_workers: int | str) -> int:
    """How many threads read photos; `auto`: one for every core of this rank."""
    if num_workers == "auto":
        return max(1, min(available_cores() // ranks().local_world, _MAX_THREADS))
    return int(num_workers)


def _write_shards(
    network: Network, source: Source, shards: Shards, options: Options
) -> tuple[list[str], int, Speed]:
    """Write this rank's blocks.

    Returns:
        The fingerprints of the blocks of all ranks, how many photos were there already, and how
        fast the others went.
    """
    here, speed = ranks(), Speed()
    fingerprints: list[str] = []
    reused = 0
    total = source.total if here.world == 1 else None
    bar = tqdm(total=total, unit="photo", leave=False, disable=None if here.writer else True)

    def unfinished() -> Iterator[Block]:
        nonlocal reused
        for block in blocks_of(source, options.shard):
            fingerprints.append(block.fingerprint)
            if block.index % here.world != here.rank:
                continue
            if shards.has(block):
                reused += len(block.files)
                bar.update(len(block.files))
            else:
                yield block

    with bar:
        batches: list[Predicted] = []
        for batch in predict_blocks(
            network, unfinished(), options.batch_size, options.tta, options.temperature,
            options.threads, speed,
        ):  # fmt: skip
            batches.append(batch)
            if batch.last:
                probabilities = np.concatenate([b.probabilities for b in batches])
                errors = [error for b in batches for error in b.errors]
                classes = network.model.classes
                table = build_table(
                    batch.block.files, probabilities, errors, classes, options.top_k
                )
                shards.write(batch.block, table)
                batches.clear()
            bar.update(len(batch.errors))
    return fingerprints, reused, speed


def _summarize(
    shards: Shards, fingerprints: list[str], shown: int, by_rank: list[tuple[int, Speed]]
) -> Summary:
    """Count the rows of all shards, which must be of the photos that rank 0 saw."""
    photos = unreadable = 0
    rows: list[dict[str, Any]] = []
    errors: list[str] = []
    for index, fingerprint in enumerate(fingerprints):
        info = shards.info(index)
        if info is None or info.files != fingerprint:
            raise DataError(
                f"{shards.file(index)}: its photos changed while they were predicted; run the same "
                "command again"
            )
        photos += info.photos
        unreadable += info.unreadable
        if len(rows) < shown:
            rows += shards.read(index).slice(0, shown - len(rows)).to_pylist()
        if info.unreadable and len(errors) < shown:
            errors += shards.read(index)["error"].drop_null().to_pylist()[: shown - len(errors)]
    speed = Speed(
        sum(speed.images for _, speed in by_rank),
        sum(speed.waiting for _, speed in by_rank) / len(by_rank),
        sum(speed.working for _, speed in by_rank) / len(by_rank),
    )
    return Summary(photos, unreadable, sum(n for n, _ in by_rank), rows, errors, speed)


def _report_stop(stopped: Stopped, shards: Shards, options: Options) -> None:
    count = len(shards.files())
    log.warning(
        "stopped by %s; finished parts are kept in %s (%s of up to %s photos), the same command "
        "goes on there",
        stopped.signal.name, shards.folder, f"{count:,}", f"{options.shard:,}",
    )  # fmt: skip
    stopped.reported = True
