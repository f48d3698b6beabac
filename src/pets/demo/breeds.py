"""The ten breeds of the drawn demo set, and how one animal of a breed differs from the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pets.demo.canvas import Colour, mix

Span = tuple[float, float]
"""The least and the greatest value that a trait takes within a breed."""

Colours = tuple[Colour, Colour]
"""Two ends of a scale of colours: each animal lies somewhere between them."""

Species = Literal["cat", "dog"]
Head = Literal["round", "wedge", "long", "egg"]
Ear = Literal["pointed", "bat", "floppy"]
Pattern = Literal["plain", "tabby", "points", "tuxedo", "spots", "saddle", "mask"]


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
    """One animal: the traits of its breed with the dice thrown."""

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
    """Throw the dice for one animal of `breed`."""

    def colour(ends: Colours) -> Colour:
        return mix(*ends, rng.uniform())

    def number(span: Span) -> float:
        return float(rng.uniform(*span))

    return Pet(
        breed=breed,
        coat=colour(breed.coat),
        accent=colour(breed.accent),
        pale=colour(breed.pale),
        eyes=colour(breed.eyes),
        ear_size=number(breed.ear_size),
        muzzle=number(breed.muzzle),
        width=number(breed.width),
        fold=number(breed.fold),
        patch=number(breed.patch),
        fluff=number(breed.fluff),
        build=number(breed.build),
        snout=number(breed.snout),
        beard=number(breed.beard),
    )
