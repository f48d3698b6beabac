"""Convert figures and pictures to bytes, pixels and data URIs."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from pets.io.figures import drawn_quietly

TITLE = 32  # characters per title line in `grid`


def pixels(figure: Figure, dpi: int = 110) -> np.ndarray:
    """Render a figure as uint8 (height, width, 3)."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    with drawn_quietly():
        canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def png(pixels: np.ndarray) -> bytes:
    """Encode uint8 pixels (height, width, 3) as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def jpeg(pixels: Tensor, side: int) -> bytes:
    """Encode uint8 pixels (3, h, w) as JPEG, with a longer side of at most `side` pixels."""
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


def jpeg_uri(pixels: np.ndarray) -> str:
    """Encode uint8 pixels (height, width, 3) as JPEG in a data URI."""
    content = jpeg(torch.from_numpy(pixels).permute(2, 0, 1), max(pixels.shape))
    return f"data:image/jpeg;base64,{b64encode(content).decode()}"


def png_uri(content: bytes) -> str:
    """Return a PNG file's content as a data URI."""
    return f"data:image/png;base64,{b64encode(content).decode()}"


def as_pixels(content: bytes) -> Tensor:
    """Decode a picture file's content to uint8 (3, h, w)."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def grid(
    pixels: Sequence[Tensor],
    titles: Sequence[str],
    columns: int,
    heat: Sequence[np.ndarray] = (),
) -> Figure:
    """Draw photos side by side under their titles.

    Args:
        pixels: photos, uint8 (3, h, w).
        titles: one per photo, as `figures.plain` returns them.
        columns: photos per row.
        heat: heat maps (h', w') from 0 to 1, drawn over the first photos.
    """
    rows = -(-len(pixels) // columns)
    height, width = max(p.shape[-2] for p in pixels), max(p.shape[-1] for p in pixels)
    line = 0.085 * width
    title_height = line * (1 + max(title.count("\n") for title in titles))
    across, down = 1.05 * width, height + title_height + 0.05 * width
    figure = Figure(figsize=(2.2 * columns, 2.2 * rows * down / across))
    # One Axes for all photos: a hundred would take seconds to lay out.
    axes = figure.add_axes((0, 0, 1, 1))
    for index, (photo, title) in enumerate(zip(pixels, titles, strict=True)):
        left, top = (index % columns) * across, (index // columns) * down + title_height
        h, w = photo.shape[-2:]
        extent = (left, left + w, top + h, top)
        axes.imshow(torch.movedim(photo, 0, -1).numpy(), extent=extent)
        if index < len(heat):
            axes.imshow(
                heat[index], extent=extent, cmap="autumn", alpha=0.75 * heat[index],
                interpolation="bilinear", vmin=0, vmax=1,
            )  # fmt: skip
        axes.text(left + w / 2, top - line / 3, title, ha="center", va="bottom", fontsize=9)
    axes.set(xlim=(-0.03 * width, columns * across), ylim=(rows * down, -0.02 * width))
    axes.axis("off")
    return figure
