"""What a change of structure may not change: weights, metrics, tables, predictions, exports.

    python bench/unchanged.py before.json      # on the commit before; some minutes
    python bench/unchanged.py after.json       # after
    diff before.json after.json

Compare on one machine with one environment: other CPUs add up in another order. Only commands and
the files that they write are used, so that nothing in here follows the code. `--photos` is a folder
in the Oxford layout (the mini data of the tests); without it the runs on real photos are left out.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

SMALL = (
    "data=demo", "model=efficientnet_lite0", "data.size=96", "data.batch_size=16", "seed=0",
    "data.num_workers=0", "trainer.precision=32-true", "trainer.accelerator=cpu", "plan=lesson1",
    "plan.stages.head.epochs=2", "plan.stages.body.epochs=1",
)  # fmt: skip
# These differ from run to run.
TIMES = ("seconds", "images_per_second", "waited", "time", "when")


def pets(folder: Path, *words: str) -> None:
    """A command in a folder of its own, to its good end."""
    found = subprocess.run(
        [sys.executable, "-m", "pets", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise SystemExit(f"pets {' '.join(words)}\n{found.stdout[-2000:]}\n{found.stderr[-2000:]}")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def of_weights(file: Path) -> str:
    """The tensors of a checkpoint in their order, whatever their names."""
    state = torch.load(file, weights_only=True, map_location="cpu")["state_dict"]
    return digest(b"".join(value.contiguous().numpy().tobytes() for value in state.values()))


def of_run(run: Path) -> dict[str, Any]:
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    status = json.loads((run / "status.json").read_text())
    return {
        "weights": {f.stem: of_weights(f) for f in sorted((run / "checkpoints").glob("*.ckpt"))},
        "metrics": [{k: v for k, v in row.items() if k not in TIMES} for row in rows],
        "results": {
            split: {k: v for k, v in found.items() if isinstance(v, int | float)}
            for split, found in status["results"].items()
        },
    }


def resumed(folder: Path, run: Path) -> dict[str, Any]:
    """Killed after its first epoch, and gone on with."""
    words = [sys.executable, "-m", "pets", "train", *SMALL, f"hydra.run.dir={run}"]
    process = subprocess.Popen(
        words,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    table = folder / run / "metrics.csv"
    while process.poll() is None and not (table.exists() and len(table.read_text().split()) > 1):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    pets(folder, "train", f"resume={run}")
    return of_run(folder / run)


def record(folder: Path, photos: Path | None) -> dict[str, Any]:
    # Another number of threads adds up in another order.
    found: dict[str, Any] = {"threads": os.environ.get("OMP_NUM_THREADS", "all cores")}

    def note(name: str, value: Any) -> None:
        found[name] = value
        print(name, flush=True)

    pets(folder, "train", *SMALL, "report=true", "hydra.run.dir=small")
    note("small", of_run(folder / "small"))
    predictions = pd.read_parquet(folder / "small/interpret/test/predictions.parquet")
    note("report", digest(predictions.round(5).to_csv(index=False).encode()))
    note("report summary", digest((folder / "small/interpret/test/summary.json").read_bytes()))
    note("resumed", resumed(folder, Path("resumed")))
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    halves = ("data.batch_size=8", "trainer.devices=2", "hydra.run.dir=two")
    subprocess.run(
        [*two, "-m", "pets", "train", *SMALL, *halves], cwd=folder, capture_output=True, check=True
    )
    note("two ranks", of_run(folder / "two"))

    pets(folder, "predict", "run=small", "source=data/demo-pets/images", "out=all.csv")
    note("predictions", digest((folder / "all.csv").read_bytes()))
    pets(folder, "export", "run=small", "to=[safetensors,onnx]", "out=exports")
    some = sorted((folder / "data/demo-pets/images").iterdir())[:8]
    for form in ("safetensors", "onnx"):
        script = [sys.executable, "predict.py", *map(str, some)]
        said = subprocess.run(
            script, cwd=folder / "exports" / form, capture_output=True, text=True, check=True
        )
        note(f"export {form}", digest(said.stdout.replace(str(folder), "").encode()))
    head = [word for word in SMALL if not word.startswith(("plan", "seed"))]
    pets(folder, "train", "-m", *head, "plan=frozen4", "plan.stages.head.epochs=1",
         "precompute=true", "cache_dir=cache", "seed=0,1", "plan.stages.head.lr=1e-3,1e-2",
         "hydra.sweep.dir=sweep")  # fmt: skip
    table = pd.read_csv(folder / "sweep/summary.csv")
    kept = [name for name in table if not any(time in name for time in (*TIMES, "run", "start"))]
    note("sweep", json.loads(table[kept].to_json(orient="records")))

    pets(
        folder, "train", "experiment=quickstart", "trainer.precision=32-true", "hydra.run.dir=quick"
    )
    note("quickstart", of_run(folder / "quick"))
    if photos is not None:
        real = ("data=oxford_pets", f"data.root={photos}", "data.split=official", "plan=lesson1",
                "model=efficientnet_lite0", "data.size=128", "seed=0",
                "trainer.precision=32-true")  # fmt: skip
        for name, words in (
            ("photos", ()),
            ("activations", ("precompute=true", "cache_dir=cache")),
        ):
            pets(folder, "train", *real, *words, f"hydra.run.dir={name}")
            note(f"lesson1 on {name}", of_run(folder / name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = record(Path(folder), given.photos and given.photos.resolve())
    given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
