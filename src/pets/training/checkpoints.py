"""Checkpoint files: written atomically, read without running code, checked for damage."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn

from pets import trust
from pets.errors import RunError, reason_of
from pets.io.atomic import write_atomically
from pets.io.serialize import plain

FORMAT = 1


class HeldCheckpoint:
    """A checkpoint kept in memory, to be written later or never: pass it to
    `Trainer.save_checkpoint` as `storage_options`."""

    content = b""

    def write(self, path: Path) -> None:
        """Write it to `path`. Raises RunError if that fails."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)  # of a callback, as Lightning's does
            write_atomically(path, self.content)
        except OSError as error:
            kept = "the one before is untouched" if path.exists() else "there was none before"
            raise RunError(
                f"{path}: cannot be written ({error.strerror or error}); {kept}. "
                "Make room, then resume with pets train resume=<the run's folder>"
            ) from error


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints through `write_atomically`, read with `read_checkpoint`."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(plain(checkpoint, keep=torch.Tensor), buffer)
        later = isinstance(storage_options, HeldCheckpoint)
        held = storage_options if later else HeldCheckpoint()
        held.content = buffer.getvalue()
        if not later:
            held.write(Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path), trusted=True)  # nothing is built from it


def load_weights(model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Load a checkpoint's weights into the network. Raises RuntimeError if they do not fit."""
    state = checkpoint["state_dict"]
    prefix = "model."
    model.load_state_dict(
        {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
    )


def read_checkpoint(path: Path, trusted: bool = False) -> dict[str, Any]:
    """Read a checkpoint of `pets train` on the CPU: tensors and plain values, without running code.

    Raises:
        RunError: The file is missing, damaged, in another format, contains anything but tensors and
            plain values, weights that are not finite, or a temperature that is no number above 0;
            or, unless `trusted`, its model uses components that are not part of pets.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise RunError(f"{path}: is packed, which pets train never does; not opened")
            damaged = archive.testzip()
        if damaged is not None:
            raise RunError(f"{path}: damaged, the check sum of {damaged} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except RunError:
        raise
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{path}: refused, it holds more than tensors and plain values: it was not written by "
            "pets train"
        ) from error
    except Exception as error:  # torch raises all kinds of exceptions for damaged files
        reason = reason_of(error)
        raise RunError(f"{path}: damaged, cannot be read ({reason})") from error
    about = content.get("pets") if isinstance(content, Mapping) else None
    if not isinstance(about, Mapping) or not isinstance(content.get("state_dict"), Mapping):
        raise RunError(f"{path}: is no checkpoint of pets train")
    if about.get("format") != FORMAT:
        raise RunError(
            f"{path}: has format {about.get('format')}, this version of pets reads {FORMAT}"
        )
    if not trusted:
        trust.check(about, path)
    _check_numbers(path, content["state_dict"], about.get("temperature"))
    return dict(content)


def _check_numbers(path: Path, weights: Mapping[str, Any], temperature: Any) -> None:
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if temperature is not None and not (number and 0 < temperature < math.inf):
        raise RunError(
            f"{path}: its temperature is {temperature!r}; expected a number above 0, or none; the "
            "file was changed, take it from a copy of the run"
        )
    for name, values in weights.items():
        if isinstance(values, torch.Tensor) and not values.isfinite().all():
            raise RunError(
                f"{path}: {name.removeprefix('model.')} holds numbers that are not finite; "
                "training diverged or the file was changed; expected finite weights: train "
                "again, with a lower plan.stages.<stage>.lr"
            )
