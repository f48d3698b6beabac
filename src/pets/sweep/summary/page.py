"""A summary as one HTML file that loads nothing from the network."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pets.report.template import own, template
from pets.sweep.overrides import FILE as SWEEP_FILE
from pets.sweep.summary.charts import as_svgs
from pets.sweep.summary.summary import Summary
from pets.sweep.summary.tables import effect_table, runs_table, settings_table, troubled_table
from pets.sweep.summary.text import describe_states
from pets.sweep.summary.verdict import describe_sample, verdict

_REPORT, _OWN = "pets.report", "pets.sweep.summary"
_MOST_LEVELS = 20  # in the table below a chart


def as_page(summary: Summary) -> str:
    """The page; its links lead to the runs from the summary's folder."""
    charts = as_svgs(summary)
    effects = [
        (effect, charts[effect], effect_table(summary, effect))
        for effect in summary.effects
        if effect in charts
    ]
    sweep_file = summary.folder / SWEEP_FILE
    context: dict[str, Any] = {
        "summary": summary,
        "verdict": verdict(summary),
        "states": describe_states(summary),
        "describe_sample": lambda sample: describe_sample(summary, sample),
        "settings_chart": charts.get("settings"),
        "grid_chart": charts.get("grid"),
        "effects": effects,
        "most_levels": _MOST_LEVELS,
        "settings": settings_table(summary),
        "near": [summary.near_best(setting) for setting in summary.settings],
        "troubled": troubled_table(summary),
        "runs": runs_table(summary),
        "sweep_yaml": (
            sweep_file.read_text(encoding="utf-8", errors="replace") if sweep_file.is_file() else ""
        ),
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "style": own(_REPORT, "page.css") + own(_OWN, "page.css"),
        "script": own(_REPORT, "sort.js"),
    }
    return str(template(_OWN, "page.html", unbroken=_keep_units).render(context))


def _keep_units(sentence: str) -> str:
    """Keep a number and its unit on one line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%").replace(
        " points", "\N{NO-BREAK SPACE}points"
    )
