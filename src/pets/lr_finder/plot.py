"""The curve as a picture: loss over the rate, with every suggestion marked and named."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pets.io.figures import plain
from pets.lr_finder.curve import Curve

_COLOURS = {"valley": "#bb5566", "slide": "#ddaa33", "minimum": "#4477aa", "steep": "#228833"}
_MARKERS = {"valley": "o", "slide": "s", "minimum": "v", "steep": "D"}


def draw(curve: Curve, title: str) -> Figure:
    """Measured and smoothed loss over log rate; the skipped parts shaded, the method that `auto`
    takes drawn through."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    used = curve.used
    axes.plot(curve.lrs, curve.losses, ".", color="#999999", markersize=4, label="loss, measured")
    if len(curve.smoothed):
        axes.plot(curve.lrs[used], curve.smoothed, color="#333333", lw=1.8, label="loss, smoothed")
    # The chosen one first and large, so that another on the same place does not hide it.
    suggestions = curve.suggestions()
    supported = (m for m in curve.settings.method if isinstance(suggestions[m], float))
    taken = next(supported, None)
    for method in sorted(suggestions, key=lambda name: name != taken):
        found, colour = suggestions[method], _COLOURS[method]
        if isinstance(found, str):
            axes.plot([], [], _MARKERS[method], color=colour, label=f"{method}: none", mfc="none")
            continue
        chosen = method == taken
        axes.plot(
            found, curve.loss_at(found), _MARKERS[method], color=colour, zorder=3,
            markersize=14 if chosen else 7,
            label=f"{method}: {found:.2e}" + (" (auto)" if chosen else ""),
        )  # fmt: skip
        axes.axvline(found, color=colour, lw=1.2, ls="-" if chosen else ":", alpha=0.8, zorder=1)
    _shade(axes, curve)
    axes.set_xscale("log")
    axes.set_ylim(*_heights(curve))
    axes.set(xlabel="learning rate (of the head)", ylabel="training loss")
    axes.set_title(plain(title, 100), loc="left", fontsize=11)
    axes.legend(loc="best", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _shade(axes: Axes, curve: Curve) -> None:
    used, lrs = curve.used, curve.lrs
    label = "skipped"
    for part in (slice(0, used.start + 1), slice(max(used.stop - 1, 0), None)):
        if len(lrs[part]) > 1:
            axes.axvspan(
                lrs[part][0], lrs[part][-1], color="#000000", alpha=0.07, lw=0, label=label
            )
            label = "_"


def _heights(curve: Curve) -> tuple[float, float]:
    """From below the lowest loss to a little above where the fall begins, below the explosion."""
    losses = np.concatenate([curve.losses[: curve.used.start], curve.smoothed])
    low, high = (float(losses.min()), float(losses.max())) if len(losses) else (0.0, 1.0)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + 3 * room
