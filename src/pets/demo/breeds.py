"""The ten breeds of the drawn demo set, one animal of a breed, and its mood in one photo."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from pets.demo.canvas import Colour, mix

Span = tuple[float, float]
"""Minimum and maximum of a trait within a breed."""

Colours = tuple[Colour, Colour]
"""Two ends of a colour scale; each animal's colour lies between them."""

Species = Literal["cat", "dog"]
Head = Literal["round", "wedge", "long", "egg"]
Ear = Literal["pointed", "bat", "floppy"]
Pose = Literal["bust", "sit", "loaf"]
Pattern = Literal["plain", "tabby", "points", "tuxedo", "spots", "saddle", "mask"]


COLLARS: tuple[Colour, ...] = (
    (200, 60, 62), (52, 116, 186), (62, 148, 104), (232, 164, 54), (140, 92, 176), (226, 120, 150),
)  # fmt: skip


@dataclass(frozen=True)
class Breed:
    """What all animals of a breed share, in units of the head's radius where it is a size.

    `accent` is the colour of the pattern, `pale` that of the muzzle, the chest and the paws.
    `fold` says how much of an ear hangs over (0 stands up, 1 lies flat), `patch` how large the
    white patch on the chest is, `fluff` how long the fur stands out, `build` how broad the body
    is. `muzzle` says how far the muzzle stands out, `snout` how broad it is, and `beard` how long
    the hair on the chin is.
    """

    name: str
    species: Species
    head: Head
    ear: Ear
    pattern: Pattern
    coat: Colours
    accent: Colours
    pale: Colours
    eyes: Colours
    ear_size: Span
    muzzle: Span
    width: Span
    fold: Span = (0.0, 0.04)
    patch: Span = (0.0, 0.0)
    fluff: Span = (0.08, 0.14)
    build: Span = (0.94, 1.06)
    snout: Span = (0.34, 0.38)
    beard: Span = (0.0, 0.0)


BREEDS: tuple[Breed, ...] = (
    Breed(
        "Tabby_Marmalade", "cat", "round", "pointed", "tabby",
        coat=((238, 164, 86), (222, 134, 62)), accent=((182, 92, 38), (164, 76, 32)),
        pale=((255, 241, 220), (250, 226, 192)), eyes=((124, 168, 74), (204, 172, 56)),
        ear_size=(0.78, 0.9), muzzle=(0.1, 0.2), width=(0.98, 1.06),
    ),
    Breed(
        "Tuxedo_Velvet", "cat", "round", "pointed", "tuxedo",
        coat=((52, 50, 58), (34, 33, 40)), accent=((52, 50, 58), (34, 33, 40)),
        pale=((252, 250, 246), (238, 236, 236)), eyes=((214, 200, 72), (150, 190, 84)),
        ear_size=(0.72, 0.86), muzzle=(0.08, 0.18), width=(1.0, 1.1), fluff=(0.16, 0.26),
    ),
    Breed(
        "Silk_Sealpoint", "cat", "wedge", "bat", "points",
        coat=((246, 232, 208), (232, 212, 184)), accent=((92, 66, 56), (66, 46, 42)),
        pale=((250, 240, 222), (240, 224, 200)), eyes=((92, 162, 222), (64, 120, 200)),
        ear_size=(0.9, 1.04), muzzle=(0.2, 0.34), width=(0.84, 0.92), fluff=(0.0, 0.02),
        build=(0.76, 0.84),
    ),
    # The first pair of look-alikes: eyes and ears tell them apart, and neither always does.
    Breed(
        "Harbour_Blue", "cat", "round", "pointed", "plain",
        coat=((140, 152, 170), (112, 124, 146)), accent=((98, 108, 130), (84, 94, 116)),
        pale=((166, 176, 192), (142, 154, 172)), eyes=((104, 172, 92), (190, 168, 66)),
        ear_size=(0.7, 0.86), muzzle=(0.08, 0.2), width=(0.98, 1.1), fold=(0.0, 0.34),
    ),
    Breed(
        "Slate_Fold", "cat", "round", "pointed", "plain",
        coat=((140, 152, 170), (112, 124, 146)), accent=((98, 108, 130), (84, 94, 116)),
        pale=((166, 176, 192), (142, 154, 172)), eyes=((178, 168, 70), (214, 126, 44)),
        ear_size=(0.64, 0.8), muzzle=(0.06, 0.18), width=(1.0, 1.12), fold=(0.2, 0.7),
    ),
    Breed(
        "spotted_terrier", "dog", "long", "floppy", "spots",
        coat=((252, 250, 244), (240, 236, 228)), accent=((58, 48, 46), (40, 34, 36)),
        pale=((255, 253, 250), (246, 242, 236)), eyes=((96, 62, 36), (70, 44, 28)),
        ear_size=(0.56, 0.72), muzzle=(0.42, 0.58), width=(0.92, 1.0), fluff=(0.16, 0.24),
        beard=(0.2, 0.32),
    ),
    Breed(
        "saddle_hound", "dog", "long", "floppy", "saddle",
        coat=((206, 140, 80), (184, 112, 58)), accent=((52, 42, 42), (38, 32, 34)),
        pale=((255, 246, 234), (246, 234, 218)), eyes=((92, 56, 30), (64, 40, 24)),
        ear_size=(1.1, 1.36), muzzle=(0.5, 0.66), width=(0.88, 0.96), fluff=(0.0, 0.02),
    ),
    Breed(
        "snow_sled_dog", "dog", "long", "pointed", "mask",
        coat=((112, 116, 126), (74, 78, 88)), accent=((74, 76, 86), (50, 52, 60)),
        pale=((252, 252, 252), (238, 240, 244)), eyes=((128, 196, 236), (92, 160, 220)),
        ear_size=(0.72, 0.84), muzzle=(0.42, 0.56), width=(0.98, 1.08), fluff=(0.16, 0.24),
    ),
    # The second pair of look-alikes: the length of the muzzle and the patch on the chest.
    Breed(
        "coast_bull_terrier", "dog", "egg", "pointed", "plain",
        coat=((218, 168, 116), (186, 130, 84)), accent=((150, 104, 72), (120, 84, 60)),
        pale=((252, 244, 232), (242, 230, 214)), eyes=((84, 54, 34), (58, 38, 26)),
        ear_size=(0.56, 0.7), muzzle=(0.46, 0.8), width=(0.9, 1.0), patch=(0.05, 0.55),
        fold=(0.2, 0.5), fluff=(0.0, 0.02), build=(1.04, 1.16), snout=(0.4, 0.46),
    ),
    Breed(
        "valley_bull_terrier", "dog", "egg", "pointed", "plain",
        coat=((218, 168, 116), (186, 130, 84)), accent=((150, 104, 72), (120, 84, 60)),
        pale=((252, 244, 232), (242, 230, 214)), eyes=((84, 54, 34), (58, 38, 26)),
        ear_size=(0.56, 0.7), muzzle=(0.16, 0.54), width=(0.92, 1.02), patch=(0.4, 1.0),
        fold=(0.2, 0.5), fluff=(0.0, 0.02), build=(1.04, 1.16), snout=(0.4, 0.46),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Pet:
    """One animal, with traits drawn at random within its breed."""

    breed: Breed
    coat: Colour
    accent: Colour
    pale: Colour
    eyes: Colour
    ear_size: float
    muzzle: float
    width: float
    fold: float
    patch: float
    fluff: float
    build: float
    snout: float
    beard: float


def born(breed: Breed, rng: np.random.Generator) -> Pet:
    """Draw a random animal of `breed`, trait by trait in the order of the fields."""
    traits: dict[str, Any] = {}
    for field in fields(Pet)[1:]:
        low, high = getattr(breed, field.name)
        if isinstance(low, tuple):
            traits[field.name] = mix(low, high, rng.uniform())
        else:
            traits[field.name] = float(rng.uniform(low, high))
    return Pet(breed, **traits)


@dataclass(frozen=True)
class Mood:
    """One moment of an animal. Angles are in radians, positions in fractions of the picture's side.

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
    """Draw a random pose for one photo, independent of the breed."""
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
