"""The model card: what the export is, its metrics, its use and its limits."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined

from pets.data.splits import TEST
from pets.export.check import Check
from pets.export.formats import FORMATS
from pets.export.int8 import FILE, Quantised
from pets.export.metadata import Metadata
from pets.export.promise import PromiseCheck
from pets.io.markdown import text
from pets.training.looks import Looks

_PAIRS = 10  # confused pairs shown
_OFTEN = 2  # photos of a pair: a single one may be chance


def render_card(
    name: str,
    metadata: Metadata,
    check: Check,
    quantised: Quantised | None,
    promise: PromiseCheck | None = None,
) -> str:
    """Render `card.md`, the README.md of an export."""
    environment = Environment(
        loader=PackageLoader("pets.export", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "md": text,
        "count": lambda number: f"{number:,}",
        "percent": lambda share: f"{100 * share:.1f}",
        "small": lambda number: f"{number:.1e}",
        "spoken": _spoken,
        "values": _values,
    }
    environment.filters |= filters
    looks = metadata.metrics.get(TEST, {}).get("looks")
    return environment.get_template("card.md").render(
        name=name,
        format=FORMATS[name],
        model=metadata.trained.model,
        about=metadata.as_dict(),
        data=metadata.data,
        counts=[f"{n:,} {split}" for split, n in metadata.data["photos"].items() if n],
        pretrained=metadata.pretrained,
        ckpt=metadata.ckpt,
        licence=metadata.licence,
        temperature=metadata.trained.temperature,
        metrics=metadata.metrics,
        looks=Looks(**looks).sentence("The test photos") if looks else None,
        measured_on=_spoken(next(iter(metadata.metrics))),
        confused_on=_spoken(metadata.confused_on),
        confused=metadata.confused,
        pairs=[pair for pair in metadata.confused if pair[2] >= _OFTEN][:_PAIRS],
        often=_OFTEN,
        int8=quantised if quantised and quantised.kept else None,
        int8_file=FILE,
        check=check,
        promise=promise,
        promised=metadata.promise,
        same=check.pictures,
        by_file=check.files,
        **metadata.preprocessing,
    )


def _spoken(split: str) -> str:
    return {"valid": "validation"}.get(split, split)


def _values(values: float | list[float]) -> str:
    if isinstance(values, float):
        return f"{values:.4g}"
    return ", ".join(f"{value:g}" for value in values)
