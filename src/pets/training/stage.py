"""A stage of a training, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pets.config import StageConfig
from pets.data.activation_dataset import Activations
from pets.data.decoded import DecodedPhotos
from pets.seeding import derive


@dataclass(frozen=True)
class Inputs:
    """What the batches of a stage are made of: photos, or what a frozen backbone made of them.

    Attributes:
        size: height and width of the photos in pixels.
        activations: by split, in the place of photos.
        decoded: photos that need no decoding; without them the files are read.
    """

    size: tuple[int, int]
    activations: Mapping[str, Activations] | None = None
    decoded: DecodedPhotos | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of the plan: what it trains on, what it trains, how, and from which step on.

    Attributes:
        name: its key in the plan.
        config: freeze level, epochs, rates and schedule.
        inputs: what its batches are made of.
        order_seed: of the order of the photos and of their augmentation.
        noise_seed: of dropout and of transforms of whole batches.
        steps_before: optimizer steps of the earlier stages, from which the logged steps count on.
        epochs_done: whole epochs that a resumed stage has behind it.
        batches_done: batches that it has behind it in the epoch after those.
    """

    name: str
    config: StageConfig
    inputs: Inputs
    order_seed: int
    noise_seed: int
    steps_before: int = 0
    epochs_done: int = 0
    batches_done: int = 0

    @classmethod
    def of_plan(
        cls, name: str, config: StageConfig, inputs: Inputs, seed: int, steps_before: int = 0
    ) -> Stage:
        """A stage from its beginning; its random streams derive from the run's seed and its
        name."""
        own = derive(seed, "stage", name)
        return cls(name, config, inputs, own, own, steps_before)

    @property
    def resumed(self) -> bool:
        """Whether it is resumed: a part of it is trained already."""
        return self.epochs_done + self.batches_done > 0

    @property
    def on_activations(self) -> bool:
        """Whether its batches hold activations in the place of photos."""
        return self.inputs.activations is not None
