"""The sides of a comparison: each measurement is a process of its own, on the same cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from job import Job
from on_pets import pets_command, told_by_run
from tell import Told

HERE = Path(__file__).resolve().parent
# In the order in which they take turns. pets without a cache, with an empty one, with the one that
# cold has just filled.
SIDES = ("pets", "cold", "warm", "fastai", "plain")
CACHED = ("cold", "warm")
SCRIPTS = ("fastai", "plain")


class SideFailed(Exception):
    """A side's process ended with an error, or did not do what was asked."""


@dataclass(frozen=True)
class Measurement:
    """One training by one side."""

    side: str
    seed: int
    told: Told
    epochs: int
    wall: float  # of the whole process, from its start to its end
    cpu: float  # user and system seconds of all its threads
    limit: float  # GFLOP/s of a matrix multiplication, before its round

    @property
    def seconds(self) -> float:
        """From the work on the first photo to the end of the last validation."""
        return self.told.seconds

    @property
    def speed(self) -> float:
        """Training images a second, validation included in the time."""
        return self.told.photos[0] * self.epochs / self.seconds

    @property
    def cores(self) -> float:
        """How many cores the process was given on average: what others used is missing."""
        return self.cpu / self.wall

    @property
    def arithmetic(self) -> float | None:
        """GFLOP/s: what the network's steps and validations need, over all of the time."""
        if self.told.flops is None:
            return None
        done = zip(self.told.photos, self.told.flops, strict=True)
        return sum(photos * each for photos, each in done) * self.epochs / self.seconds / 1e9


@dataclass(frozen=True)
class Bench:
    """A job, and where and on how many cores the sides do it; `python` is one with fastai."""

    job: Job
    work: Path
    python: Path
    cores: int

    def in_turns(self, seeds: Iterable[int], sides: Sequence[str]) -> Iterator[Measurement]:
        """Every side once a seed, one after the other, so that a machine that slows down slows
        down all of them. Raises SideFailed."""
        self.job.save(self._file)
        for seed in seeds:
            multiply = [sys.executable, HERE / "matmul.py"]
            with tempfile.TemporaryDirectory(dir=self.work) as folder:
                limit = json.loads(_run(multiply, self.cores, Path(folder))[0])
                for side in sides:
                    yield self._measure(side, seed, Path(folder), limit)

    @property
    def _file(self) -> Path:
        return self.work / f"{self.job.task}.json"

    def _measure(self, side: str, seed: int, shared: Path, limit: float) -> Measurement:
        folder = shared / side
        folder.mkdir()
        if side in SCRIPTS:
            program = self.python if side == "fastai" else sys.executable
            command = [program, HERE / f"on_{side}.py", self._file, "--seed", str(seed)]
            out, wall, cpu = _run(command, self.cores, folder)
            told = Told(**json.loads(out.splitlines()[-1]))
        else:
            cached = side in CACHED
            # One cache for the round: cold fills it, warm finds it filled.
            command = pets_command(self.job, seed, shared / "cache" if cached else None)
            _, wall, cpu = _run(command, self.cores, folder)
            told = told_by_run(folder, self.job, cached)
        if told.threads != self.cores:
            raise SideFailed(f"{side}: torch took {told.threads} threads, expected {self.cores}")
        return Measurement(side, seed, told, self.job.epochs, wall, cpu, limit)


def _run(command: Sequence[str | Path], cores: int, folder: Path) -> tuple[str, float, float]:
    """What a command prints, its wall-clock and its CPU seconds."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(cores),
        # Threads that wait for a core someone else has would burn CPU time that is no work.
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUDA_VISIBLE_DEVICES": "",
    }
    out, err = folder / "out.txt", folder / "err.txt"
    began = time.perf_counter()
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=stdout, stderr=stderr
        )
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = out.read_text()[-2000:] + err.read_text()[-4000:]
        raise SideFailed(f"{' '.join(map(str, command))}\n{said}")
    return out.read_text(), wall, used.ru_utime + used.ru_stime


def fastai_environment(folder: Path) -> Path:
    """The Python of a virtual environment with fastai, made unless it is there."""
    python = folder / "bin" / "python"
    requirements = HERE / "requirements-fastai.txt"
    wanted, ready = requirements.read_text(encoding="utf-8"), folder / ".ready"
    if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
        print(f"installing fastai into {folder} (a few minutes)", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        # The same torch on both sides where fastai accepts it: else the torches are compared.
        packages = ("torch", "torchvision", "timm")
        same = [f"{name}=={version(name).partition('+')[0]}" for name in packages]
        install = [python, "-m", "pip", "install", "--quiet", "-r", requirements]
        if subprocess.run([*install, *same]).returncode != 0:
            print("not with the torch of pets; trying fastai's choice", file=sys.stderr)
            subprocess.run(install, check=True)
        ready.write_text(wanted, encoding="utf-8")
    return python
