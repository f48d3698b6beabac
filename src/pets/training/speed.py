"""How many images a second, and how much of the time went into waiting for them."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass
class Speed:
    """A stopwatch for the training part of epochs; the waiting is for the next batch: reading,
    decoding, augmentation, the way to the device."""

    images: int = 0
    waiting: float = 0.0
    working: float = 0.0
    since: float = 0.0

    def start(self) -> None:
        """An epoch begins: the first batch is waited for."""
        self.since = time.perf_counter()

    def got_batch(self) -> None:
        """The wait is over."""
        self.waiting += self._lap()

    def done_batch(self, images: int) -> None:
        """So many images have been trained on; the next wait begins."""
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
        """Share of the time, 0 to 1."""
        return self.waiting / max(self.waiting + self.working, 1e-9)

    def _lap(self) -> float:
        before, self.since = self.since, time.perf_counter()
        return self.since - before
