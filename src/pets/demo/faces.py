"""Eyes, nose, muzzle, mouth and whiskers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pets.demo.breeds import Mood, Pet
from pets.demo.canvas import Brush, darker, lighter, mix
from pets.demo.shapes import Points, blob, ellipse, ribbon, symmetric, tuft

INK = (38, 28, 32)
PINK = (228, 132, 136)
WHITE = (255, 255, 255)


def draw_face(brush: Brush, pet: Pet, mood: Mood, rng: np.random.Generator) -> None:
    """Draw the face onto a head that has its coat."""
    for side in (-1, 1):
        draw_eye(brush, pet, mood, side)
    if pet.breed.species == "cat":
        cat_muzzle(brush, pet, mood)
        whiskers(brush, rng)
    else:
        dog_muzzle(brush, pet, mood, rng)


def draw_eye(brush: Brush, pet: Pet, mood: Mood, side: int) -> None:
    """Draw the eye on one side of the face."""
    cat = pet.breed.species == "cat"
    x, y = side * (0.42 if cat else 0.36) * pet.width, -0.08 if cat else -0.2
    rx, ry = (0.235, 0.21) if cat else (0.15, 0.16)
    if mood.eyelids == 0.0:
        lid = ribbon([(x - rx, y), (x, y + 0.1), (x + rx, y)], [0.02, 0.06, 0.02])
        brush.fill(lid, INK, depth=None)
        return
    slant = 0.05 if cat else 0.02
    corners = [
        (-1.0, 0.0), (-0.2, -1.0), (0.8, -0.65), (1.05, 0.0), (0.5, 0.85), (-0.45, 0.8),
    ]  # fmt: skip
    lifts = (-0.4, 0.0, 1.0, 1.0, 0.0, 0.0)
    eye = blob([
        (x + side * u * rx, y + v * ry - lift * slant)
        for (u, v), lift in zip(corners, lifts, strict=True)
    ])  # fmt: skip
    rim = (eye - (x, y)) * 1.16 + (x, y)
    brush.fill(rim, INK, depth=None)
    brush.fill(eye, darker(pet.eyes, 0.35) if cat else (246, 240, 232), depth=None)
    opening = brush.mask([eye], depth=None)
    ix, iy = x + 0.25 * rx * mood.gaze[0], y + 0.25 * ry * mood.gaze[1]
    r = 0.92 * rx
    brush.fill(ellipse(ix, iy, r, r), pet.eyes, depth=None, inside=opening)
    glow = ellipse(ix, iy + 0.5 * r, 0.6 * r, 0.4 * r)
    brush.fill(glow, lighter(pet.eyes, 0.5), depth=None, soft=0.04, opacity=0.8, inside=opening)
    wide, high = (mood.pupil * r, 0.78 * r) if cat else (0.58 * r, 0.58 * r)
    brush.fill(ellipse(ix, iy, wide, high), (20, 16, 22), depth=None, inside=opening)
    shade = ellipse(x, y - ry, 1.2 * rx, 0.5 * ry)
    brush.fill(shade, (16, 10, 20), depth=None, soft=0.03, opacity=0.5, inside=opening)
    shine = 0.3 * r * (1 if mood.light[0] > 0 else -1)
    brush.fill(ellipse(ix + shine, iy - 0.36 * r, 0.24 * r, 0.24 * r), WHITE, depth=None)
    brush.fill(ellipse(ix - shine, iy + 0.4 * r, 0.1 * r, 0.1 * r), WHITE, None, opacity=0.8)
    if mood.eyelids < 1.0:
        edge = y - 1.1 * ry + 1.6 * (1.0 - mood.eyelids) * ry
        # Lids that fall towards the temples look sleepy, the other way round they look cross.
        inner, outer = (x - 0.3 * side, edge - 0.05), (x + 0.3 * side, edge + 0.07)
        socket = brush.mask([rim], depth=None)
        lid = np.array([inner, outer, (x + 0.3 * side, y - 0.4), (x - 0.3 * side, y - 0.4)])
        brush.fill(lid, darker(pet.coat, 0.1), depth=None, inside=socket)
        brush.fill(ribbon([inner, outer], [0.045]), INK, depth=None, inside=socket)


def cat_muzzle(brush: Brush, pet: Pet, mood: Mood) -> None:
    """Draw the pads, the nose and the mouth of a cat."""
    lift = 0.86 + pet.muzzle
    if mood.mouth:
        jaw = 0.12 + 0.16 * mood.mouth
        brush.fill(ellipse(0, 0.56 + 0.3 * jaw, 0.17, jaw), darker(PINK, 0.75), lift)
        brush.fill(ellipse(0, 0.6 + 0.6 * jaw, 0.11, 0.6 * jaw), PINK, lift)
    pads = mix(pet.accent, pet.pale, 0.3) if pet.breed.pattern == "points" else pet.pale
    for side in (-1, 1):
        brush.fill(ellipse(0.17 * side, 0.47, 0.24, 0.18), lighter(pads, 0.12), lift, soft=0.02)
    nose = symmetric([(0, 0.21), (0.13, 0.2), (0.1, 0.3), (0, 0.37)])
    dark = pet.breed.pattern in ("points", "plain")
    colour = darker(pet.accent, 0.35) if dark else PINK
    brush.fill(nose, colour, lift + 0.1)
    brush.fill(ellipse(-0.03, 0.24, 0.05, 0.02), lighter(colour, 0.5), lift + 0.1, opacity=0.8)
    brush.fill(ribbon([(0, 0.35), (0, 0.47)], [0.03]), INK, lift, opacity=0.85)
    for side in (-1, 1):
        smile = [(0, 0.47), (0.1 * side, 0.545), (0.24 * side, 0.5)]
        brush.fill(ribbon(smile, [0.03, 0.035, 0.012]), INK, lift, opacity=0.85)


def whiskers(brush: Brush, rng: np.random.Generator) -> None:
    """Draw three long hairs on either side."""
    for side in (-1, 1):
        for i in range(3):
            y = 0.42 + 0.06 * i
            end = (side * rng.uniform(1.15, 1.35), 0.22 + 0.22 * i + rng.uniform(-0.06, 0.06))
            hair = [(0.26 * side, y), (0.75 * side, (y + end[1]) / 2 - 0.06), end]
            brush.fill(ribbon(hair, [0.022, 0.006]), (255, 253, 250), 0.8, opacity=0.85)


def dog_muzzle(brush: Brush, pet: Pet, mood: Mood, rng: np.random.Generator) -> None:
    """Draw the snout, the nose, the mouth and the tongue of a dog."""
    length, canvas = pet.muzzle, brush.canvas
    pale = pet.breed.pattern in ("saddle", "mask", "spots")
    fur = pet.pale if pale else mix(pet.coat, pet.pale, 0.25 + 0.5 * pet.patch)
    base = brush.place(ellipse(0, 0.32, pet.snout + 0.1, 0.42), 0.7)
    # Seen from the front, a longer snout reaches lower.
    x, y = brush.place(np.array([(0.0, 0.25 * (length - 0.45))]))[0]
    brush = replace(brush, origin=(float(x), float(y)))
    tip = brush.place(ellipse(0, 0.42, pet.snout, 0.32), 0.8 + length)
    if mood.mouth:
        jaw = 0.14 + 0.2 * mood.mouth
        brush.fill(ellipse(0, 0.66 + 0.5 * jaw, 0.25, jaw), darker(PINK, 0.75), 0.7 + length)
        brush.fill(ellipse(0, 0.74 + 0.8 * jaw, 0.16, 0.95 * jaw), PINK, 0.8 + length)
        line = ribbon([(0, 0.7), (0, 0.74 + jaw)], [0.025])
        brush.fill(line, darker(PINK, 0.3), 0.8 + length, opacity=0.7)
    if pet.beard:
        brush.fill(beard(pet, rng), darker(fur, 0.06), 0.7 + length)
    for t in np.linspace(0.0, 1.0, 12):
        canvas.fill([base * (1 - t) + tip * t], mix(darker(fur, 0.1), fur, t))
    canvas.fill([tip], lighter(fur, 0.4), opacity=0.5)
    nose = symmetric([(0, 0.14), (0.16, 0.14), (0.19, 0.24), (0.08, 0.36), (0, 0.38)])
    brush.fill(nose, INK, 0.95 + length)
    brush.fill(ellipse(-0.04, 0.19, 0.08, 0.035), (170, 160, 165), 0.98 + length, soft=0.012)
    brush.fill(ribbon([(0, 0.36), (0, 0.54)], [0.03]), INK, 0.9 + length, opacity=0.85)
    for side in (-1, 1):
        smile = [(0, 0.54), (0.16 * side, 0.62), (0.34 * side, 0.52)]
        brush.fill(ribbon(smile, [0.03, 0.04, 0.012]), INK, 0.8 + length, opacity=0.85)


def beard(pet: Pet, rng: np.random.Generator) -> list[Points]:
    """Locks that hang from the chin."""
    locks = []
    for t in np.linspace(-1.0, 1.0, 9):
        reach = 0.86 - 0.2 * t**2 + pet.beard * rng.uniform(0.5, 1.0)
        locks.append(tuft(np.array([0.3 * t, 0.5]), np.array([0.5 * t, reach]), 0.24))
    return locks
