"""Dynamic batching: photos that arrive during a forward pass share the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
log = logging.getLogger(__name__)


class Batcher(Generic[Item, Result]):
    """A thread that calls `work` with all waiting items, at most `max_batch` at a time.

    `work` takes items and returns their results, in the same order.
    """

    def __init__(self, work: Callable[[list[Item]], list[Result]], max_batch: int) -> None:
        self._work, self._max_batch = work, max_batch
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Result]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "network")

    def warm_up(self, item: Item) -> None:
        """Call `work` once, in its thread."""
        self._thread.submit(self._work, [item]).result()

    async def __call__(self, item: Item) -> Result:
        """Return the item's result, or raise what `work` raises. Cancelled calls are skipped."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((item, result))
        return await result

    def close(self) -> None:
        """Stop the thread after its current batch."""
        self._thread.shutdown()

    async def run(self) -> None:
        """Process batches until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            gathered = [await self._queue.get()]
            while len(gathered) < self._max_batch and not self._queue.empty():
                gathered.append(self._queue.get_nowait())
            batch = [(item, result) for item, result in gathered if not result.cancelled()]
            if not batch:
                continue
            try:
                items = [item for item, _ in batch]
                values = await loop.run_in_executor(self._thread, self._work, items)
            except Exception as error:
                log.exception("a batch of %s photos failed", len(batch))
                for _, result in batch:
                    if not result.done():
                        result.set_exception(error)
                continue
            for (_, result), value in zip(batch, values, strict=True):
                if not result.done():  # not cancelled during the batch
                    result.set_result(value)
