"""The photos that an export is checked on, and the logits of the run's own network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from pets.config import RunDataConfig
from pets.data.dataset import PhotoDataset, PhotoFiles
from pets.data.photos import Photo
from pets.data.splits import TEST, TRAIN, VALID
from pets.data.transforms import CentreCrop, normalize
from pets.data.workers import worker_options
from pets.errors import RunError
from pets.interpretation.interpretation import Interpretation
from pets.training.checkpoints import Trained
from pets.training.evaluation import photos_of_run


@dataclass(frozen=True)
class Reference:
    """A trained run's network on its own photos, on the CPU in float32 like the exports.

    The export is checked on `split`: the validation photos, or the test photos if there are none.
    What it promises is measured on the `test` photos that are there.
    """

    trained: Trained
    root: Path
    split: str
    rows: list[Photo]
    training: list[Photo]
    batch_size: int
    num_workers: int | str
    test: list[Photo] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """The photos that the export is checked on."""
        return [self.root / row.path for row in self.rows]

    def pixels(self, rows: list[Photo] | None = None, label: str = "") -> Iterator[Tensor]:
        """Yield batches of pictures (B, 3, h, w), uint8, resized and cropped for the network.

        Args:
            rows: Photos of the run; by default those that the export is checked on.
            label: Label of the progress bar.
        """
        model, rows = self.trained.model, self.rows if rows is None else rows
        files = PhotoFiles([self.root / row.path for row in rows])
        cropped = PhotoDataset(files, [0] * len(rows), CentreCrop(model.size, model.preprocess))
        workers = worker_options("auto" if self.num_workers == "auto" else int(self.num_workers))
        with tqdm(total=len(rows), unit="photo", desc=label, leave=False, disable=None) as bar:
            for batch, _ in DataLoader(cropped, self.batch_size, **workers):
                yield batch
                bar.update(len(batch))

    @cached_property
    def logits(self) -> Tensor:
        """The run's logits (N, classes) for the photos that the export is checked on."""
        model = self.trained.model
        prepare = normalize(model.preprocess)
        with torch.inference_mode():
            batches = [model(prepare(batch)) for batch in self.pixels(label="the run")]
        return torch.cat(batches)

    @cached_property
    def predictions(self) -> Interpretation:
        """The same as an `Interpretation`, with labels."""
        logs = self.logits.double().log_softmax(1).numpy()
        return Interpretation.of_photos(self.rows, logs, self.trained.model.classes)


def load_reference(trained: Trained, data: RunDataConfig, calibration: int = 0) -> Reference:
    """Find the run's photos on disk, and `calibration` training photos from all classes.

    Raises:
        DataError: Photos are missing or changed.
        RunError: The run has no held-out photos.
    """
    run, config = trained.run, trained.config.data
    held_out = run.read_json("data.json")
    split = VALID if held_out.get(VALID) else TEST
    if not held_out.get(split):
        raise RunError(
            f"{run.path}: has no validation or test photos, on which an export is checked; "
            "expected a run with some (data.valid_pct)"
        )
    needed = (split, TRAIN) if calibration else (split,)
    photos = photos_of_run(run, data.root or config.root, *needed)
    rows, training = photos.of(split), photos.of(TRAIN)
    if calibration:
        # The table is sorted by path: an even stride samples all of it.
        training = training[:: max(len(training) // calibration, 1)]
    training = training[:calibration]
    size = data.batch_size or config.batch_size
    test = photos.of(TEST)
    return Reference(trained, photos.root, split, rows, training, size, data.num_workers, test)
