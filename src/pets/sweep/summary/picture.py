"""The summary as one picture, and its charts for the page."""

from __future__ import annotations

import io
import textwrap

from pets.io.figures import as_svg, drawn_quietly, plain
from pets.sweep.summary.charts import (
    MOST_SETTINGS,
    draw_effect,
    draw_matrix,
    draw_settings,
)
from pets.sweep.summary.effects import Effect
from pets.sweep.summary.summary import Summary
from pets.sweep.summary.tables import state_words
from pets.sweep.summary.verdict import verdict

_MOST_KEYS = 6
_HIGH = 12  # settings that make room for two panels one below another


def as_png(summary: Summary) -> bytes:
    """The whole summary as one picture."""
    from matplotlib.figure import Figure

    settings = min(len(summary.ranked), MOST_SETTINGS)
    table = summary.matrix if summary.ranked else None
    shown = [effect for effect in summary.effects if len(effect.levels) > 1][:_MOST_KEYS]
    panels = (1 if table else len(shown)) if summary.ranked else 0
    columns = 1 if panels < 2 or (panels == 2 and settings > _HIGH) else 2
    rows = -(-panels // columns) if panels else 0
    rows_high = max(2.9 * rows, 0.3 * len(table.rows) + 1.2 if table else 0)
    height = max(3.2, 0.3 * settings + 1.0, rows_high) + 1.3
    figure = Figure(figsize=(13 if panels else 8, height), layout="constrained")
    found = verdict(summary)
    lines = [found.headline, f"{state_words(summary)}. {found.comparison}"]
    title = "\n".join(textwrap.fill(plain(line, 600), 140 if panels else 85) for line in lines)
    with drawn_quietly():
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        left, *right = figure.subfigures(1, 2 if panels else 1, squeeze=False, wspace=0.03)[0]
        draw_settings(left.subplots(), summary)
        if right and table:
            draw_matrix(right[0].subplots(), table, summary)
        elif right:
            places = list(right[0].subplots(rows, columns, squeeze=False).flat)
            for effect, place in zip(shown, places, strict=False):
                draw_effect(place, effect, summary)
            for place in places[len(shown) :]:
                place.axis("off")
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=110, facecolor="white")
    return file.getvalue()


def effect_svg(summary: Summary, effect: Effect) -> str:
    """The effect of one key as a data URI, for the page."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    draw_effect(figure.subplots(), effect, summary)
    return as_svg(figure)
