"""Prediction: photos to shards, in parallel on all ranks, then to one table."""

from __future__ import annotations

import contextlib
import logging
import shutil
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from pets.data.views import NAMES
from pets.distributed.process_group import all_gather, on_rank_0
from pets.distributed.ranks import ranks
from pets.errors import DataError
from pets.io.atomic import replacing
from pets.prediction.output import Output
from pets.prediction.shards import Block, Shards, blocks_of
from pets.prediction.sources import Source
from pets.prediction.stream import Network, Predicted, predict_blocks
from pets.prediction.table import FORMATS, build_table, schema_of
from pets.system.cpu import available_cores
from pets.system.signals import Stopped
from pets.training.speed import Speed

log = logging.getLogger(__name__)
_MAX_THREADS = 16


@dataclass(frozen=True)
class Options:
    """The options of a prediction, named like the config keys.

    `checkpoint` is the weights' digest, `unsure` are the numbers of the rule that says what the
    network is not sure of.
    """

    batch_size: int
    threads: int
    shard: int
    tta: int
    temperature: float
    top_k: int | None
    checkpoint: str
    unsure: tuple[float, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that affect the predictions."""
        return {
            "checkpoint": self.checkpoint,
            "tta": list(NAMES[: self.tta]),
            "temperature": self.temperature,
            "top_k": self.top_k,
            **({"unsure": list(self.unsure)} if self.unsure else {}),
        }


@dataclass(frozen=True)
class PredictionSummary:
    """The result of a prediction in numbers.

    These are the numbers of all, unreadable and reused photos, the first rows and errors, and the
    total speed of all ranks.
    """

    photos: int
    unreadable: int
    reused: int
    rows: list[dict[str, Any]]
    errors: list[str]
    speed: Speed


def predict(
    network: Network, source: Source, output: Output, options: Options, shown: int
) -> PredictionSummary | None:
    """Predict all photos of a source, skipping blocks that an earlier call finished.

    Each rank takes every `world`-th block; rank 0 writes the table and returns the summary, with
    the first `shown` rows and errors; the other ranks return None.

    Raises:
        ConfigError: The output cannot be written, or is in use.
        DataError: The source changed during prediction.
    """
    shards = Shards(output.shards, options.settings)
    blocks = blocks_of(source.files, options.shard)
    with output.errors(), contextlib.ExitStack() as lock:
        on_rank_0(lambda: lock.enter_context(output.locked()))
        try:
            reused, speed = _write_shards(network, blocks, shards, options)
        except Stopped as stopped:
            if ranks().writer:
                _report_stop(stopped, shards, options)
            raise
        by_rank = all_gather((reused, speed.images, speed.waiting, speed.working))
        if not ranks().writer:
            return None
        summary = _summarize(shards, blocks, shown, by_rank)
        shards.keep_only(blocks)
        if not output.folder:
            # A table with only errors does not replace an earlier one.
            if summary.unreadable < summary.photos or not output.path.exists():
                schema = schema_of(network.model.classes, options.top_k, network.rule is not None)
                with replacing(output.path) as part:
                    tables = (shards.read(block) for block in blocks)
                    FORMATS[output.path.suffix.lower()](part, schema, tables)
            shutil.rmtree(output.shards)
        return summary


def threads_for(num_workers: int | str) -> int:
    """Return the number of threads that read photos; `auto`: one per core of this rank."""
    if num_workers == "auto":
        return max(1, min(available_cores() // ranks().local_world, _MAX_THREADS))
    return int(num_workers)


def _write_shards(
    network: Network, blocks: list[Block], shards: Shards, options: Options
) -> tuple[int, Speed]:
    """Write this rank's blocks. Returns the number of photos reused from an earlier run, and the
    throughput on the rest."""
    here, speed = ranks(), Speed()
    own = blocks[here.rank :: here.world]
    unfinished = shards.unfinished(own)
    total = sum(len(block.files) for block in own)
    reused = total - sum(len(block.files) for block in unfinished)
    hidden = None if here.writer else True
    batches: list[Predicted] = []
    with tqdm(total=total, initial=reused, unit="photo", leave=False, disable=hidden) as bar:
        for batch in predict_blocks(
            network, unfinished, options.batch_size, options.tta, options.temperature,
            options.threads, speed,
        ):  # fmt: skip
            batches.append(batch)
            if batch.last:
                table = build_table(
                    batch.block.files,
                    np.concatenate([b.probabilities for b in batches]),
                    [error for b in batches for error in b.errors],
                    network.model.classes,
                    options.top_k,
                    network.rule,
                    np.concatenate([b.distances for b in batches]),
                )
                shards.write(batch.block, table)
                batches.clear()
            bar.update(len(batch.errors))
    return reused, speed


def _summarize(
    shards: Shards, blocks: list[Block], shown: int, by_rank: list[tuple[int, int, float, float]]
) -> PredictionSummary:
    """Count the rows of all shards. Raises DataError if a rank read other photos than rank 0."""
    unreadable = 0
    rows: list[dict[str, Any]] = []
    errors: list[str] = []
    for block in blocks:
        failed = shards.unreadable(block)
        if failed is None:
            raise DataError(
                f"{shards.file(block)}: its photos changed while they were predicted; run the same "
                "command again"
            )
        unreadable += failed
        if len(rows) < shown:
            rows += shards.read(block).slice(0, shown - len(rows)).to_pylist()
        if failed and len(errors) < shown:
            errors += shards.read(block)["error"].drop_null().to_pylist()[: shown - len(errors)]
    photos = sum(len(block.files) for block in blocks)
    reused, images, waiting, working = (sum(values) for values in zip(*by_rank, strict=True))
    speed = Speed(int(images), waiting / len(by_rank), working / len(by_rank))
    return PredictionSummary(photos, unreadable, int(reused), rows, errors, speed)


def _report_stop(stopped: Stopped, shards: Shards, options: Options) -> None:
    count = len(shards.files())
    log.warning(
        "stopped by %s; %s finished shards (up to %s photos each) are kept in %s; rerun the same "
        "command to resume",
        stopped.signal.name, f"{count:,}", f"{options.shard:,}", shards.folder,
    )  # fmt: skip
    stopped.reported = True
