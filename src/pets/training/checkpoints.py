"""Checkpoint files, read without running code and checked for damage; the network in them.

Nothing here needs Lightning: what only uses a trained network starts without its seconds.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pets import trust
from pets.config import RunDataConfig, TrainConfig
from pets.errors import RunError, reason_of
from pets.models.classifier import Classifier, classifier_from
from pets.run_dir import RunDir

FORMAT = 1


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
                raise RunError(
                    f"{path}: is compressed, which pets train never does; it is not opened"
                )
            damaged = archive.testzip()
        if damaged is not None:
            raise RunError(f"{path}: damaged, the checksum of {damaged} is wrong")
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
        raise RunError(f"{path}: is not a checkpoint of pets train")
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


@dataclass(frozen=True)
class Trained:
    """A trained run: its network with weights, and what belongs to them.

    These are its config, the stage that the weights are from, and the temperature fitted on the
    validation photos, or None if it was not fitted.
    """

    run: RunDir
    config: TrainConfig
    model: Classifier
    stage: str
    temperature: float | None = None

    def fed_by(self, data: RunDataConfig, trainer: Mapping[str, Any]) -> Trained:
        """Return a copy with this machine's workers, batch size and trainer."""
        changes: dict[str, Any] = {"num_workers": data.num_workers}
        if data.batch_size is not None:
            changes["batch_size"] = data.batch_size
        fed = {"data": self.config.data.model_copy(update=changes), "trainer": dict(trainer)}
        return replace(self, config=self.config.model_copy(update=fed))


def load_run(run: RunDir, ckpt: str = "last") -> Trained:
    """Load exactly the network that was trained, using only the run directory.

    Raises:
        RunError: A file of the run is missing, damaged or does not fit.
    """
    file = run.checkpoint(ckpt)
    checkpoint, config = read_checkpoint(file, run.trusted), run.train_config
    about = checkpoint["pets"]
    try:
        model = classifier_from(about)
        load_weights(model, checkpoint)
        return Trained(run, config, model.eval(), about["stage"], about.get("temperature"))
    except (KeyError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        reason = reason_of(error)
        raise RunError(f"{file}: does not fit its own description ({reason})") from error
