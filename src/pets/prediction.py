"""Name what is on photos: a stream from files to rows, so that any number of them fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pets.data.images import SUFFIXES, UnreadableImage, open_rgb
from pets.data.module import worker_options
from pets.data.transforms import eval_transform, to_tensor
from pets.errors import DataError
from pets.models.classifier import Classifier


@dataclass(frozen=True)
class Prediction:
    """One photo: probabilities in the order of the model's classes, or why it could not be read."""

    file: Path
    probabilities: list[float] | None
    error: str = ""


def find_source(source: str) -> list[Path]:
    """The photos that `source` means: a photo, a folder with its sub-folders, or a text file with
    a path a line (from the current folder, or from the text file's). Raises DataError."""
    path = Path(source)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise DataError(f"source={source}: no images in this folder")
        return found
    if not path.is_file():
        raise DataError(f"source={source}: no such photo, folder or list")
    if path.suffix.lower() != ".txt":
        return [path]
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"source={source}: is no text in UTF-8; expected a path a line") from error
    named = [Path(line) for line in lines if line and not line.startswith("#")]
    if not named:
        raise DataError(f"source={source}: the list is empty; expected a path a line")
    return [p if p.exists() else path.parent / p for p in named]


class _Readable(Dataset[tuple[Tensor | None, int, str]]):
    """(photo, place, "") or (None, place, why it cannot be read)."""

    def __init__(self, files: list[Path], model: Classifier) -> None:
        self.files = files
        self.transform = eval_transform(model.size, model.preprocess)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> tuple[Tensor | None, int, str]:
        try:
            return self.transform(to_tensor(open_rgb(self.files[place]))), place, ""
        except UnreadableImage as error:
            return None, place, str(error)


def predict(
    model: Classifier,
    files: list[Path],
    batch_size: int = 64,
    num_workers: int | str = "auto",
    device: str = "auto",
) -> Iterator[list[Prediction]]:
    """Batches of predictions in the order of `files`; a file that cannot be read says why."""
    where = torch.device(_best_device() if device == "auto" else device)
    model = model.eval().to(where)
    options = worker_options("auto" if num_workers == "auto" else int(num_workers))
    loader = DataLoader(_Readable(files, model), batch_size, collate_fn=list, **options)
    with torch.inference_mode():
        for batch in loader:
            photos = [photo for photo, _, _ in batch if photo is not None]
            rows: Iterator[list[float]] = iter(())
            if photos:
                inputs = torch.stack(photos).to(where)
                rows = iter(model(inputs).softmax(dim=1).double().cpu().tolist())
            yield [
                Prediction(files[place], None if photo is None else next(rows), error)
                for photo, place, error in batch
            ]


def _best_device() -> str:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return "cpu" if accelerator is None else accelerator.type
