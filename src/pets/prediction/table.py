"""Predictions as rows: the columns, and how numbers become them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

FIXED = ("file", "prediction", "probability", "error")


def schema(classes: Sequence[str], top_k: int | None) -> pa.Schema:
    """file, prediction, probability (of the prediction), one column for each class, and error (why
    a file could not be read). With `top_k` the runners-up stand in the place of the classes:
    prediction_2, probability_2, ... A class named like one of the others gets the column
    `class:<name>`."""
    if top_k is None:
        columns = [(name, pa.float64()) for name in columns_of(classes)]
    else:
        columns = [
            (f"{name}_{place}", kind)
            for place in range(2, top_k + 1)
            for name, kind in (("prediction", pa.string()), ("probability", pa.float64()))
        ]
    first = [("file", pa.string()), ("prediction", pa.string()), ("probability", pa.float64())]
    return pa.schema([*first, *columns, ("error", pa.string())])


def columns_of(classes: Sequence[str]) -> list[str]:
    """The classes' column names, none of them one of the fixed columns."""
    return [f"class:{name}" if name in FIXED else name for name in classes]


def table_of(
    files: Sequence[str],
    probabilities: np.ndarray,
    errors: Sequence[str],
    classes: Sequence[str],
    top_k: int | None,
) -> pa.Table:
    """Rows in the order of `files`, from probabilities (files, classes) that are NaN where `errors`
    says why."""
    unread = np.array([bool(error) for error in errors], dtype=bool)
    # Of equal ones the first class, as argmax has it.
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, : top_k or 1]
    names = np.array(classes, dtype=object)[ranked]
    best = np.take_along_axis(probabilities, ranked, axis=1)

    def numbers(values: np.ndarray) -> pa.Array:
        return pa.array(values, pa.float64(), mask=unread)

    columns = [pa.array([_text(file) for file in files], pa.string())]
    for place in range(ranked.shape[1]):
        columns += [pa.array(names[:, place], pa.string(), mask=unread), numbers(best[:, place])]
    if top_k is None:
        columns += [numbers(probabilities[:, place]) for place in range(len(classes))]
    columns.append(pa.array([_text(error) or None for error in errors], pa.string()))
    return pa.Table.from_arrays(columns, schema=schema(classes, top_k))


def _text(words: str) -> str:
    """A file name that is no text on this system, in signs that are."""
    return words.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
