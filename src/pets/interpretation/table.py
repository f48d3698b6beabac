"""The predictions table on disk: one Parquet file, a row a photo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pets.errors import RunError
from pets.io.serialize import to_json

_ABOUT = b"pets"
_COLUMNS = ("path", "split", "label", "prediction", "loss", "margin", "entropy")


def write_predictions(
    file: Path,
    table: pd.DataFrame,
    log_probabilities: np.ndarray,
    classes: list[str],
    about: dict[str, Any],
) -> None:
    """Write an `Interpretation` in one step.

    Columns: those of its `table`, then `log_probabilities` and `probabilities`, lists in the order
    of `classes`. That order and `about`, plain values, are in the schema's metadata as JSON under
    `pets`.
    """
    logs = log_probabilities.astype(np.float32)
    arrays: dict[str, Any] = {name: pa.array(table[name]) for name in _COLUMNS[:4]}
    arrays |= {name: pa.array(table[name].astype("float32")) for name in _COLUMNS[4:]}
    for name, values in (("log_probabilities", logs), ("probabilities", np.exp(logs))):
        flat = pa.array(values.reshape(-1))
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, len(classes))
    meta = to_json({"classes": classes, **about})
    whole = pa.table(arrays).replace_schema_metadata({_ABOUT: meta})
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    pq.write_table(whole, part)
    part.replace(file)


def read_predictions(file: Path) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """The table without its lists, the log-probabilities (photos, classes), the classes.

    Raises RunError for a file that `write_predictions` did not write.
    """
    try:
        table = pq.read_table(file)
        classes = json.loads(table.schema.metadata[_ABOUT])["classes"]
        logs = table["log_probabilities"].combine_chunks().flatten().to_numpy()
        frame = table.select(list(_COLUMNS)).to_pandas()
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowInvalid) as error:
        reason = "it says nothing of classes" if isinstance(error, TypeError) else error
        raise RunError(f"{file}: is no predictions table of pets interpret ({reason})") from error
    return frame, logs.reshape(len(frame), len(classes)).astype(np.float64), classes


def read_about(file: Path) -> dict[str, Any]:
    """What the table says of itself: classes, run, checkpoint, views."""
    return json.loads(pq.read_schema(file).metadata[_ABOUT])
