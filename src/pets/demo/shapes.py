"""Smooth outlines, all as corners of polygons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""An outline: one corner a row, x to the right and y down."""


def ellipse(x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> Points:
    """An ellipse around (x, y), turned by `tilt` radians."""
    angle = np.linspace(0.0, 2 * math.pi, 40, endpoint=False)
    across, down = rx * np.cos(angle), ry * np.sin(angle)
    cos, sin = math.cos(tilt), math.sin(tilt)
    return np.stack([x + across * cos - down * sin, y + across * sin + down * cos], axis=1)


def _spline(before: Points, here: Points, after: Points, beyond: Points, steps: int) -> Points:
    """Catmull-Rom curves from each row of `here` to the same row of `after`, joined up."""
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    a, b, c, d = (points[:, None, :] for points in (before, here, after, beyond))
    curve = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return curve.reshape(-1, 2)


def blob(corners: Sequence[tuple[float, float]] | Points, steps: int = 7) -> Points:
    """A smooth closed outline through `corners`."""
    here = np.asarray(corners, dtype=np.float64)
    ring = np.concatenate([here[-1:], here, here[:2]])
    return _spline(ring[:-3], here, ring[2:-1], ring[3:], steps)


def _curve(path: Sequence[tuple[float, float]], steps: int = 8) -> Points:
    """A smooth open line through the knots of `path`."""
    knots = np.asarray(path, dtype=np.float64)
    ends = np.concatenate([knots[:1], knots, knots[-1:]])
    return np.concatenate([_spline(ends[:-3], ends[1:-2], ends[2:-1], ends[3:], steps), knots[-1:]])


def symmetric(right_half: Sequence[tuple[float, float]], width: float = 1.0) -> Points:
    """A smooth outline mirrored at x = 0; the half runs from its top to its bottom."""
    half = np.asarray(right_half, dtype=np.float64) * (width, 1.0)
    return blob(np.concatenate([half, half[-2:0:-1] * (-1.0, 1.0)]))


def ribbon(path: Sequence[tuple[float, float]], widths: Sequence[float]) -> Points:
    """A smooth band along `path`; `widths` are full widths, spread evenly from end to end.

    Wide ends come out round, so that a ribbon also serves as a leg, a tail or a muzzle.
    """
    line = _curve(path)
    fine = np.linspace(0.0, 1.0, len(line))
    half = np.interp(fine, np.linspace(0.0, 1.0, len(widths)), widths)[:, None] / 2
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    side = along[:, ::-1] * (1.0, -1.0)
    turn = np.linspace(0.0, math.pi, 9)[1:-1, None]
    end = line[-1] + half[-1] * (np.cos(turn) * side[-1] + np.sin(turn) * along[-1])
    start = line[0] - half[0] * (np.cos(turn) * side[0] + np.sin(turn) * along[0])
    return np.concatenate([line + half * side, end, (line - half * side)[::-1], start])


def tube(path: Sequence[tuple[float, float]], widths: Sequence[float]) -> list[Points]:
    """A band like a `ribbon`, made of discs: it may turn more sharply than it is wide."""
    line = _curve(path, steps=20)
    fine = np.linspace(0.0, 1.0, len(line))
    half = np.interp(fine, np.linspace(0.0, 1.0, len(widths)), widths) / 2
    return [ellipse(x, y, r, r) for (x, y), r in zip(line.tolist(), half.tolist(), strict=True)]


def tuft(foot: Points, tip: Points, width: float) -> Points:
    """A lock of fur from the point `foot` to the point `tip`, curved like a flame."""
    along = tip - foot
    side = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9) * width / 2
    t = np.linspace(0.0, 1.0, 7)[:, None]
    bend = 0.18 * np.sin(math.pi * t) * np.array([0.0, np.hypot(*along)])
    spine = foot + t * along + bend
    half = side * (1.0 - t) ** 0.8
    return np.concatenate([spine + half, (spine - half)[::-1]])


def fringe(
    outline: Points, length: float, spacing: float, rng: np.random.Generator
) -> list[Points]:
    """Locks of fur that stand out from `outline` and hang down, about `spacing` apart.

    The lowest part of the outline stays bare: it is where an animal meets the ground.
    """
    steps = np.hypot(*np.diff(outline, axis=0, append=outline[:1]).T)
    walked = np.concatenate([[0.0], np.cumsum(steps)])
    centre, lowest = outline.mean(axis=0), outline[:, 1].max()
    locks = []
    at = 0.0
    while at < walked[-1]:
        here = outline[int(np.searchsorted(walked, at)) % len(outline)]
        out = here - centre
        out = out / max(float(np.hypot(*out)), 1e-9)
        reach = length * rng.uniform(0.7, 1.3)
        tip = here + reach * (0.75 * out + np.array([0.0, 0.7]))
        # The foot lies inside, so that a lock never leaves a gap to the body.
        if tip[1] < lowest - 0.05:
            locks.append(tuft(here - 0.12 * out, tip, 2.2 * spacing))
        at += spacing * rng.uniform(0.7, 1.4)
    return locks
