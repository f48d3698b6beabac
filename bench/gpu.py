"""Whether pets works on a GPU as on a CPU, how fast it is there, and what memory that takes.

python bench/gpu.py --out FOLDER                        # 7 minutes on one modern GPU with 16 cores
python bench/gpu.py --out FOLDER --small --device cpu   # all parts in small, to try this file

Every part is a process of its own with a time limit (gpu_checks.py, gpu_speed.py); one that fails
or hangs leaves what it has found so far, and the others go on. FOLDER gets gpu.json, gpu.md and
gpu.log; they are written again after every group of parts. The Markdown is shown last.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpu_tables import markdown

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "timm", "captum", "numpy")


@dataclass(frozen=True)
class Part:
    """One process: its script, its name, how many seconds it may take."""

    script: str
    name: str
    limit: int


# One after the other; the parts of a group at the same time. What is timed is alone.
GROUPS = [
    [Part("gpu_checks.py", "train", 110)],
    [Part("gpu_speed.py", "resnet34", 90)],
    [Part("gpu_speed.py", "pass", 70)],
    [
        Part("gpu_checks.py", name, 100)
        for name in ("device", "precompute", "finder", "predict", "interpret", "serve", "export",
                     "sweep", "ranks")
    ],
    [Part("gpu_speed.py", "resnet50", 75)],
    [Part("gpu_speed.py", "vit", 75)],
]  # fmt: skip


def main() -> None:
    """Run the parts, write what they found, show it."""
    asked = arguments()
    began = time.monotonic()
    out = asked.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="pets-gpu-", dir=asked.work))
    results: dict[str, Any] = {"about": about(asked), "parts": {}}

    def run(part: Part) -> None:
        left = asked.minutes * 60 - (time.monotonic() - began)
        # A CPU is slow, and there nothing is waited for.
        limit = part.limit * 4 if asked.device == "cpu" else min(part.limit, left)
        started = time.monotonic()
        rows, found = work / f"{part.name}.json", []
        try:
            ended = "no time left" if limit < 10 else run_part(part, asked, work, limit)
            if rows.exists():
                found = json.loads(rows.read_text(encoding="utf-8"))
        except Exception as error:  # the others go on
            ended = f"failed here, {error!r}"
        seconds = round(time.monotonic() - started, 1)
        results["parts"][part.name] = {"ended": ended, "seconds": seconds, "rows": found}
        print(f"{time.monotonic() - began:5.0f} s  {part.name}: {ended}", flush=True)

    try:
        for group in GROUPS:
            chosen = [part for part in group if not asked.parts or part.name in asked.parts]
            with ThreadPoolExecutor(max(len(os.sched_getaffinity(0)) // 2, 1)) as pool:
                list(pool.map(run, chosen))
            results["seconds"] = round(time.monotonic() - began)
            write(results, out, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for name, part in results["parts"].items():
        if part["ended"] != "finished":
            print(f"\n--- the end of {name} ({part['ended']}):\n{part['log'][-1200:]}")
    print("\n" + (out / "gpu.md").read_text(encoding="utf-8"), flush=True)
    bad = [name for name, part in results["parts"].items() if not well(part)]
    sys.exit(f"not as they should be: {', '.join(bad)}" if bad else None)


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for gpu.json, gpu.md and gpu.log")
    add("--device", default="cuda", choices=["cuda", "cpu"])
    add("--small", action="store_true", help="few and small photos, short measurements")
    add("--parts", nargs="+", default=[], help="only these; most need `train` before them")
    add("--minutes", type=float, default=6.8, help="for all of it; what comes later is left out")
    add("--work", type=Path, default=None, help="where a folder for the work is made")
    asked = parser.parse_args()
    unknown = set(asked.parts) - {part.name for group in GROUPS for part in group}
    if unknown:
        parser.error(f"--parts: there is no {', '.join(sorted(unknown))}")
    return asked


def run_part(part: Part, asked: argparse.Namespace, work: Path, limit: float) -> str:
    """Run a part to its end, or to its limit with all processes it has started; how it ended."""
    words = [sys.executable, str(HERE / part.script), part.name, str(work), asked.device]
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")])
    )
    env |= {"PETS_CACHE": str(work / "cache"), "PYTHONUNBUFFERED": "1"}
    if part.script == "gpu_checks.py":
        env["OMP_NUM_THREADS"] = "1" if asked.small else "4" if part.name == "train" else "2"
    with (work / f"{part.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*words, *(["--small"] if asked.small else [])],
            cwd=work, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        # Loaders, servers and ranks that a part has left behind would be in the others' way.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if code is None:
        return f"stopped after {limit:.0f} s"
    return "finished" if code == 0 else f"failed, exit code {code}"


def well(part: dict[str, Any]) -> bool:
    """Whether a part came to its end, with nothing in it that is not as it should be."""
    return part["ended"] == "finished" and all(row.get("ok", True) for row in part["rows"])


def write(results: dict[str, Any], out: Path, work: Path) -> None:
    """All that is known so far."""
    logs = []
    for name, part in results["parts"].items():
        file = work / f"{name}.log"
        said = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
        part["log"] = said[-4000:]
        logs.append(f"===== {name}: {part['ended']}, {part['seconds']} s\n{said[-200_000:]}")
    (out / "gpu.log").write_text("\n".join(logs), encoding="utf-8")
    shown = {n: {k: v for k, v in p.items() if k != "log"} for n, p in results["parts"].items()}
    text = json.dumps(results | {"parts": shown}, indent=1)
    (out / "gpu.json").write_text(text + "\n", encoding="utf-8")
    (out / "gpu.md").write_text(markdown(results), encoding="utf-8")


def about(asked: argparse.Namespace) -> dict[str, Any]:
    """Machine, versions, date."""
    versions = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "none"
    # In a process of its own: this one holds no GPU.
    ask = (
        "import torch; p = torch.cuda.get_device_properties(0); print(p.name, p.total_memory >> 20)"
    )
    device = platform.processor() or platform.machine()
    if asked.device == "cuda":
        told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
        device = told.stdout.strip() + " MiB" if told.returncode == 0 else told.stderr[-300:]
    return {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "device": device,
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions,
        "small": asked.small,
    }


if __name__ == "__main__":
    main()
