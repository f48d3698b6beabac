"""Photos that arrive while the network is busy pass it together."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
log = logging.getLogger(__name__)


class _Waiting(NamedTuple, Generic[Item, Result]):
    item: Item
    result: Future[Result]


class Batcher(Generic[Item, Result]):
    """One thread that does `work` for what has gathered: the results of up to `max_batch` items, in
    their order.

    An item waits `wait` seconds for others at most; those that came while the thread was at work
    are taken at once.
    """

    def __init__(
        self, work: Callable[[list[Item]], list[Result]], max_batch: int, wait: float = 0.0
    ) -> None:
        self._work, self._max_batch, self._wait = work, max_batch, wait
        self._queue: queue.SimpleQueue[_Waiting[Item, Result] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    async def __call__(self, item: Item) -> Result:
        """What `work` says of the item; raises what it raises. A cancelled call is left out."""
        return await asyncio.wrap_future(self.submit(item))

    def submit(self, item: Item) -> Future[Result]:
        """The same for a caller that is no coroutine."""
        waiting = _Waiting(item, Future[Result]())
        self._queue.put(waiting)
        return waiting.result

    @property
    def alive(self) -> bool:
        """Whether anything will be answered."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the thread after what it is doing."""
        self._queue.put(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, ended = self._gathered(first)
            self._answer(
                [waiting for waiting in batch if waiting.result.set_running_or_notify_cancel()]
            )
            if ended:
                return

    def _gathered(self, first: _Waiting[Item, Result]) -> tuple[list[_Waiting[Item, Result]], bool]:
        """What passes together, and whether the thread is to end after it."""
        batch = [first]
        until = time.monotonic() + self._wait
        while len(batch) < self._max_batch:
            left = until - time.monotonic()
            try:
                found = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if found is None:
                return batch, True
            batch.append(found)
        return batch, False

    def _answer(self, batch: list[_Waiting[Item, Result]]) -> None:
        if not batch:
            return
        try:
            results = self._work([waiting.item for waiting in batch])
        except Exception as error:
            log.exception("a batch of %s photos failed", len(batch))
            for waiting in batch:
                waiting.result.set_exception(error)
            return
        for waiting, result in zip(batch, results, strict=True):
            waiting.result.set_result(result)
