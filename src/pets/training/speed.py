"""Training throughput, and the share of time spent waiting for data."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass
class Speed:
    """A stopwatch for the training part of epochs. Waiting means waiting for the next batch:
    reading, decoding, augmentation, transfer to the device."""

    images: int = 0
    waiting: float = 0.0
    working: float = 0.0
    since: float = 0.0

    def start(self) -> None:
        """Start timing: the wait for the first batch begins."""
        self.since = time.perf_counter()

    def got_batch(self) -> None:
        """Record that the wait for a batch has ended."""
        self.waiting += self._lap()

    def done_batch(self, images: int) -> None:
        """Record a finished batch; the wait for the next one begins."""
        self.working += self._lap()
        self.images += images

    def __sub__(self, earlier: Speed) -> Speed:
        waiting, working = self.waiting - earlier.waiting, self.working - earlier.working
        return Speed(self.images - earlier.images, waiting, working)

    @property
    def images_per_second(self) -> float:
        return self.images / max(self.waiting + self.working, 1e-9)

    @property
    def waited(self) -> float:
        """Share of the time spent waiting for data, 0 to 1."""
        return self.waiting / max(self.waiting + self.working, 1e-9)

    def _lap(self) -> float:
        before, self.since = self.since, time.perf_counter()
        return self.since - before
