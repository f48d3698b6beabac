"""Where a picture is taken: a studio, a room, a sofa, a garden, hills or a carpet.

Nothing here knows the breed, so that no background gives it away.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from pets.demo.canvas import SUPERSAMPLE, Colour, darker, lighter, mix
from pets.demo.shapes import Points, blob, ellipse


def tone(hue: float, saturation: float, value: float) -> Colour:
    """A colour by hue (in turns), saturation and value (0 to 1)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def gradient(size: int, top: Colour, bottom: Colour, lean: float = 0.0) -> Image.Image:
    """A square that fades from `top` to `bottom`; `lean` tips the direction of the fade."""
    steps = np.linspace(0.0, 1.0, 64)
    way = np.clip(steps[:, None] + lean * (steps[None, :] - 0.5), 0.0, 1.0)[..., None]
    pixels = np.array(top) * (1 - way) + np.array(bottom) * way
    small = Image.fromarray(pixels.astype(np.uint8))
    return small.resize((size, size), Image.Resampling.BILINEAR)


class Place:
    """A background in the making, in fractions of the picture's side."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.size = image.width
        self._draw = ImageDraw.Draw(image, "RGBA")

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        colour: Colour,
        radius: float = 0.01,
    ) -> None:
        """A rectangle with rounded corners."""
        corners = [round(self.size * value) for value in (left, top, right, bottom)]
        self._draw.rounded_rectangle(corners, radius=radius * self.size, fill=colour)

    def shape(self, outline: Points, colour: Colour, opacity: float = 1.0) -> None:
        """A polygon, which may let some of what lies behind it through."""
        self._draw.polygon(
            (outline * self.size).ravel().tolist(), fill=(*colour, round(255 * opacity))
        )

    def glow(self, x: float, y: float, radius: float, colour: Colour, opacity: float) -> None:
        """A pool of light that fades out towards its edge."""
        side = round(2 * radius * self.size)
        fade = Image.radial_gradient("L").resize((side, side))
        fade = fade.point([round(opacity * max(0, 180 - value)) for value in range(256)])
        corner = (round((x - radius) * self.size), round((y - radius) * self.size))
        self.image.paste(colour, (*corner, corner[0] + side, corner[1] + side), fade)

    def floor(self, top: float, far: Colour, near: Colour) -> None:
        """Cover everything below `top` with a fade from `far` to `near`."""
        row = round(top * self.size)
        self.image.paste(gradient(self.size, far, near), (0, row))


def studio(rng: np.random.Generator, size: int, ground: float) -> Image.Image:
    """A paper backdrop that sweeps into the floor, with a pool of light."""
    hue, saturation = rng.uniform(), rng.uniform(0.12, 0.42)
    base = tone(hue, saturation, rng.uniform(0.55, 0.95))
    place = Place(gradient(size, lighter(base, 0.25), darker(base, 0.2), rng.uniform(-0.5, 0.5)))
    place.glow(rng.uniform(0.25, 0.75), rng.uniform(0.3, 0.55), 0.8, lighter(base, 0.75), 0.9)
    if rng.uniform() < 0.5:
        spot = tone(hue + rng.uniform(-0.1, 0.1), saturation, rng.uniform(0.7, 0.98))
        for _ in range(rng.integers(5, 14)):
            r = rng.uniform(0.02, 0.1)
            place.shape(ellipse(rng.uniform(), rng.uniform(), r, r), spot, rng.uniform(0.2, 0.5))
    return place.image


def room(rng: np.random.Generator, size: int, ground: float) -> Image.Image:
    """A wall with a window or pictures, a skirting board and a floor with a rug."""
    wall = tone(rng.uniform(), rng.uniform(0.1, 0.38), rng.uniform(0.6, 0.92))
    wood = tone(rng.uniform(0.05, 0.11), rng.uniform(0.3, 0.55), rng.uniform(0.45, 0.75))
    place = Place(gradient(size, lighter(wall, 0.15), darker(wall, 0.1), rng.uniform(-0.4, 0.4)))
    if rng.uniform() < 0.3:
        stripe = lighter(wall, 0.16)
        width = rng.uniform(0.04, 0.09)
        for x in np.arange(0.0, 1.0, 2 * width):
            place.box(x, 0.0, x + width, 1.0, stripe)
    if rng.uniform() < 0.5:
        left, top = rng.uniform(-0.1, 0.65), rng.uniform(-0.1, 0.12)
        right, bottom = left + rng.uniform(0.3, 0.45), top + rng.uniform(0.35, 0.5)
        sky = tone(rng.uniform(0.5, 0.6), rng.uniform(0.1, 0.35), rng.uniform(0.75, 1.0))
        place.box(left - 0.02, top - 0.02, right + 0.02, bottom + 0.02, lighter(wall, 0.7))
        place.box(left, top, right, bottom, sky)
        middle = (left + right) / 2
        place.box(middle - 0.008, top, middle + 0.008, bottom, lighter(wall, 0.7))
        cross = top + 0.45 * (bottom - top)
        place.box(left, cross - 0.008, right, cross + 0.008, lighter(wall, 0.7))
    else:
        for _ in range(rng.integers(1, 4)):
            left, top = rng.uniform(0.0, 0.8), rng.uniform(0.02, 0.3)
            width, height = rng.uniform(0.1, 0.24), rng.uniform(0.1, 0.24)
            place.box(left, top, left + width, top + height, darker(wood, 0.15))
            art = tone(rng.uniform(), rng.uniform(0.2, 0.5), rng.uniform(0.6, 0.95))
            edge = 0.015
            place.box(left + edge, top + edge, left + width - edge, top + height - edge, art)
            x, y = left + width / 2, top + height * 0.6
            place.shape(ellipse(x, y, width * 0.25, height * 0.2), darker(art, 0.25))
    horizon = ground - rng.uniform(0.08, 0.2)
    place.floor(horizon, lighter(wood, 0.1), darker(wood, 0.15))
    place.box(-0.1, horizon - 0.035, 1.1, horizon, lighter(wall, 0.55))
    if rng.uniform() < 0.6:
        rug = tone(rng.uniform(), rng.uniform(0.2, 0.5), rng.uniform(0.5, 0.9))
        x = rng.uniform(0.3, 0.7)
        place.shape(ellipse(x, ground + 0.05, 0.55, 0.12), rug)
        place.shape(ellipse(x, ground + 0.05, 0.47, 0.095), lighter(rug, 0.25))
    if rng.uniform() < 0.4:
        plant(place, rng.choice([0.08, 0.92]), horizon + 0.05, rng)
    return place.image


def plant(place: Place, x: float, foot: float, rng: np.random.Generator) -> None:
    """A pot with long leaves."""
    leaf = tone(rng.uniform(0.25, 0.42), rng.uniform(0.3, 0.55), rng.uniform(0.4, 0.65))
    for angle in rng.uniform(-0.9, 0.9, 9):
        length = rng.uniform(0.16, 0.34)
        dx, dy = length * math.sin(angle), -length * math.cos(angle)
        top = foot - 0.12
        place.shape(
            blob([
                (x, top), (x + dx * 0.5 - 0.03, top + dy * 0.55), (x + dx, top + dy),
                (x + dx * 0.5 + 0.03, top + dy * 0.5),
            ]),
            mix(leaf, darker(leaf, 0.3), rng.uniform()),
        )  # fmt: skip
    pot = tone(rng.uniform(0.0, 0.1), rng.uniform(0.2, 0.5), rng.uniform(0.5, 0.9))
    place.box(x - 0.07, foot - 0.13, x + 0.07, foot, pot)


def sofa(rng: np.random.Generator, size: int, ground: float) -> Image.Image:
    """The back and the seat of a sofa, with cushions."""
    wall = tone(rng.uniform(), rng.uniform(0.08, 0.3), rng.uniform(0.65, 0.95))
    cloth = tone(rng.uniform(), rng.uniform(0.2, 0.55), rng.uniform(0.4, 0.85))
    place = Place(gradient(size, lighter(wall, 0.1), wall))
    top, seat = rng.uniform(0.15, 0.38), ground - rng.uniform(0.08, 0.14)
    split = rng.uniform(0.3, 0.7)
    place.box(-0.1, top + 0.12, 1.1, 1.0, darker(cloth, 0.3))
    for left, right in ((-0.3, split), (split, 1.3)):
        place.box(left, top, right, 1.2, darker(cloth, 0.08 if left < 0 else 0.12), radius=0.06)
    for _ in range(rng.integers(0, 3)):
        x, r = rng.uniform(0.05, 0.95), rng.uniform(0.13, 0.19)
        y, tilt = seat - 0.8 * r, rng.uniform(-0.3, 0.3)
        cushion = tone(rng.uniform(), rng.uniform(0.15, 0.5), rng.uniform(0.6, 0.95))
        corners = np.array([(-1, -1), (0, -0.85), (1, -1), (0.85, 0), (1, 1), (0, 0.85), (-1, 1),
                            (-0.85, 0)])  # fmt: skip
        cos, sin = math.cos(tilt), math.sin(tilt)
        turned = corners @ np.array([[cos, sin], [-sin, cos]])
        place.shape(blob(turned * r + (x, y)), cushion)
    place.floor(seat, lighter(cloth, 0.12), darker(cloth, 0.1))
    return place.image


def garden(rng: np.random.Generator, size: int, ground: float) -> Image.Image:
    """Sky, hedges, a lawn and flowers."""
    sky = tone(rng.uniform(0.5, 0.62), rng.uniform(0.1, 0.4), rng.uniform(0.8, 1.0))
    leaf = tone(rng.uniform(0.2, 0.4), rng.uniform(0.3, 0.6), rng.uniform(0.45, 0.8))
    place = Place(gradient(size, sky, lighter(sky, 0.5)))
    horizon = ground - rng.uniform(0.15, 0.32)
    for layer in range(2):
        colour = mix(mix(leaf, sky, 0.35), leaf, layer)
        for x in np.arange(-0.05, 1.1, 0.13):
            r = rng.uniform(0.09, 0.19) * (1.3 - 0.4 * layer)
            shade = mix(colour, darker(colour, 0.25), rng.uniform(0.0, 0.8))
            place.shape(ellipse(x, horizon - r * rng.uniform(0.2, 0.7), r, r), shade)
    grass = tone(rng.uniform(0.2, 0.34), rng.uniform(0.35, 0.6), rng.uniform(0.62, 0.88))
    place.floor(horizon, lighter(grass, 0.15), darker(grass, 0.2))
    flower = tone(rng.uniform(), rng.uniform(0.2, 0.7), rng.uniform(0.85, 1.0))
    for _ in range(rng.integers(0, 40)):
        y = rng.uniform(horizon, 1.0)
        r = 0.006 + 0.02 * (y - horizon)
        place.shape(ellipse(rng.uniform(), y, r, 0.8 * r), lighter(flower, rng.uniform(0, 0.6)))
    return place.image


def hills(rng: np.random.Generator, size: int, ground: float) -> Image.Image:
    """Clouds or a low sun over rolling hills."""
    evening = rng.uniform() < 0.4
    top = tone(rng.uniform(0.55, 0.72), rng.uniform(0.2, 0.5), rng.uniform(0.65, 0.95))
    low = tone(rng.uniform(0.03, 0.12), 0.35, 1.0) if evening else lighter(top, 0.65)
    place = Place(gradient(size, top, low))
    x, y = rng.uniform(), rng.uniform(0.08, 0.35)
    if evening:
        place.glow(x, y, 0.45, (255, 240, 205), 1.0)
        place.shape(ellipse(x, y, 0.09, 0.09), (255, 246, 222))
    else:
        for _ in range(rng.integers(1, 5)):
            x, y, r = rng.uniform(), rng.uniform(0.03, 0.4), rng.uniform(0.04, 0.09)
            for dx, scale in ((-1.2, 0.7), (0.0, 1.0), (1.2, 0.75), (0.5, 0.8)):
                place.shape(ellipse(x + dx * r, y, 1.2 * r, scale * r), (255, 255, 255), 0.65)
    hill = tone(rng.uniform(0.15, 0.42), rng.uniform(0.2, 0.5), rng.uniform(0.5, 0.8))
    for layer in range(3):
        height = ground - 0.26 + 0.09 * layer
        waves = np.linspace(-0.2, 1.2, 30)
        phase, bend = rng.uniform(0, 6.3), rng.uniform(3, 7)
        crest = height + 0.05 * np.sin(bend * waves + phase)
        outline = np.stack([waves, crest], axis=1)
        shade = mix(mix(hill, low, 0.55), darker(hill, 0.1), layer / 2)
        place.shape(np.concatenate([outline, [(1.2, 1.2), (-0.2, 1.2)]]), shade)
    return place.image


def carpet(rng: np.random.Generator, size: int, ground: float) -> Image.Image:
    """A carpet seen from above, with bands or dots."""
    base = tone(rng.uniform(), rng.uniform(0.15, 0.5), rng.uniform(0.45, 0.88))
    second = tone(rng.uniform(), rng.uniform(0.1, 0.4), rng.uniform(0.7, 1.0))
    place = Place(gradient(size, darker(base, 0.12), lighter(base, 0.08)))
    second = mix(base, second, rng.uniform(0.2, 0.5))
    if rng.uniform() < 0.5:
        width, slope = rng.uniform(0.04, 0.12), rng.uniform(-0.8, 0.8)
        for y in np.arange(-0.8, 1.8, 2.2 * width):
            band = [(0.0, y), (1.0, y + slope), (1.0, y + slope + width), (0.0, y + width)]
            place.shape(np.array(band), second)
    else:
        step, r = rng.uniform(0.12, 0.2), rng.uniform(0.02, 0.05)
        for row, y in enumerate(np.arange(0.0, 1.1, step)):
            for x in np.arange(step / 2 * (row % 2), 1.1, step):
                place.shape(ellipse(x, y, r, 0.8 * r), second)
    return place.image


def backdrop(rng: np.random.Generator, size: int, ground: float) -> Image.Image:
    """One of the settings, out of focus, at the size at which animals are drawn.

    `ground` is the height of the animal's feet, as a fraction of the picture from the top.
    """
    settings = (studio, room, sofa, garden, hills, carpet)
    image = settings[rng.integers(len(settings))](rng, size, min(ground, 0.95))
    image = image.filter(ImageFilter.GaussianBlur(size * rng.uniform(0.003, 0.014)))
    large = size * SUPERSAMPLE
    # Blown up without smoothing, it comes back as it was when the drawing is scaled down.
    return image.resize((large, large), Image.Resampling.NEAREST)
