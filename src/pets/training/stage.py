"""A stage of a run, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pets.config import StageConfig
from pets.data.activation_dataset import Activations
from pets.data.decoded import DecodedPhotos
from pets.seeding import derive


@dataclass(frozen=True)
class Inputs:
    """The inputs of a stage: photos, or activations of the frozen backbone.

    Attributes:
        size: Height and width of the photos in pixels.
        activations: By split, used instead of photos.
        decoded: Decoded photos; if None, the files are read.
    """

    size: tuple[int, int]
    activations: Mapping[str, Activations] | None = None
    decoded: DecodedPhotos | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of the plan, with its inputs, seeds and progress.

    Attributes:
        name: Its key in the plan.
        config: Freeze level, epochs, rates and schedule.
        inputs: Its photos or activations.
        order_seed: Seed of the order of the photos and of their augmentation.
        noise_seed: Seed of dropout and of batch transforms.
        steps_before: Optimizer steps of the earlier stages, the offset of the logged steps.
        epochs_done: Finished epochs of a resumed stage.
        batches_done: Finished batches of a resumed stage in its current epoch.
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
        """Create a stage at its start.

        Its random streams are derived from the run's seed and the stage's name.
        """
        own = derive(seed, "stage", name)
        return cls(name, config, inputs, own, own, steps_before)

    @property
    def resumed(self) -> bool:
        """Whether a part of it is already trained."""
        return self.epochs_done + self.batches_done > 0

    @property
    def on_activations(self) -> bool:
        """Whether its batches contain activations instead of photos."""
        return self.inputs.activations is not None
