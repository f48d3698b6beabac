"""Threads that read and decode photos: PIL and torchvision let go of Python's lock meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import Future
from queue import Empty, SimpleQueue

from torch import Tensor

from pets.data.images import UnreadableImage, open_rgb
from pets.data.transforms import to_tensor
from pets.data.views import Views
from pets.prediction.filesystems import opened, remote

_PATIENCE = 2.0  # seconds: longer than a photo takes to decode

_Task = tuple[Future[str], str, Tensor]


class Readers:
    """Photos to their views, in the background.

    Not an executor, whose threads are waited for when the process ends: one that hangs in a read
    over the net would keep it alive.
    """

    def __init__(self, threads: int, views: Views) -> None:
        self.views = views
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, daemon=True, name=f"photos-{number}")
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def read(self, file: str, into: Tensor) -> Future[str]:
        """Write the photo's views (V, 3, h, w), uint8, into their place; the result is why that
        cannot be done, "" where it is."""
        found: Future[str] = Future()
        self._tasks.put((found, file, into))
        return found

    def close(self) -> None:
        """What has not begun is left."""
        with contextlib.suppress(Empty):
            while True:
                self._tasks.get_nowait()
        for _ in self._threads:
            self._tasks.put(None)
        until = time.monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            found, file, into = task
            try:
                found.set_result(self._views_of(file, into))
            except BaseException as error:  # raised where the result is asked for
                found.set_exception(error)

    def _views_of(self, file: str, into: Tensor) -> str:
        try:
            photo = to_tensor(open_rgb(file, opened if remote(file) else None))
        except UnreadableImage as error:
            return str(error)
        into.copy_(self.views(photo))
        return ""
