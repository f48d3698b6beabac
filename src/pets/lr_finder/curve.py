"""What the mock training measured: rates, losses, why it ended, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pets.config import FinderConfig
from pets.lr_finder.suggestions import FEWEST, METHODS, Array, NoSuggestion, smooth

# Of the steps asked for: at the smallest rates the loss is still that of the first batches alone.
# fastai leaves out the same tenth, and the last 5 of 100, where the loss is about to explode.
SKIPPED_AT_START, SKIPPED_AT_END = 0.1, 0.05


@dataclass(frozen=True)
class Curve:
    """Rates of the layer group that trains fastest, and the loss of the batch before each step."""

    lrs: Array
    losses: Array
    settings: FinderConfig
    ended: str
    """Why: `finished`, or what the loss did."""
    photos: int
    """How many were trained on, over all ranks."""
    seconds: float

    @property
    def used(self) -> slice:
        """The points that suggestions are read from; the others are too early or too late."""
        start = round(SKIPPED_AT_START * self.settings.steps)
        end = len(self.losses) - round(SKIPPED_AT_END * self.settings.steps)
        return slice(start, max(end, start))

    @property
    def smoothed(self) -> Array:
        """The used losses as the suggestions see them."""
        losses = self.losses[self.used]
        return smooth(losses) if len(losses) >= FEWEST else losses

    def suggest(self, method: str) -> float:
        """The rate by one of `METHODS`. Raises NoSuggestion, saying why."""
        used = len(self.losses[self.used])
        if used < FEWEST:
            raise NoSuggestion(
                f"{used} usable points of {len(self.losses)} steps, expected at least {FEWEST}: "
                "a larger lr_finder.steps or a smaller lr_finder.start_lr"
            )
        # The explosion disturbs those that look for the fall; slide looks for the explosion.
        points = slice(self.used.start, None) if method == "slide" else self.used
        return METHODS[method](self.lrs[points], self.losses[points])

    def choose(self) -> tuple[str, float]:
        """The first of the settings' methods that the curve supports, and its rate.

        Raises NoSuggestion, saying why each does not.
        """
        found = self.suggestions()
        for method in self.settings.method:
            rate = found[method]
            if isinstance(rate, float):
                return method, rate
        raise NoSuggestion("; ".join(f"{m}: {found[m]}" for m in self.settings.method))

    def suggestions(self) -> dict[str, float | str]:
        """For every method its rate, or why there is none."""
        found: dict[str, float | str] = {}
        for method in METHODS:
            try:
                found[method] = self.suggest(method)
            except NoSuggestion as none:
                found[method] = str(none)
        return found

    def loss_at(self, lr: float) -> float:
        """The smoothed loss at a rate."""
        return float(np.interp(np.log(lr), np.log(self.lrs[self.used]), self.smoothed))

    def as_json(self) -> dict[str, Any]:
        """Every point and every suggestion, as plain values."""
        first = self.used.start
        smoothed = {first + place: float(loss) for place, loss in enumerate(self.smoothed)}
        found = self.suggestions()
        return {
            "settings": self.settings.model_dump(),
            "ended": self.ended,
            "steps": len(self.lrs),
            "photos": self.photos,
            "seconds": round(self.seconds, 1),
            "suggestions": {m: v if isinstance(v, float) else None for m, v in found.items()},
            "no_suggestion": {m: v for m, v in found.items() if isinstance(v, str)},
            "points": [
                {"lr": float(lr), "loss": float(loss), "smoothed": smoothed.get(place)}
                for place, (lr, loss) in enumerate(zip(self.lrs, self.losses, strict=True))
            ],
        }
