"""The curve of a range test: rates, losses, suggestions, and a plot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pets.config import FinderConfig
from pets.io.figures import plain
from pets.lr_finder.suggestions import FEWEST, METHODS, Array, NoSuggestion, smooth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Shares of the configured steps: at the smallest rates, the loss reflects only the first batches.
# fastai skips the same tenth, and the last 5 of 100, where the loss is about to explode.
SKIPPED_AT_START, SKIPPED_AT_END = 0.1, 0.05
SHOWN_RISE = 3  # of the minimum; slide looks for twice the minimum
# Colour and marker of each method.
_STYLES = {
    "valley": ("#bb5566", "o"), "slide": ("#ddaa33", "s"), "minimum": ("#4477aa", "v"),
    "steep": ("#228833", "D"),
}  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """Rates of the layer group with the highest rate, and the batch loss before each step.

    `ended` is the reason for the end: `finished`, or what the loss did. `photos` is the number of
    photos trained on by all ranks.
    """

    lrs: Array
    losses: Array
    settings: FinderConfig
    ended: str
    photos: int
    seconds: float

    @property
    def used(self) -> slice:
        """The points used for suggestions, without the start and the end."""
        start = round(SKIPPED_AT_START * self.settings.steps)
        end = len(self.losses) - round(SKIPPED_AT_END * self.settings.steps)
        return slice(start, max(end, start))

    @property
    def smoothed(self) -> Array:
        """The used losses, smoothed as for the suggestions."""
        losses = self.losses[self.used]
        return smooth(losses) if len(losses) >= FEWEST else losses

    def suggest(self, method: str) -> float:
        """Return the rate suggested by one of `METHODS`. Raises NoSuggestion with the reason."""
        used = len(self.losses[self.used])
        if used < FEWEST:
            raise NoSuggestion(
                f"{used} usable points of {len(self.losses)} steps, expected at least {FEWEST}: "
                "a larger lr_finder.steps or a smaller lr_finder.start_lr"
            )
        # The explosion disturbs methods that detect the fall; slide detects the explosion.
        points = slice(self.used.start, None) if method == "slide" else self.used
        return METHODS[method](self.lrs[points], self.losses[points])

    def suggestions(self) -> dict[str, float | str]:
        """Return every method's rate, or the reason for having none."""
        found: dict[str, float | str] = {}
        for method in METHODS:
            try:
                found[method] = self.suggest(method)
            except NoSuggestion as none:
                found[method] = str(none)
        return found

    def choose(self) -> tuple[str, float]:
        """Return the first configured method that the curve supports, and its rate.

        Raises:
            NoSuggestion: No method has a suggestion; the message has each one's reason.
        """
        found = self.suggestions()
        for method in self.settings.method:
            if isinstance(rate := found[method], float):
                return method, rate
        raise NoSuggestion("; ".join(f"{m}: {found[m]}" for m in self.settings.method))

    def as_json(self) -> dict[str, Any]:
        """Return every point and every suggestion as plain values."""
        smoothed = dict(enumerate(self.smoothed.tolist(), self.used.start))
        found = self.suggestions()
        points = enumerate(zip(self.lrs.tolist(), self.losses.tolist(), strict=True))
        return {
            "settings": self.settings.model_dump(),
            "ended": self.ended,
            "steps": len(self.lrs),
            "photos": self.photos,
            "seconds": round(self.seconds, 1),
            "suggestions": {m: v if isinstance(v, float) else None for m, v in found.items()},
            "no_suggestion": {m: v for m, v in found.items() if isinstance(v, str)},
            "points": [
                {"lr": lr, "loss": loss, "smoothed": smoothed.get(i)} for i, (lr, loss) in points
            ],
        }

    def draw(self, title: str) -> Figure:
        """Plot measured and smoothed loss over log rate, with the suggestions.

        Skipped parts are shaded, and the method chosen by `auto` has a solid line.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 5.5), layout="constrained")
        axes = figure.subplots()
        used, lrs, smoothed = self.used, self.lrs, self.smoothed
        if len(smoothed) >= FEWEST:
            # A trained network's loss only rises: how it does is the picture.
            smoothed = smooth(self.losses[used], ceiling=SHOWN_RISE * float(smoothed.min()))
        axes.plot(lrs, self.losses, ".", color="#999999", markersize=4, label="loss, measured")
        if len(smoothed):
            axes.plot(lrs[used], smoothed, color="#333333", lw=1.8, label="loss, smoothed")
        found = self.suggestions()
        taken = next((m for m in self.settings.method if isinstance(found[m], float)), None)
        # The chosen one first and large, so that another at the same point does not hide it.
        for method in sorted(found, key=lambda name: name != taken):
            rate, (colour, marker) = found[method], _STYLES[method]
            if isinstance(rate, str):
                axes.plot([], [], marker, color=colour, label=f"{method}: none", mfc="none")
                continue
            chosen = method == taken
            label = f"{method}: {rate:.2e}" + (" (auto)" if chosen else "")
            loss = np.interp(np.log(rate), np.log(lrs[used]), smoothed)
            size = 14 if chosen else 7
            axes.plot(rate, loss, marker, color=colour, zorder=3, markersize=size, label=label)
            axes.axvline(rate, color=colour, lw=1.2, ls="-" if chosen else ":", alpha=0.8, zorder=1)
        skipped = [lrs[: used.start + 1], lrs[max(used.stop - 1, 0) :]]
        for i, part in enumerate(part for part in skipped if len(part) > 1):
            label = "_" if i else "skipped"
            axes.axvspan(part[0], part[-1], color="#000000", alpha=0.07, lw=0, label=label)
        # From below the minimum to slightly above the start of the fall, below the explosion.
        shown = np.concatenate([self.losses[: used.start], smoothed, [] if len(lrs) else [0, 1]])
        low, high = float(shown.min()), float(shown.max())
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set(xscale="log", ylim=(low - margin, high + 3 * margin))
        axes.set(xlabel="learning rate (of the head)", ylabel="training loss")
        axes.set_title(plain(title, 100), loc="left", fontsize=11)
        axes.legend(loc="best", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        return figure
