"""What changes from one photo of an animal to the next: pose, look, mood and collar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pets.demo.canvas import Colour

Pose = Literal["bust", "sit", "loaf"]

COLLARS: tuple[Colour, ...] = (
    (200, 60, 62), (52, 116, 186), (62, 148, 104), (232, 164, 54), (140, 92, 176), (226, 120, 150),
)  # fmt: skip


@dataclass(frozen=True)
class Mood:
    """One moment of an animal. Angles are in radians, places in fractions of the picture's side.

    `unit` is the radius of the head, (`x`, `y`) its middle and `ground` the height of the feet;
    `light` points to the light; `eyelids` and `mouth` go from 0 (shut) to 1 (wide open),
    `pupil` is the width of a cat's pupil, as a fraction of the eye.
    """

    pose: Pose
    unit: float
    x: float
    y: float
    ground: float
    roll: float
    side: int
    yaw: float
    pitch: float
    tilt: float
    light: tuple[float, float]
    eyelids: float
    mouth: float
    pupil: float
    ears: tuple[float, float]
    gaze: tuple[float, float]
    collar: Colour | None
    bow: bool


def feel(rng: np.random.Generator) -> Mood:
    """Throw the dice for one photo. They do not know the breed."""
    pose: Pose = ("bust", "bust", "sit", "loaf")[rng.integers(4)]
    side = int(rng.choice([-1, 1]))
    x, ground = 0.5 + rng.uniform(-0.07, 0.07), rng.uniform(0.84, 0.94)
    if pose == "bust":
        unit = rng.uniform(0.2, 0.27)
        y = rng.uniform(0.44, 0.52)
    elif pose == "sit":
        unit = rng.uniform(0.14, 0.168)
        y = ground - 3.06 * unit
    else:
        unit = rng.uniform(0.165, 0.205)
        x -= 0.75 * side * unit
        y = ground - 1.82 * unit
    lids = rng.uniform()
    return Mood(
        pose=pose,
        unit=unit,
        x=x,
        y=y,
        ground=ground,
        roll=rng.normal(0.0, 0.035),
        side=side,
        yaw=float(np.clip(rng.normal(0.0, 0.26), -0.46, 0.46)),
        pitch=rng.uniform(-0.14, 0.16),
        tilt=float(np.clip(rng.normal(0.0, 0.1), -0.25, 0.25)),
        light=(float(rng.choice([-1, 1])) * rng.uniform(0.4, 0.9), -rng.uniform(0.5, 0.9)),
        eyelids=0.0 if lids < 0.06 else rng.uniform(0.45, 0.7) if lids < 0.22 else 1.0,
        mouth=rng.uniform(0.4, 1.0) if rng.uniform() < 0.4 else 0.0,
        pupil=rng.uniform(0.2, 0.7),
        ears=(rng.normal(0.0, 0.07), rng.normal(0.0, 0.07)),
        gaze=(rng.uniform(-0.3, 0.3), rng.uniform(-0.2, 0.2)),
        collar=COLLARS[rng.integers(len(COLLARS))] if rng.uniform() < 0.35 else None,
        bow=bool(rng.uniform() < 0.35),
    )
