"""fastai's suggestion functions on curves from a JSON file; prints their rates as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fastai.callback.schedule import minimum, slide, steep, valley
from torch import tensor

METHODS = {"valley": valley, "slide": slide, "minimum": minimum, "steep": steep}
STEPS = 100


def main() -> None:
    """Every method on every curve."""
    rows = []
    for curve in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        lrs, losses = tensor(curve["lrs"]), tensor(curve["losses"])
        # Each returns the rate, or the rate and its point.
        found = {name: method(lrs, losses, STEPS) for name, method in METHODS.items()}
        rows.append({name: float(f[0] if isinstance(f, tuple) else f) for name, f in found.items()})
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
