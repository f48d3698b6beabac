"""The drawing tools: colours, a canvas, and brushes that paint on it in perspective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from pets.demo.shapes import Points

Colour = tuple[int, int, int]

SUPERSAMPLE = 3
"""Pictures are drawn this many times larger and scaled down, which smooths every edge."""


def mix(first: Colour, second: Colour, amount: float) -> Colour:
    """The colour `amount` (0 to 1) of the way from `first` to `second`."""
    red, green, blue = (
        round(min(255.0, max(0.0, a + (b - a) * amount)))
        for a, b in zip(first, second, strict=True)
    )
    return red, green, blue


def darker(colour: Colour, amount: float) -> Colour:
    """`colour` moved towards a warm near-black, which looks softer than pure black."""
    return mix(colour, (28, 20, 26), amount)


def lighter(colour: Colour, amount: float) -> Colour:
    """`colour` moved towards a warm white."""
    return mix(colour, (255, 251, 244), amount)


class Canvas:
    """A picture under the brush; all measures are in its own (supersampled) pixels."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)

    def stamp(self, stencil: Image.Image, colour: Colour) -> None:
        """Paint `colour` wherever `stencil` is set."""
        box = stencil.getbbox()
        if box is not None:
            self.image.paste(colour, box, stencil.crop(box))

    def mask(self, shapes: Sequence[Points]) -> Image.Image:
        """A stencil as large as the canvas: 255 inside any of the `shapes`, else 0."""
        stencil = Image.new("L", self.image.size)
        draw = ImageDraw.Draw(stencil)
        for shape in shapes:
            draw.polygon(shape.ravel().tolist(), fill=255)
        return stencil

    def fill(
        self,
        shapes: Sequence[Points],
        colour: Colour,
        opacity: float = 1.0,
        soft: float = 0.0,
        inside: Image.Image | None = None,
    ) -> None:
        """Paint `shapes`, with edges blurred by `soft` pixels, only where the stencil allows."""
        if opacity >= 1.0 and soft <= 0.0 and inside is None:
            for shape in shapes:
                self._draw.polygon(shape.ravel().tolist(), fill=colour)
            return
        box = self._box(shapes, margin=3 * soft)
        if box is None:
            return
        cover = _cover(shapes, box, soft, opacity)
        if inside is not None:
            cover = ImageChops.multiply(cover, inside.crop(box))
        self.image.paste(colour, box, cover)

    def model(
        self, stencil: Image.Image, light: tuple[float, float], shade: Colour, glow: Colour
    ) -> None:
        """Make a flat shape look round: `shade` its dark side and let the other one `glow`.

        `light` points to where the light comes from; the longer it is, the wider both reach.
        """
        box = stencil.getbbox()
        if box is None:
            return
        # Soft light needs no fine pixels: an eighth of them gives the same look at a fraction
        # of the time. The margin lets the light wrap around the edge of the shape.
        step = 8
        reach = math.hypot(*light) / step
        margin = math.ceil(reach) + 1
        exact = stencil.crop(box)
        small = ImageOps.expand(exact.reduce(step), margin)
        small = small.filter(ImageFilter.GaussianBlur(0.6 * reach))
        inner = (margin, margin, margin + exact.width / step, margin + exact.height / step)
        for colour, way, opacity in ((shade, -1.0, 0.5), (glow, 0.7, 0.3)):
            # Where the shape, moved along, no longer covers itself, it is tinted.
            move = (1, 0, way * light[0] / step, 0, 1, way * light[1] / step)
            moved = small.transform(
                small.size, Image.Transform.AFFINE, move, Image.Resampling.BILINEAR
            )
            bare = moved.point([round(opacity * (255 - value)) for value in range(256)])
            tint = bare.resize(exact.size, Image.Resampling.BILINEAR, box=inner)
            self.image.paste(colour, box, ImageChops.multiply(tint, exact))

    def _box(self, shapes: Sequence[Points], margin: float) -> tuple[int, int, int, int] | None:
        """The pixels that `shapes` can touch, or None where they lie outside the canvas."""
        low = np.min([shape.min(axis=0) for shape in shapes], axis=0) - margin - 1
        high = np.max([shape.max(axis=0) for shape in shapes], axis=0) + margin + 2
        left, top = max(0, int(low[0])), max(0, int(low[1]))
        right = min(self.image.width, math.ceil(high[0]))
        bottom = min(self.image.height, math.ceil(high[1]))
        return (left, top, right, bottom) if left < right and top < bottom else None


def _cover(
    shapes: Sequence[Points], box: tuple[int, int, int, int], soft: float, opacity: float
) -> Image.Image:
    """How much of the paint each pixel of `box` gets (0 to 255)."""
    width, height = box[2] - box[0], box[3] - box[1]
    # A blurred shape is drawn small and scaled up: the same look, many times faster.
    step = max(1, int(soft / 1.5))
    cover = Image.new("L", (math.ceil(width / step), math.ceil(height / step)))
    draw = ImageDraw.Draw(cover)
    for shape in shapes:
        draw.polygon(((shape - box[:2]) / step).ravel().tolist(), fill=round(255 * opacity))
    if soft > 0:
        cover = cover.filter(ImageFilter.GaussianBlur(soft / step))
    if step > 1:
        cover = cover.resize((width, height), Image.Resampling.BILINEAR)
    return cover


@dataclass(frozen=True)
class Brush:
    """A canvas seen in the units of one body part: x right, y down, z towards the viewer.

    A unit is the radius of the animal's head. Turning the part (`yaw`, to the right) or raising it
    (`pitch`, up) moves what lies nearer to the viewer further, which gives a face its depth.
    """

    canvas: Canvas
    origin: tuple[float, float]
    unit: float
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0

    def place(self, points: Points, depth: float | None = 0.0) -> Points:
        """Pixels of `points` that lie `depth` before the middle of the part.

        None stands for the surface of the somewhat flattened ball that a head is.
        """
        x, y = points[:, 0], points[:, 1]
        ball = 0.85 * np.sqrt(np.clip(1.0 - x**2 - y**2, 0.0, 1.0))
        z = ball if depth is None else depth
        x, z = (
            x * math.cos(self.yaw) + z * math.sin(self.yaw),
            z * math.cos(self.yaw) - x * math.sin(self.yaw),
        )
        y = y * math.cos(self.pitch) - z * math.sin(self.pitch)
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        return np.stack([x * cos - y * sin, x * sin + y * cos], axis=1) * self.unit + self.origin

    def fill(
        self,
        shapes: Points | Sequence[Points],
        colour: Colour,
        depth: float | None = 0.0,
        opacity: float = 1.0,
        soft: float = 0.0,
        inside: Image.Image | None = None,
    ) -> None:
        """Paint `shapes` (see `Canvas.fill`), given in units."""
        outlines = [shapes] if isinstance(shapes, np.ndarray) else shapes
        if len(outlines):
            self.canvas.fill(
                self._place_all(outlines, depth), colour, opacity, soft * self.unit, inside
            )

    def mask(self, shapes: Sequence[Points], depth: float | None = 0.0) -> Image.Image:
        """The stencil of `shapes` (see `Canvas.mask`), given in units."""
        return self.canvas.mask(self._place_all(shapes, depth))

    def _place_all(self, shapes: Sequence[Points], depth: float | None) -> list[Points]:
        """`place` for many outlines at once, which is faster than one after the other."""
        ends = np.cumsum([len(shape) for shape in shapes])
        return np.split(self.place(np.concatenate(shapes), depth), ends[:-1])
