"""How fast pets and fastai train the lesson's ResNet-34 on two CPU cores, side by side."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from pets.data.demo import BREEDS, draw_pets

HERE = Path(__file__).resolve().parent
CORES = 2
SIZE, BATCH_SIZE, PIXELS = 224, 32, 288
# What pets shrinks a photo to before it is turned and cropped: fastai gets no more pixels to move.
PRESIZE = math.ceil(SIZE * 1.1)
BODIES = ("frozen", "unfrozen")


@dataclass(frozen=True)
class Measurement:
    """One side's counted epochs in a process of their own."""

    images: int
    seconds: float
    cpu_seconds: float
    threads: int
    versions: dict[str, str]

    @property
    def speed(self) -> float:
        """Training images a second."""
        return self.images / self.seconds

    @property
    def cpu_per_image(self) -> float:
        """User and system seconds of all threads for one image."""
        return self.cpu_seconds / self.images

    @property
    def cores(self) -> float:
        """How many cores the process was given on average: what others used is missing."""
        return self.cpu_seconds / self.seconds


@dataclass(frozen=True)
class Pair:
    """The two sides, measured one right after the other. Ratios above 1 speak for pets."""

    pets: Measurement
    fastai: Measurement

    @property
    def speed_ratio(self) -> float:
        """How many times as many images a second pets trains on."""
        return self.pets.speed / self.fastai.speed

    @property
    def cpu_ratio(self) -> float:
        """How many times as much CPU time fastai takes for an image."""
        return self.fastai.cpu_per_image / self.pets.cpu_per_image


def main() -> None:
    """Draw the photos, make fastai's environment, measure in turns, print the table."""
    asked = arguments()
    use_two_cores()
    # Absolute, as measurements run in folders of their own; resolving would leave a venv.
    work = asked.work.absolute()
    photos = demo_photos(work, asked.photos)
    fastai_python = (asked.fastai_python or fastai_environment(work / "fastai")).absolute()

    pairs: dict[str, list[Pair]] = {body: [] for body in BODIES}
    epochs = {"frozen": asked.frozen_epochs, "unfrozen": asked.unfrozen_epochs}
    for place in range(asked.rounds):
        for body in BODIES:
            pair = Pair(
                measure(pets_command(photos, body, epochs[body] + 1)),
                measure(fastai_command(fastai_python, photos, body, epochs[body] + 1)),
            )
            pairs[body].append(pair)
            note = f"round {place + 1} of {asked.rounds}, {body}: {pair.speed_ratio:.2f}"
            print(note, file=sys.stderr, flush=True)
    print(header(pairs["frozen"][0]))
    print(
        f"ResNet-34, {SIZE} px, batch {BATCH_SIZE}, random weights, {asked.photos} photos; whole "
        f"training epochs with data loading,\na warm-up epoch, then {epochs['frozen']} frozen or "
        f"{epochs['unfrozen']} unfrozen a measurement; {asked.rounds} rounds\n"
    )
    print(table(pairs))


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="how often each side is measured, in turns")
    add("--photos", type=int, default=96, help="training photos, in whole batches of 32")
    add("--frozen-epochs", type=int, default=3, help="counted ones of a measurement")
    add("--unfrozen-epochs", type=int, default=2, help="counted ones of a measurement")
    add("--work", type=Path, default=Path("build/bench"), help="folder for photos and fastai")
    add("--fastai-python", type=Path, default=None, help="a Python that has fastai already")
    asked = parser.parse_args()
    if asked.rounds < 1 or min(asked.frozen_epochs, asked.unfrozen_epochs) < 1:
        parser.error("rounds and epochs: expected at least 1")
    if asked.photos < BATCH_SIZE or asked.photos % BATCH_SIZE:
        # fastai leaves out an incomplete last batch, so does pets: it would not be counted alike.
        parser.error(f"--photos {asked.photos}: expected a multiple of {BATCH_SIZE}")
    return asked


def use_two_cores() -> None:
    """Keep this process and those it starts on two cores, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def demo_photos(work: Path, count: int) -> Path:
    """`count` drawn photos in train/<breed>/ and one in valid/<breed>/, drawn unless there."""
    root = work / f"photos-{count}"
    if root.exists():
        return root
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as draft:
        per_breed = count // len(BREEDS) + 1
        draw_pets(Path(draft) / "drawn", per_breed=per_breed, size=PIXELS)
        # By number first: every breed gets into the training photos, none has many more.
        drawn = sorted(
            (Path(draft) / "drawn" / "images").iterdir(),
            key=lambda photo: (int(photo.stem.rpartition("_")[2]), photo.name),
        )
        for place, photo in enumerate(drawn[: count + 1]):
            split = "train" if place < count else "valid"
            folder = Path(draft) / "sorted" / split / photo.stem.rpartition("_")[0]
            folder.mkdir(parents=True, exist_ok=True)
            photo.rename(folder / photo.name)
        (Path(draft) / "sorted").rename(root)
    return root


def fastai_environment(folder: Path) -> Path:
    """The Python of a virtual environment with fastai, made unless it is there."""
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if not ready.exists():
        print(f"installing fastai into {folder} (a few minutes)", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        # The same torch on both sides where fastai accepts it: else the torches are compared.
        same = [f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "torchvision")]
        install = [python, "-m", "pip", "install", "--quiet"]
        install += ["-r", HERE / "requirements-fastai.txt"]
        if subprocess.run([*install, *same]).returncode != 0:
            print("not with the torch of pets; trying fastai's choice", file=sys.stderr)
            subprocess.run(install, check=True)
        ready.touch()
    return python


def pets_command(photos: Path, body: str, epochs: int) -> list[str | Path]:
    """`pets train` with one stage, the timer as a further callback, all else its defaults."""
    stage = {
        "freeze_to": -1 if body == "frozen" else 0,
        "epochs": epochs,
        "lr": 3e-3 if body == "frozen" else [1e-6, 1e-4],
    }
    return [
        sys.executable, "-m", "pets", "train",
        "data=folder", f"data.root={photos}", f"data.size={SIZE}", f"data.batch_size={BATCH_SIZE}",
        "data.num_workers=0",
        "model=resnet34", "model.weights=none",
        "plan=frozen4", *[f"plan.stages.head.{key}={value}" for key, value in stage.items()],
        "trainer.accelerator=cpu",
        "+callbacks.timer._target_=on_pets.EpochTimer",
    ]  # fmt: skip


def fastai_command(python: Path, photos: Path, body: str, epochs: int) -> list[str | Path]:
    """The same work by fastai."""
    return [
        python, HERE / "on_fastai.py", photos,
        "--body", body, "--size", str(SIZE), "--presize", str(PRESIZE),
        "--batch-size", str(BATCH_SIZE), "--epochs", str(epochs),
    ]  # fmt: skip


def measure(command: list[str | Path]) -> Measurement:
    """Run a command that prints its measurement, in an empty folder and a process of its own."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(CORES),
        # Threads that wait for a core someone else has would burn CPU time that is no work.
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(HERE),
    }
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, cwd=folder, env=environment, text=True, capture_output=True, check=False
        )
    found = [line for line in done.stdout.splitlines() if line.startswith('{"images"')]
    if done.returncode != 0 or len(found) != 1:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    measured = Measurement(**json.loads(found[0]))
    if measured.threads != CORES:
        sys.exit(f"{command[0]}: torch took {measured.threads} threads, expected {CORES}")
    return measured


def header(pair: Pair) -> str:
    """Date, machine, and versions on both sides."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    line = f"{date}, {cpu_model()}, {CORES} of {os.cpu_count()} cores, {CORES} threads"
    sides = [
        ", ".join(f"{name} {number}" for name, number in side.versions.items())
        for side in (pair.pets, pair.fastai)
    ]
    return "\n".join([line, *sides])


def cpu_model() -> str:
    """The processor's name as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def table(pairs: dict[str, list[Pair]]) -> str:
    """Every pair, then what the ratios come to."""
    lines = [
        "                    images/s                 CPU seconds/image          cores had",
        "body      round   pets  fastai   ratio      pets   fastai   ratio     pets  fastai",
    ]
    for body, measured in pairs.items():
        for place, pair in enumerate(measured, start=1):
            pets, fastai = pair.pets, pair.fastai
            lines.append(
                f"{body:<9} {place:>5} {pets.speed:>6.2f} {fastai.speed:>7.2f} "
                f"{pair.speed_ratio:>6.2f}x {pets.cpu_per_image:>9.4f} "
                f"{fastai.cpu_per_image:>8.4f} {pair.cpu_ratio:>6.2f}x "
                f"{pets.cores:>8.2f} {fastai.cores:>7.2f}"
            )
    lines += ["", "ratios, median (min..max); above 1 speaks for pets"]
    for body, measured in pairs.items():
        speed = spread([pair.speed_ratio for pair in measured])
        cpu = spread([pair.cpu_ratio for pair in measured])
        lines.append(f"{body:<9} images/s {speed}   CPU seconds/image {cpu}")
    return "\n".join(lines)


def spread(ratios: list[float]) -> str:
    """Median and range, for example `2.10x (2.04..2.13)`."""
    return f"{median(ratios):.2f}x ({min(ratios):.2f}..{max(ratios):.2f})"


if __name__ == "__main__":
    main()
