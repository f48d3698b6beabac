"""Lightning's checkpoints: written atomically, or kept in memory to be written later."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn

from pets.errors import RunError
from pets.io.atomic import write_atomically
from pets.io.serialize import plain
from pets.training.checkpoints import read_checkpoint


class HeldCheckpoint:
    """A checkpoint kept in memory, to be written later or never.

    Pass it to `Trainer.save_checkpoint` as `storage_options`.

    Its tensors are copied, except those of `frozen` layers, which do not change while it is held.
    """

    def __init__(self, frozen: nn.Module | None = None) -> None:
        self.frozen = set[int]()
        if frozen is not None:
            self.frozen = {tensor.data_ptr() for tensor in frozen.state_dict().values()}
        self.checkpoint: Any = {}

    def hold(self, value: Any) -> Any:
        """Return a copy of a checkpoint, or of a part of it, that training does not change."""
        if isinstance(value, torch.Tensor):
            return value if value.data_ptr() in self.frozen else value.clone()
        if isinstance(value, dict):
            return {key: self.hold(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.hold, value))
        return value

    def write(self, path: Path) -> None:
        """Write it to `path`. Raises RunError if that fails."""
        buffer = io.BytesIO()
        torch.save(self.checkpoint, buffer)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)  # of a callback, as Lightning's does
            write_atomically(path, buffer.getbuffer())
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
        values = plain(checkpoint, keep=torch.Tensor)
        if isinstance(storage_options, HeldCheckpoint):
            storage_options.checkpoint = storage_options.hold(values)
            return
        now = HeldCheckpoint()
        now.checkpoint = values
        now.write(Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path), trusted=True)  # nothing is built from it
