"""Drawing a head: its shape, its ears and the coat on it; the face comes last."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from pets.demo.breeds import Head, Mood, Pet
from pets.demo.canvas import Brush, darker, lighter, mix
from pets.demo.coats import hairs, paint_head, round_off
from pets.demo.faces import draw_face
from pets.demo.shapes import Points, blob, symmetric, tuft

HEADS: dict[Head, list[tuple[float, float]]] = {
    "round": [
        (0, -0.84), (0.42, -0.82), (0.82, -0.5), (1.0, 0.02), (0.93, 0.42), (0.55, 0.78), (0, 0.9),
    ],
    "wedge": [
        (0, -0.82), (0.46, -0.8), (0.86, -0.5), (0.96, -0.1), (0.76, 0.36), (0.36, 0.82), (0, 0.94),
    ],
    "long": [
        (0, -0.92), (0.46, -0.87), (0.8, -0.52), (0.86, 0), (0.74, 0.42), (0.45, 0.76), (0, 0.86),
    ],
    "egg": [
        (0, -0.9), (0.4, -0.85), (0.7, -0.55), (0.8, -0.05), (0.84, 0.4), (0.52, 0.8), (0, 0.92),
    ],
}  # fmt: skip


def draw_head(
    brush: Brush, pet: Pet, mood: Mood, chest: Image.Image, rng: np.random.Generator
) -> None:
    """Draw the head with its ears, coat and face, and its shadow on the chest."""
    outline = symmetric(HEADS[pet.breed.head], pet.width)
    shadow = outline * (0.86, 0.9) + (0.0, 0.3)
    brush.fill(shadow, (34, 24, 40), opacity=0.55, soft=0.13, inside=chest)
    shapes = [outline, *cheeks(pet, rng)]
    floppy = pet.breed.ear == "floppy"
    far_side = 1 if mood.yaw > 0 else -1
    if floppy:
        floppy_ear(brush, pet, mood, far_side, over=None)
    else:
        for side in (-1, 1):
            upright_ear(brush, pet, mood, side, front=False)
    stencil = brush.mask(shapes)
    brush.canvas.stamp(stencil, pet.coat)
    paint_head(brush, pet, stencil, rng)
    hairs(brush, stencil, [(rng.uniform(-0.9, 0.9), rng.uniform(-0.8, 0.6)) for _ in range(16)])
    round_off(brush, stencil, pet.coat, mood, depth=0.36)
    if floppy:
        # Turned to one side, a head hides the root of the ear on the other.
        for side in (-far_side,) if abs(mood.yaw) > 0.2 else (-1, 1):
            floppy_ear(brush, pet, mood, side, over=stencil)
    else:
        for side in (-1, 1):
            upright_ear(brush, pet, mood, side, front=True)
    draw_face(brush, pet, mood, rng)


def cheeks(pet: Pet, rng: np.random.Generator) -> list[Points]:
    """Tufts at the jaws, as long as the breed is fluffy."""
    tufts = []
    if pet.fluff > 0.02:
        for side in (-1, 1):
            for x, y, out in ((0.85, 0.1, 0.7), (0.82, 0.3, 1.0), (0.66, 0.48, 0.9)):
                foot = np.array([side * pet.width * x * 0.9, y])
                reach = 0.2 + pet.fluff * out * rng.uniform(1.2, 1.9)
                tufts.append(tuft(foot, foot + reach * np.array([side, 0.75]), 0.34))
    return tufts


def upright_ear(brush: Brush, pet: Pet, mood: Mood, side: int, front: bool) -> None:
    """Draw a standing ear, or (`front`) the part of it that folds over the head."""
    cat, bat = pet.breed.species == "cat", pet.breed.ear == "bat"
    full = 0.32 if bat else 0.2
    petal = [
        (-0.5, -0.2), (-0.46, 0.3), (-full, 0.78), (0, 1.0), (full, 0.78), (0.46, 0.3), (0.5, -0.2),
    ]  # fmt: skip
    outline = blob(petal)
    crease = 1.0 - 0.62 * pet.fold
    back = darker(pet.accent if pet.breed.pattern in ("points", "mask") else pet.coat, 0.06)
    width = (0.78 if bat else 0.74) if cat else 0.52
    angle = side * ((0.5 if bat else 0.34) if cat else 0.26) + mood.ears[(side + 1) // 2]
    foot = (side * (0.62 if cat else 0.5) * pet.width, -0.56 if cat else -0.7)

    def stand(shape: Points) -> Points:
        across, up = side * shape[:, 0] * width, shape[:, 1] * pet.ear_size
        cos, sin = math.cos(angle), math.sin(angle)
        x, y = foot[0] + across * cos + up * sin, foot[1] + across * sin - up * cos
        return np.stack([x, y], axis=1)

    def folded(shape: Points, turns: float) -> Points:
        """Take what lies above the crease back to it (1) or over to its other side (2)."""
        up = np.array([0.24, 0.97])
        above = np.maximum((shape - (0.0, crease)) @ up, 0.0)
        moved: Points = shape - turns * above[:, None] * up
        return moved

    if front:
        flap = folded(outline, 2.1)[(folded(outline, 1.0) != outline).any(axis=1)]
        if pet.fold > 0.05 and len(flap) > 2:
            brush.fill(stand(flap - (0.0, 0.07)), (30, 24, 34), opacity=0.45, soft=0.04)
            brush.fill(stand(flap), lighter(back, 0.1))
        return
    shell = folded(outline, 1.0)
    stencil = brush.mask([stand(shell)])
    brush.canvas.stamp(stencil, back)
    round_off(brush, stencil, back, mood, depth=0.15)
    skin = mix((236, 164, 156), pet.coat, 0.3 if cat else 0.45)
    inner = folded(outline * (0.64, 0.78) + (0.0, 0.04), 1.0)
    brush.fill(stand(inner), darker(skin, 0.12))
    brush.fill(stand(inner * (0.7, 0.8)), skin, soft=0.05, opacity=0.9)
    for lean in (-0.18, 0.0, 0.16):
        lock = np.array([(lean - 0.1, -0.1), (lean * 0.6 - 0.02, 0.52), (lean + 0.12, -0.1)])
        brush.fill(stand(lock), lighter(pet.coat, 0.35), opacity=0.5)


def floppy_ear(brush: Brush, pet: Pet, mood: Mood, side: int, over: Image.Image | None) -> None:
    """Draw an ear that hangs down beside the head, with its shadow on the head (stencil `over`)."""
    size, w = pet.ear_size, pet.width
    swing = mood.ears[(side + 1) // 2] * side
    ear = [
        (0.5, -0.82), (0.82, -0.74), (1.08 + swing, -0.3), (1.1 + swing, -0.74 + 0.95 * size),
        (0.92 + swing, -0.74 + 1.12 * size), (0.7, -0.74 + 0.85 * size), (0.66, -0.3),
    ]  # fmt: skip
    outline = blob(np.array(ear) * (side * w, 1.0))
    colour = pet.accent if pet.breed.pattern == "spots" else darker(pet.coat, 0.22)
    if over is not None:
        shadow = outline + np.array([0.0, 0.06])
        brush.fill(shadow, (34, 24, 40), opacity=0.4, soft=0.06, inside=over)
    stencil = brush.mask([outline])
    brush.canvas.stamp(stencil, colour)
    round_off(brush, stencil, colour, mood, depth=0.22)
