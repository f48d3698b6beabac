"""The summary as Markdown: the sentences, the settings, the effects, the runs, what failed."""

from __future__ import annotations

from pets.io.markdown import Markdown, table, text
from pets.sweep.summary.runs import Run
from pets.sweep.summary.settings import value
from pets.sweep.summary.summary import Summary
from pets.sweep.summary.tables import link, settings_table, state_words, valid_words
from pets.sweep.summary.verdict import verdict


def as_markdown(summary: Summary) -> str:
    """The whole summary; its picture and its runs are found from the summary's folder."""
    found = verdict(summary)
    lines = [f"# {text(found.headline)}", "", f"{state_words(summary)}.", ""]
    lines += [line for sentence in found.sentences[1:] for line in (text(sentence), "")]
    lines += ["![Validation errors by settings](summary.png)", "", "## Settings", ""]
    lines += table(*settings_table(summary))
    for effect in summary.effects:
        lines += ["", f"## Effect of {text(effect.key)}", ""]
        rows = []
        for level in effect.levels:
            counted = len(level.errors.values) if level.errors else 0
            mean = summary.percent(level.errors.mean) if level.errors else "–"
            rows.append([level.text, mean, f"{counted} of {level.runs}"])
        lines += table([summary.names[effect.key], "validation error, mean", "runs"], rows)
    if summary.troubled:
        lines += ["", "## Failed, stopped or unreadable", ""]
        troubled = [[_to(r, summary), r.state, r.error, _log(r, summary)] for r in summary.troubled]
        lines += table(["run", "state", "reason", "log"], troubled)
    lines += ["", "## Runs", "", *table(*_runs(summary))]
    if summary.common:
        lines += ["", "## The same in all runs", ""]
        lines += [f"- {text(f'{key}={shown}')}" for key, shown in summary.common.items()]
    return "\n".join(lines) + "\n"


def _runs(summary: Summary) -> tuple[list[str], list[list[str]]]:
    header = ["run", "state", *(summary.names[key] for key in summary.swept), "validation error"]
    header += ["best epoch"] if summary.best_differs else []
    header += ["test error", "seconds", "report"]
    rows = []
    for run in summary.runs:
        row = [_to(run, summary), run.state, *(value(run, key) for key in summary.swept)]
        row.append(valid_words(summary, run))
        row += [_share(summary, run.best)] if summary.best_differs else []
        row.append(_share(summary, run.test.error))
        row.append("" if run.seconds is None else f"{run.seconds:,.1f}")
        report = f"[report]({link(run.report, summary.folder)})" if run.report else ""
        rows.append([*row, Markdown(report)])
    return header, rows


def _to(run: Run, summary: Summary) -> str:
    return Markdown(f"[{text(run.path.name)}]({link(run.path, summary.folder)}/)")


def _log(run: Run, summary: Summary) -> str:
    if run.log is None:
        return ""
    return Markdown(f"[{run.log.name}]({link(run.log, summary.folder)})")


def _share(summary: Summary, share: float | None) -> str:
    return "" if share is None else summary.percent(share)
