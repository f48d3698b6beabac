"""Code shared by the export scripts; `standalone_script` inlines it in place of the import."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps


def rgb(photo: Image.Image) -> Image.Image:
    """Convert a picture to upright RGB.

    Transparent pixels become white; grey values of more than 8 bits are scaled to 8, as in
    `open_rgb` of pets.
    """
    photo = ImageOps.exif_transpose(photo)
    if photo.mode == "RGB":
        return photo
    if photo.mode.startswith("I") or photo.mode == "F":
        return _in_8_bits(photo).convert("RGB")
    if photo.has_transparency_data:
        above = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return photo.convert("RGB")


def _in_8_bits(grey: Image.Image) -> Image.Image:
    """Scale 16-bit grey values by their full range, all others by minimum and maximum."""
    values = np.asarray(grey, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("pixels that are no numbers: NaN or infinity")
    low, high = float(values.min()), float(values.max())
    if grey.mode.startswith("I;16") or (grey.mode == "I" and 255 < high <= 65535):
        low, high = 0.0, 65535.0
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(scaled.round().astype(np.uint8))


def load_unsure(folder: str | Path) -> Any:
    """Load what says which photos the network is not sure of; None if it was exported without."""
    file = Path(folder, "unsure.py")
    return runpy.run_path(str(file))["Unsure"].load(Path(folder)) if file.exists() else None


def main(load: Callable[[], Any], names: list[str]) -> int:
    """Print the top three classes of each photo, with the classifier that `load` returns, and what
    it is not sure of, if it was exported with `unsure=auto`.

    Returns the exit code: 1 if a photo cannot be read, 2 if none is given, else 0.
    """
    if not names:
        print("usage: python predict.py photo.jpg ...", file=sys.stderr)
        return 2
    classifier, code = load(), 0
    for name in names:
        try:
            with Image.open(name) as opened:
                photo = rgb(opened)
        except Exception as error:  # Pillow raises all kinds of exceptions for damaged files
            reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
            reason = reason.replace(f" {name!r}", "") or type(error).__name__
            print(f"{name}: cannot be read as a photo ({reason})", file=sys.stderr)
            code = 1
            continue
        shares = classifier.probabilities(classifier.logits([photo]))[0].tolist()
        best = sorted(zip(shares, classifier.classes, strict=True), reverse=True)[:3]
        words = [f"{label} {100 * share:.1f} %" for share, label in best]
        if classifier.unsure is not None:
            words += filter(None, map(classifier.unsure.in_words, classifier.judge([photo])))
        print(name, *words, sep="  ")
    return code
