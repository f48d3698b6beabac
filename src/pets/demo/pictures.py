"""Draw one picture from start to finish."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from PIL import Image

from pets.demo.bodies import draw_body
from pets.demo.breeds import BREEDS, Pet, born
from pets.demo.canvas import SUPERSAMPLE, Brush, Canvas
from pets.demo.heads import draw_head
from pets.demo.moods import feel
from pets.demo.scenes import backdrop


def draw_pet(breed: int, number: int, size: int = 288, seed: int = 0) -> Image.Image:
    """Draw picture `number` of the breed `BREEDS[breed]`, `size` pixels a side.

    Each picture has its own random stream, so it does not depend on pictures drawn before.
    """
    rng = np.random.default_rng([seed, breed, number])
    pet = born(BREEDS[breed], rng)
    return finish(draw_animal(pet, rng, size), rng, size)


def draw_animal(pet: Pet, rng: np.random.Generator, size: int) -> Image.Image:
    """Draw `pet` in a random pose and place, at `SUPERSAMPLE` times `size` pixels."""
    mood = feel(rng)
    side = size * SUPERSAMPLE
    canvas = Canvas(backdrop(rng, size, mood.ground))
    body = Brush(canvas, (mood.x * side, mood.y * side), mood.unit * side, roll=mood.roll)
    nod = (0.12 * math.sin(mood.yaw), -0.1 * math.sin(mood.pitch))
    x, y = body.place(np.array([nod]))[0]
    head = replace(
        body,
        origin=(float(x), float(y)),
        roll=mood.roll + mood.tilt,
        yaw=mood.yaw,
        pitch=mood.pitch,
    )
    chest = draw_body(body, pet, mood, rng)
    draw_head(head, pet, mood, chest, rng)
    return canvas.image


def finish(image: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
    """Scale the drawing down and give it the light, the vignette and the grain of a photo."""
    small = image.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=1.5)
    pixels = np.asarray(small, dtype=np.float32)
    warmth = rng.normal(0.0, 0.04)
    light = rng.uniform(0.9, 1.14) * np.array([1 + warmth, 1.0, 1 - 1.3 * warmth])
    across = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    distance = across[:, None] ** 2 + across[None, :] ** 2
    edges = 1.0 - rng.uniform(0.0, 0.12) * distance
    sideways, downwards = rng.uniform(-0.1, 0.1), rng.uniform(-0.06, 0.06)
    slope = 1.0 + sideways * across[None, :] + downwards * across[:, None]
    pixels = pixels * (edges * slope)[..., None] * light.astype(np.float32)
    grain = rng.standard_normal((size, size, 1), dtype=np.float32) * rng.uniform(0.5, 3.0)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
