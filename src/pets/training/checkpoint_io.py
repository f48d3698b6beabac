"""Lightning's checkpoints: written atomically, or kept in memory to be written later."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from pets.errors import RunError
from pets.io.atomic import write_atomically
from pets.io.serialize import plain
from pets.training.checkpoints import read_checkpoint


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
