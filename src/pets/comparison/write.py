"""Write a comparison: a page with pictures, Markdown for a pull request, JSON for programs."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from pathlib import Path
from typing import Any

from pets.comparison.comparison import Comparison, Side
from pets.comparison.verdict import p_value, percent, points, values
from pets.io.atomic import write_atomically
from pets.io.figures import as_svg
from pets.io.markdown import table, text
from pets.io.serialize import to_json
from pets.report.charts import draw_reliability
from pets.report.template import own, template

# What the photos that flipped are called, in the order of the page.
WAYS = {"lost": "Right before, wrong now", "won": "Wrong before, right now"}


def write_comparison(comparison: Comparison, folder: Path, shown: int) -> list[Path]:
    """Write `compare.html`, `compare.md` and `compare.json`.

    The page shows up to `shown` photos that were lost, and as many that were won.

    Returns their paths. Raises OSError.
    """
    found = values(comparison)
    texts = {
        "compare.html": as_page(comparison, found, shown),
        "compare.md": as_markdown(found),
        "compare.json": to_json(found, indent=2) + "\n",
    }
    for name, content in texts.items():
        write_atomically(folder / name, content.encode())
    return [folder / name for name in texts]


def as_markdown(found: dict[str, Any]) -> str:
    """Render what `values` returned as Markdown, without pictures."""
    first, *others = found["verdict"]
    lines = [f"**{text(first)}**", "", *(f"{text(line)}  " for line in others), ""]
    sides = [found["calibration"][word] for word in ("old", "new")]
    lines += table(
        ["", "old", "new"],
        [
            ["run", found["old"], found["new"]],
            ["accuracy", percent(found["old_accuracy"]), percent(found["new_accuracy"])],
            ["loss", *(f"{side['loss']:.3f}" for side in sides)],
            ["calibration error", *(percent(side["ece"]) for side in sides)],
        ],
    )
    rows = _classes(found)
    lines += [
        "",
        f"Classes whose accuracy changed: {len(rows):,} of {len(found['per_class']):,}.",
        "",
    ]
    if rows:
        lines += table(["class", "photos", "old", "new", "lost", "won", "p, adjusted"], rows)
    for way, title in WAYS.items():
        if flips := found["flips"][way]:
            lines += ["", f"{title}:", ""]
            lines += table(
                ["photo", "label", "old", "new"],
                [[row["path"], row["label"], row["old"], row["new"]] for row in flips],
            )
    if found["config"]:
        lines += ["", "The configs differ in:", ""]
        lines += table(
            ["key", "old", "new"], [[row["key"], row["old"], row["new"]] for row in found["config"]]
        )
    lines += ["", *(f"{text(line)}  " for line in describe_data(found["data"]))]
    return "\n".join(lines) + "\n"


def _classes(found: dict[str, Any]) -> list[list[str]]:
    """The rows of the classes that differ, the largest loss first."""
    differ = [item for item in found["per_class"].items() if item[1]["difference"]]
    return [
        [
            name, f"{row['photos']:,}", percent(row["old_accuracy"]), percent(row["new_accuracy"]),
            f"{row['only_old']:,}", f"{row['only_new']:,}", p_value(row["p_adjusted"]),
        ]
        for name, row in sorted(differ, key=lambda item: item[1]["difference"])
    ]  # fmt: skip


def describe_data(data: dict[str, Any]) -> list[str]:
    """Say in sentences how the photos of two runs differ."""
    counts = ", ".join(
        f"{old:,} {split}" if old == new else f"{old:,} and {new:,} {split}"
        for split, (old, new) in data["counts"].items()
    )
    lines = [f"Photos of the old and of the new run: {counts}; {data['shared']:,} are in both."]
    alone = [(data["only_old"], "old"), (data["only_new"], "new")]
    lines += [f"In the {word} run alone: {count:,}." for count, word in alone if count]
    lines += [f"Moved from {way}: {count:,}." for way, count in data["moved"].items()]
    if data["relabelled"]:
        lines.append(f"With another label: {data['relabelled']:,}.")
    for key, word in (("classes_gone", "old"), ("classes_added", "new")):
        if names := data[key]:
            lines.append(f"Classes of the {word} run alone: {', '.join(names)}.")
    return lines


def as_page(comparison: Comparison, found: dict[str, Any], shown: int) -> str:
    """Render the comparison as one HTML file that loads nothing from the network."""
    sides = {"old": comparison.old, "new": comparison.new}
    chart = draw_reliability(
        {f"{word}: ECE {percent(s.reliability.ece)}": s.reliability for word, s in sides.items()}
    )
    page = template("pets.comparison", "page.html", points=points, p_value=p_value).render(
        found=found,
        ways=[
            {
                "name": way,
                "title": title,
                "count": len(comparison.flips(way)),
                "cards": [_card(comparison, row) for row in comparison.flips(way).index[:shown]],
            }
            for way, title in WAYS.items()
        ],
        no_cams={word: side.trained.model.backbone.why_no_map() for word, side in sides.items()},
        reliability=as_svg(chart),
        data=describe_data(found["data"]),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        style=own("pets.report", "page.css") + own("pets.comparison", "page.css"),
        script=own("pets.report", "cams.js", "sort.js"),
    )
    return str(page)


def _card(comparison: Comparison, row: int) -> dict[str, Any]:
    """A photo that flipped, and what each run saw in it."""
    photo = comparison.photos[row]
    return {
        "path": photo.path,
        "label": photo.label,
        "picture": _picture(comparison.new, row),
        "sides": {"old": _seen(comparison.old, row), "new": _seen(comparison.new, row)},
    }


def _seen(side: Side, row: int) -> dict[str, Any]:
    predicted, cam = side.predictions[row], side.cam(row)
    return {
        "prediction": predicted.prediction,
        "right": predicted.prediction == predicted.label,
        "p_prediction": predicted.p_prediction,
        "p_label": predicted.p_label,
        "choice": side.choices[row],
        "picture": _picture(side, row),
        "cam": None
        if cam is None
        else {
            "height": cam.shape[0],
            "width": cam.shape[1],
            "values": b64encode(cam.tobytes()).decode(),
        },
    }


def _picture(side: Side, row: int) -> str:
    content = b64encode(side.extracted.thumbnails[side.indices[row]]).decode()
    return f"data:image/jpeg;base64,{content}"
