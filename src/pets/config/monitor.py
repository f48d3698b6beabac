"""The metric by which epochs, runs and settings are compared."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict

SPLIT = "valid/"  # runs are chosen by their validation photos, never by the test photos


class Monitor(BaseModel):
    """The validation metric by which epochs, runs and settings are compared.

    A run's `status.json` has it, so that the runs of a folder are compared without their code.
    """

    model_config = ConfigDict(strict=True, frozen=True)
    name: str = "error_rate"
    column: str = "error_rate"  # of metrics.csv
    maximize: bool = False
    is_share: bool = True  # shown in percent
    counts_photos: bool = True  # a share of the photos: its noise is binomial

    @property
    def key(self) -> str:
        """The `monitor` of a config, and the name in TensorBoard."""
        return f"{SPLIT}{self.name}"

    @property
    def short(self) -> str:
        """The name in a summary's columns: `error`, `macro_f1`."""
        return "error" if self.name == "error_rate" else self.name

    @property
    def words(self) -> str:
        """The name in a sentence: `error`, `macro f1`."""
        return self.short.replace("_", " ")

    def value(self, results: Any) -> float | None:
        """Return the value among the results of a run by split; None if it was not measured."""
        found: float | None = (results.get("valid") or {}).get(self.name)
        return None if found is None or not math.isfinite(found) else float(found)

    def better(self, value: float, than: float) -> bool:
        """Whether a value is strictly better than another one, which may be NaN: unknown."""
        return math.isnan(than) or (value > than if self.maximize else value < than)

    def show(self, value: float, digits: int = 1) -> str:
        """Format a value: `7.1 %` for a share, else four decimals."""
        return f"{100 * value:.{digits}f} %" if self.is_share else f"{value:.4f}"


ERROR_RATE = Monitor()
