"""Where an error lies between the lowest and the highest, for bars, colours and axes alike."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_FACTOR = 5.0  # one diverged run beside good ones would hide how these differ


@dataclass(frozen=True)
class Scale:
    """From `low` to `high`, in steps of equal ratios where `logarithmic`."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, errors: Iterable[float]) -> Scale:
        """The scale of these errors, at least one."""
        found = list(errors)
        low, high = min(found), max(found)
        return cls(low, high, logarithmic=low > 0 and high / low >= _FACTOR)

    def place(self, error: float) -> float:
        """0 for the lowest, 1 for the highest."""
        if self.high <= self.low:
            return 0.5
        if self.logarithmic:
            return math.log(error / self.low) / math.log(self.high / self.low)
        return (error - self.low) / (self.high - self.low)
