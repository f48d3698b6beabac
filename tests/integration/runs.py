"""What the tests read from a run directory."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pets.checkpoints import read_checkpoint

TIMES = ("seconds",)


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(stream)]


def metrics_or_none(run: Path) -> list[dict[str, str]]:
    return metrics(run) if (run / "metrics.csv").exists() else []


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints/last.ckpt")["state_dict"]


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def scalars(run: Path, tag: str) -> list[Any]:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    return events.Reload().Scalars(tag)


def tags(run: Path) -> list[str]:
    return sorted(EventAccumulator(str(run / "tensorboard")).Reload().Tags()["scalars"])


def on_two_ranks(module: str, outs: list[Path], words: list[str]) -> None:
    """`python -m module <out> <words>` in two processes that know of each other over gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = []
    for rank, out in enumerate(outs):
        env = {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2",
            "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1",
            # As torchrun sets it: the ranks exist already, Lightning starts none.
            "TORCHELASTIC_RUN_ID": "none", "PYTHONPATH": str(Path(__file__).parents[2]),
        }  # fmt: skip
        command = [sys.executable, "-m", module, str(out), *words]
        processes.append(
            subprocess.Popen(
                command, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True,
            )
        )  # fmt: skip
    for process in processes:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
