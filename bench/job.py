"""What the sides of a comparison are given to do: a JSON file that each of them reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Photos = list[tuple[str, str]]


@dataclass(frozen=True)
class Job:
    """The same for all sides; whatever it does not say is each side's own default.

    Photos are pairs of a file and its label. `valid` are those whose error counts. `weights` is a
    state dict of the whole network, None for random numbers. `unfrozen`: the backbone trains too;
    `fine_tune`: after one frozen epoch, as fastai's method of that name.
    `presize` is what fastai shrinks a photo to before it is turned and cropped. `pets` says photos
    and network on its command line.
    """

    task: str
    train: Photos
    valid: Photos
    library: str
    model: str
    weights: str | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    presize: int
    epochs: int
    pets: list[str]
    unfrozen: bool = False
    fine_tune: bool = False
    size: int = 224
    batch_size: int = 32
    lr: float = 3e-3

    def save(self, file: Path) -> Path:
        """Write it down for the sides."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return file

    @classmethod
    def load(cls, file: Path) -> Job:
        """Read it back, in a side's process."""
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        for name in ("train", "valid"):
            values[name] = [(path, label) for path, label in values[name]]
        return cls(**values)

    @property
    def labels(self) -> dict[str, str]:
        """The label of every photo."""
        return dict(self.train + self.valid)
