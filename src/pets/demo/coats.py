"""The fur: the patterns, hairs and light on a head or a part of the body that is there already."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pets.demo.breeds import Mood, Pet
from pets.demo.canvas import Brush, Colour, darker, lighter, mix
from pets.demo.shapes import Points, blob, ellipse, ribbon, symmetric


def paint_head(brush: Brush, pet: Pet, fur: Image.Image, rng: np.random.Generator) -> None:
    """Paint the pattern of the head; `fur` is the stencil of the head."""

    def on_face(shapes: list[Points], light: bool, soft: float = 0.0, opacity: float = 1.0) -> None:
        colour = pet.pale if light else pet.accent
        brush.fill(shapes, colour, depth=None, soft=soft, opacity=opacity, inside=fur)

    pattern = pet.breed.pattern
    if pattern == "tabby":
        on_face([ellipse(0, 0.6, 0.5, 0.36)], light=True, soft=0.06)
        on_face(tabby_stripes(), light=False)
    elif pattern == "tuxedo":
        tip = rng.uniform(-0.55, -0.1)
        blaze = [(0, tip), (0.12, 0.0), (0.5, 0.4), (0.6, 0.75), (0, 1.1)]
        on_face([symmetric(blaze)], light=True)
    elif pattern == "points":
        on_face([ellipse(0, 0.3, 0.46, 0.6), ellipse(0, -0.05, 0.62, 0.2)], light=False, soft=0.14)
    elif pattern == "spots":
        eye = int(rng.choice([-1, 1]))
        on_face([ellipse(0.4 * eye, -0.2, 0.34, 0.42, 0.3 * eye)], light=False)
        on_face([ellipse(-0.5 * eye, -0.66, 0.16, 0.12)], light=False)
    elif pattern == "saddle":
        blaze = [(0, -0.8), (0.09, -0.5), (0.1, 0.0), (0.42, 0.4), (0.4, 0.8), (0, 1.0)]
        on_face([symmetric(blaze)], light=True, soft=0.02)
    elif pattern == "mask":
        mask = [
            (0, -0.18), (0.2, -0.38), (0.5, -0.42), (0.64, -0.12), (0.86, 0.2), (0.7, 1), (0, 1.2),
        ]  # fmt: skip
        on_face([symmetric(mask)], light=True, soft=0.015)
        on_face([ribbon([(0, -0.9), (0, -0.5), (0, -0.1)], [0.3, 0.16, 0.1])], light=False)
    else:
        on_face([ellipse(0, 0.5, 0.4, 0.3)], light=True, soft=0.1, opacity=0.5)
        if pet.patch > 0.0:
            reach = 0.1 - 0.8 * pet.patch
            width = 0.08 + 0.1 * pet.patch
            blaze = [(0, reach - 0.1), (width, reach + 0.1), (width, 0.0), (0.3, 0.4), (0, 0.9)]
            on_face([symmetric(blaze)], light=True, soft=0.02)


def tabby_stripes() -> list[Points]:
    """The M on the brow and the stripes of the cheeks."""
    stripes = [
        ribbon([(0, -0.88), (0, -0.45)], [0.13, 0.02]),
        ribbon([(0.24, -0.85), (0.2, -0.62), (0.15, -0.42)], [0.12, 0.1, 0.02]),
        ribbon([(0.46, -0.78), (0.42, -0.6), (0.4, -0.44)], [0.12, 0.1, 0.02]),
        ribbon([(0.98, 0.0), (0.8, 0.06), (0.64, 0.02)], [0.13, 0.1, 0.02]),
        ribbon([(0.98, 0.26), (0.8, 0.28), (0.66, 0.22)], [0.13, 0.1, 0.02]),
    ]
    return stripes + [stripe * (-1.0, 1.0) for stripe in stripes[1:]]


def paint_body(
    brush: Brush, pet: Pet, mood: Mood, fur: Image.Image, limb: bool, rng: np.random.Generator
) -> None:
    """Paint the pattern of a part of the body; `limb` marks the forelegs."""

    def on_body(shapes: list[Points], light: bool, soft: float = 0.0, opacity: float = 1.0) -> None:
        colour = pet.pale if light else pet.accent
        brush.fill(shapes, colour, soft=soft, opacity=opacity, inside=fur)

    pattern = pet.breed.pattern
    feet = 2.75 if mood.pose == "sit" else 1.6
    paws = [np.array([(-1.2, feet), (1.2, feet), (1.2, 4.0), (-1.2, 4.0)])]
    bib = [symmetric([(0, 0.4), (0.4, 0.7), (0.46, 1.2), (0.24, 1.9), (0, 2.1)])]
    if pattern == "tabby":
        on_body(bib, light=True, soft=0.08)
        bands = []
        for y in np.arange(0.7, 3.2, 0.34):
            for x in (0.85, 1.6, 2.3):
                path = [(x + 0.3, y - 0.1), (x, y), (x - 0.32, y + 0.08)]
                bands.append(ribbon(path, [0.14, 0.02]))
        on_body([*bands, *(band * (-1.0, 1.0) for band in bands)], light=False)
    elif pattern == "tuxedo":
        if limb:
            on_body(paws, light=True)
        else:
            on_body(bib, light=True)
    elif pattern == "points":
        if limb:
            on_body(paws, light=False, soft=0.15)
    elif pattern == "spots":
        spots = []
        for _ in range(3 if limb else 16):
            x, y, r = rng.uniform(-1.3, 2.4), rng.uniform(0.8, 3.0), rng.uniform(0.07, 0.2)
            spots.append(ellipse(mood.side * x, y, r, r * rng.uniform(0.7, 1.2)))
        on_body(spots, light=False)
    elif pattern == "saddle":
        if limb:
            on_body(paws, light=True)
        else:
            flanks = [ellipse(1.5 * side, 1.5, 1.0, 1.7) for side in (-1, 1)]
            back = [ellipse(1.6 * mood.side, 0.5, 1.6, 1.0)]
            on_body(back if mood.pose == "loaf" else flanks, light=False, soft=0.05)
            on_body(bib, light=True, soft=0.02)
    elif pattern == "mask":
        on_body([blob(bib[0][::7] * (1.3, 1.1))] if not limb else paws, light=True, soft=0.03)
    elif pet.patch > 0.0 and not limb:
        size = 0.25 + 0.75 * pet.patch
        chest = symmetric([(0, 0.5), (0.4, 0.75), (0.45, 1.1), (0.2, 1.6), (0, 1.75)])
        on_body([(chest - (0, 1.0)) * size + (0, 1.05)], light=True, soft=0.02)


def hairs(brush: Brush, stencil: Image.Image, roots: list[tuple[float, float]]) -> None:
    """Hint at the fur with short strokes, every other one light."""
    hair = np.array([(0, -0.07), (0.014, 0.01), (0, 0.07), (-0.012, 0.0)])
    strokes = [hair + (-0.07 * x * hair[:, 1:] / 0.14) * (1, 0) + (x, y) for x, y in roots]
    brush.fill(strokes[::2], (255, 250, 240), opacity=0.2, inside=stencil)
    brush.fill(strokes[1::2], (30, 20, 40), opacity=0.16, inside=stencil)


def round_off(brush: Brush, stencil: Image.Image, colour: Colour, mood: Mood, depth: float) -> None:
    """Shade a part on the side away from the light, and lighten the other rim."""
    light = (mood.light[0] * depth * brush.unit, mood.light[1] * depth * brush.unit)
    shade = darker(mix(colour, (60, 40, 90), 0.3), 0.55)
    brush.canvas.model(stencil, light, shade, glow=lighter(colour, 0.75))
