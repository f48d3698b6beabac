"""Drawing a body: torso, legs and tail in one of three poses, and the collar."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pets.demo.breeds import Mood, Pet
from pets.demo.canvas import Brush, darker, lighter
from pets.demo.coats import hairs, paint_body, round_off
from pets.demo.shapes import Points, blob, ellipse, fringe, ribbon, symmetric, tube

BUST = [(0, 0.2), (0.5, 0.5), (0.82, 1.1), (1.2, 1.8), (1.45, 3.4), (0, 3.6)]
TORSO = [(0, 0.3), (0.5, 0.6), (0.72, 1.2), (0.96, 2.1), (0.92, 2.85), (0.5, 3.02), (0, 3.0)]
LOAF = [
    (-0.62, 0.5), (0.2, 0.1), (1.2, 0.2), (2.15, 0.55), (2.5, 1.2), (2.25, 1.72), (1.2, 1.8),
    (0, 1.8), (-0.85, 1.72), (-0.92, 1.1),
]  # fmt: skip


def draw_body(brush: Brush, pet: Pet, mood: Mood, rng: np.random.Generator) -> Image.Image:
    """Draw everything below the head, with its shadow, and return the stencil of the chest."""
    draw = {"bust": draw_bust, "sit": draw_sitting, "loaf": draw_lying}[mood.pose]
    chest = draw(brush, pet, mood, rng)
    if mood.collar is not None:
        draw_collar(brush, mood, 0.56 * pet.build)
    return chest


def draw_bust(brush: Brush, pet: Pet, mood: Mood, rng: np.random.Generator) -> Image.Image:
    """Head and shoulders: the body leaves the picture at the bottom."""
    chest = fur_part(brush, pet, mood, [symmetric(BUST, pet.build)], rng, furry=True)
    for side in (-1, 1):
        arm = ribbon([(0.42 * side, 1.5), (0.5 * side, 2.3), (0.5 * side, 3.4)], [0.04, 0.2, 0.1])
        brush.fill(arm, (40, 24, 44), opacity=0.2, soft=0.06, inside=chest)
    return chest


def draw_sitting(brush: Brush, pet: Pet, mood: Mood, rng: np.random.Generator) -> Image.Image:
    """Sitting upright, seen from the front."""
    brush.fill(ellipse(0.1 * mood.side, 3.05, 1.5, 0.24), (30, 24, 34), opacity=0.45, soft=0.14)
    draw_tail(brush, pet, mood, [(0.5, 2.8), (1.35, 2.9), (1.7, 2.35), (1.5, 1.8)])
    for side in (-1, 1):
        x = 0.74 * side * pet.build
        hind = [ellipse(x, 2.5, 0.44, 0.55), ellipse(1.15 * x, 2.98, 0.36, 0.16)]
        fur_part(brush, pet, mood, hind, rng, shade=0.1)
    chest = fur_part(brush, pet, mood, [symmetric(TORSO, pet.build)], rng, furry=True)
    for side in (-1, 1):
        path = [(0.3 * side, 1.7), (0.32 * side, 2.4), (0.31 * side, 2.94)]
        leg = [ribbon(path, [0.5, 0.4, 0.4]), ellipse(0.33 * side, 3.0, 0.27, 0.17)]
        fur_part(brush, pet, mood, leg, rng, limb=True)
        toes(brush, pet, 0.33 * side, 3.03)
    return chest


def draw_lying(brush: Brush, pet: Pet, mood: Mood, rng: np.random.Generator) -> Image.Image:
    """Lying down, the back to one side of the head."""
    side = mood.side
    shadow = ellipse(0.85 * side, 1.8, 2.1, 0.2)
    brush.fill(shadow, (30, 24, 34), opacity=0.45, soft=0.14)
    flip = np.array([side, 1.0])
    chest = fur_part(brush, pet, mood, [blob(np.array(LOAF) * flip)], rng, furry=True)
    hind = [ellipse(1.75 * side, 1.25, 0.62, 0.52), ellipse(1.35 * side, 1.7, 0.4, 0.15)]
    fur_part(brush, pet, mood, hind, rng)
    draw_tail(brush, pet, mood, [(2.3, 1.3), (2.62, 1.72), (2.1, 1.84), (1.5, 1.74)])
    for x in (-0.42, 0.42):
        arm = ribbon([(x * 0.9, 1.2), (x, 1.5), (x, 1.68)], [0.42, 0.42, 0.4])
        fur_part(brush, pet, mood, [arm, ellipse(x, 1.72, 0.28, 0.17)], rng, limb=True)
        toes(brush, pet, x, 1.75)
    return chest


def fur_part(
    brush: Brush,
    pet: Pet,
    mood: Mood,
    shapes: list[Points],
    rng: np.random.Generator,
    furry: bool = False,
    limb: bool = False,
    shade: float = 0.0,
) -> Image.Image:
    """Draw one part of the body (its colour, pattern and light) and return its stencil."""
    if furry and pet.fluff > 0.02:
        shapes = [*shapes, *fringe(shapes[0], 1.3 * pet.fluff, 0.17, rng)]
    colour = darker(pet.coat, shade)
    stencil = brush.mask(shapes)
    brush.canvas.stamp(stencil, colour)
    paint_body(brush, pet, mood, stencil, limb, rng)
    if furry:
        hairs(brush, stencil, [(rng.uniform(-0.9, 0.9), rng.uniform(0.9, 2.6)) for _ in range(24)])
    round_off(brush, stencil, colour, mood, depth=0.16 if limb else 0.4)
    return stencil


def draw_tail(brush: Brush, pet: Pet, mood: Mood, path: list[tuple[float, float]]) -> None:
    """Draw the tail along `path`, which is given for an animal whose side is the right one."""
    thick = 0.34 + 1.2 * pet.fluff
    taper = [0.3, thick, thick, 0.24] if pet.breed.species == "cat" else [0.34, thick, 0.22, 0.1]
    shapes = tube([(x * mood.side, y) for x, y in path], taper)
    tip = pet.accent if pet.breed.pattern in ("points", "tabby", "saddle") else pet.coat
    stencil = brush.mask(shapes)
    brush.canvas.stamp(stencil, tip)
    round_off(brush, stencil, tip, mood, depth=0.2)


def toes(brush: Brush, pet: Pet, x: float, y: float) -> None:
    """Two short lines that make a paw of a foot."""
    for dx in (-0.08, 0.08):
        line = ribbon([(x + dx, y - 0.05), (x + 1.1 * dx, y + 0.08)], [0.025, 0.03])
        brush.fill(line, darker(pet.coat, 0.55), opacity=0.7)


def draw_collar(brush: Brush, mood: Mood, reach: float) -> None:
    """Draw a collar with a bell or a bow, `reach` units to either side."""
    assert mood.collar is not None
    colour, shine = mood.collar, lighter(mood.collar, 0.45)
    band = [(-reach, 0.78), (0.0, 1.04), (reach, 0.78)]
    brush.fill(ribbon(band, [0.17, 0.2, 0.17]), colour)
    edge = [(0.96 * x, y - 0.055) for x, y in band]
    brush.fill(ribbon(edge, [0.03]), shine, opacity=0.6)
    if mood.bow:
        for side in (-1, 1):
            wing = [(0.0, 1.04), (0.4 * side, 0.84), (0.46 * side, 1.06), (0.4 * side, 1.27)]
            brush.fill(blob(wing), colour)
            crease = ribbon([(0.06 * side, 1.04), (0.3 * side, 1.0)], [0.02, 0.05, 0.01])
            brush.fill(crease, darker(colour, 0.4), opacity=0.6)
        brush.fill(ellipse(0, 1.05, 0.1, 0.12), darker(colour, 0.15))
    else:
        brush.fill(ellipse(0, 1.16, 0.13, 0.13), (226, 182, 70))
        brush.fill(ellipse(-0.03, 1.12, 0.04, 0.04), (255, 242, 200))
