"""Dynamic batching: photos that arrive while the network is busy pass it together."""

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
    """A thread that calls `work` with the items that have gathered, at most `max_batch` of them.

    Args:
        work: from items to their results, in the same order.
        max_batch: the most items of one call.
        wait: seconds that an item waits for others; those that came during a call do not.
    """

    def __init__(
        self, work: Callable[[list[Item]], list[Result]], max_batch: int, wait: float = 0.0
    ) -> None:
        self._work, self._max_batch, self._wait = work, max_batch, wait
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Result]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "network")
        self._task: asyncio.Task[None] | None = None

    def warm_up(self, item: Item) -> None:
        """Call `work` once, in its thread."""
        self._thread.submit(self._work, [item]).result()

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self._task = asyncio.create_task(self._run())

    @property
    def alive(self) -> bool:
        """Whether items are worked on."""
        return self._task is not None and not self._task.done()

    async def __call__(self, item: Item) -> Result:
        """The result of the item; raises what `work` raises. A cancelled call is left out."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((item, result))
        return await result

    def close(self) -> None:
        """End the thread after its batch."""
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            if not batch:  # all of it was cancelled
                continue
            items = [item for item, _ in batch]
            try:
                results = await loop.run_in_executor(self._thread, self._work, items)
            except Exception as error:
                log.exception("a batch of %s photos failed", len(batch))
                for _, result in batch:
                    if not result.done():
                        result.set_exception(error)
                continue
            for (_, result), value in zip(batch, results, strict=True):
                if not result.done():  # cancelled meanwhile
                    result.set_result(value)

    async def _gather(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch = [await self._queue.get()]
        until = asyncio.get_running_loop().time() + self._wait
        while len(batch) < self._max_batch:
            try:
                async with asyncio.timeout_at(until):
                    batch.append(await self._queue.get())
            except TimeoutError:
                break
        return [(item, result) for item, result in batch if not result.cancelled()]
