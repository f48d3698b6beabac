"""A part of gpu.py: whether a command does on the GPU what it does on the CPU.

python bench/gpu_checks.py PART FOLDER cuda|cpu [--small]

Drawn pets, EfficientNet-Lite0 with its packaged weights. What is allowed: 0.02 of a loss where the
GPU computes in float32 (its convolutions in TF32), 0.06 in bfloat16; 0.01 and 0.05 of a
probability.
"""

from __future__ import annotations

import csv
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gpu_tables import Rows

HERE = Path(__file__).resolve().parent
FLOAT32, BFLOAT16 = 0.02, 0.06  # of a loss
P_FLOAT32, P_BFLOAT16 = 0.01, 0.05  # of a probability
PART, WORK, DEVICE = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
SMALL = "--small" in sys.argv
ON_DEVICE = "trainer.accelerator=gpu" if DEVICE == "cuda" else "trainer.accelerator=cpu"
ON_CPU = ("trainer.accelerator=cpu", "trainer.precision=32-true")
DATA, RUNS = WORK / "demo", WORK / "runs"
COMMON = (
    f"data.root={DATA}", f"data.size={64 if SMALL else 128}", "data.batch_size=16",
    f"data.num_workers={0 if SMALL else 2}",
)  # fmt: skip
EPOCHS = ("plan.stages.head.epochs=2", "plan.stages.body.epochs=2")


def main() -> None:
    rows = Rows(WORK / f"{PART}.json")
    globals()[f"check_{PART}"](rows)


def pets(
    *words: str,
    may_fail: bool = False,
    before: tuple[str, ...] = ("-m", "pets"),
    seconds: float | None = None,
) -> str:
    """Run a command; what it said. Raises SystemExit, or TimeoutExpired after so many seconds."""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, *before, *words], cwd=WORK, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds,
    )  # fmt: skip
    print(f"$ pets {' '.join(words)}: {ended.returncode}, {time.monotonic() - began:.1f} s")
    print(ended.stdout, flush=True)
    if ended.returncode and not may_fail:
        raise SystemExit(f"pets {words[0]} ended with {ended.returncode}")
    return ended.stdout


def train(name: str, *words: str) -> Path:
    """`pets train` into a run directory of this name."""
    pets("train", *COMMON, *words, f"hydra.run.dir={RUNS / name}")
    return RUNS / name


def at_once(**calls: tuple[Any, ...]) -> dict[str, Any]:
    """Several trainings at the same time; one that fails leaves None."""

    def call(words: tuple[Any, ...]) -> Any:
        try:
            return train(*words)
        except SystemExit as error:
            print(words[0], "failed:", error, flush=True)
            return None

    with ThreadPoolExecutor(min(len(calls), max(len(os.sched_getaffinity(0)) // 2, 1))) as pool:
        return dict(zip(calls, pool.map(call, calls.values()), strict=True))


def losses(run: Path) -> list[float]:
    """Every loss of its epochs."""
    with (run / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [float(row[name]) for row in rows for name in ("train_loss", "valid_loss")]


def apart(mine: Any, other: Any) -> float:
    """The largest difference of two lists; infinite where their lengths differ."""
    if len(mine) != len(other):
        return float("inf")
    return max((abs(a - b) for a, b in zip(mine, other, strict=True)), default=float("inf"))


def compare(rows: Rows, what: str, mine: Path | None, other: Path | None, allowed: float) -> None:
    """The losses of two runs."""
    if mine is None or other is None:
        rows.that(what, False, "a training failed, see gpu.log")
        return
    a, b = losses(mine), losses(other)
    rows.check(what, apart(a, b), allowed, f"last valid loss {a[-1]:.3f}, {b[-1]:.3f}")


def check_train(rows: Rows) -> None:
    """Frozen and unfrozen; and with augmentation on the device."""
    from pets.demo import draw_pets

    draw_pets(DATA, per_breed=8 if SMALL else 16, size=96 if SMALL else 192)
    float32 = "trainer.precision=32-true"
    found = at_once(
        cpu=("cpu", *EPOCHS, *ON_CPU),
        gpu32=("gpu32", *EPOCHS, ON_DEVICE, float32),
        gpu=("gpu", *EPOCHS, ON_DEVICE),
        again=("again", *EPOCHS, ON_DEVICE),
        decoded=("decoded", *EPOCHS, *ON_CPU, "data.cache=decoded"),
        gpu_decoded=("gpu_decoded", *EPOCHS, ON_DEVICE, "data.cache=decoded"),
    )
    compare(rows, "lesson1, float32, losses", found["gpu32"], found["cpu"], FLOAT32)
    compare(rows, "lesson1, precision=auto, losses", found["gpu"], found["cpu"], BFLOAT16)
    compare(
        rows, "lesson1, data.cache=decoded, augmented on the device, losses",
        found["gpu_decoded"], found["decoded"], BFLOAT16,
    )  # fmt: skip
    compare(rows, "the same command again, losses", found["again"], found["gpu"], 0.0)
    if found["gpu"]:
        said = (found["gpu"] / "train.log").read_text()
        expected = "on cuda, bf16-mixed" if DEVICE == "cuda" else "on cpu, "
        rows.that(f"says {expected}", expected in said)


def check_device(rows: Rows) -> None:
    """In one process: augmentation, the network, Grad-CAM."""
    import torch

    from pets.data.device_augment import device_augment
    from pets.data.images import open_rgb
    from pets.data.transforms import CentreCrop, normalize, to_tensor
    from pets.run_dir import RunDir
    from pets.serving.predictor import Photo, Predictor
    from pets.training.checkpoints import load_run

    files = sorted((DATA / "images").iterdir())[:16]
    trained = load_run(RunDir.open_finished(RUNS / "gpu"))
    model, size = trained.model, trained.model.size
    side = tuple(round(length / model.preprocess.crop_pct) for length in size)
    augment = device_augment(trained.config.augment, size, model.preprocess, side)
    assert augment is not None
    torch.manual_seed(0)
    photos = [to_tensor(open_rgb(file)) for file in files]
    drawn = [augment.draw(torch.nn.functional.interpolate(p[None], side)[0]) for p in photos]
    crops, numbers = (torch.stack(list(part)) for part in zip(*drawn, strict=True))
    here = augment(crops, numbers)
    there = augment(crops.to(DEVICE), numbers.to(DEVICE)).cpu()
    # A level of 255 is about 0.02; a lighting cuts off a level where float noise tells.
    far = (here - there).abs()
    rows.check("augmentation, mean of pixels", float(far.mean()), 2e-3, f"largest {far.max():.2g}")
    seen = [Photo(CentreCrop(size, model.preprocess)(photo), True) for photo in photos]
    predictors = [
        Predictor(load_run(trained.run).model, 1.0, torch.device(d)) for d in ("cpu", DEVICE)
    ]
    looks = [predictor.predict(seen) for predictor in predictors]
    p = [torch.tensor([found.probabilities for found in look]) for look in looks]
    rows.check("serving's network, probabilities", float((p[0] - p[1]).abs().max()), P_FLOAT32)
    cams = [torch.stack([f.cam for f in look if f.cam is not None]) for look in looks]
    same = (p[0].argmax(1) == p[1].argmax(1)).float()[:, None, None]
    rows.check("Grad-CAM (captum)", float(((cams[0] - cams[1]).abs() * same).max()), 0.05)
    with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16):
        pixels = torch.stack([photo.pixels for photo in seen]).to(DEVICE)
        logits = predictors[1].model(normalize(model.preprocess)(pixels)).float().cpu()
    rows.check(
        "the network in bfloat16, probabilities",
        float((logits.softmax(1) - p[0]).abs().max()), P_BFLOAT16,
    )  # fmt: skip


def check_precompute(rows: Rows) -> None:
    """The feature pass and the head on it."""
    words = ("plan=frozen4", "plan.stages.head.epochs=3", "precompute=true")
    found = at_once(
        cpu=("features_cpu", *words, *ON_CPU), gpu=("features_gpu", *words, ON_DEVICE),
        half=("features_half", *words, ON_DEVICE, "precompute.dtype=float16", "precompute.views=2"),
    )  # fmt: skip
    compare(rows, "precompute=true, losses", found["gpu"], found["cpu"], BFLOAT16)
    rows.that("precompute.views=2 precompute.dtype=float16 runs", found["half"] is not None)
    warm = train("features_warm", *words, ON_DEVICE)
    compare(rows, "from the filled cache, losses", warm, found["gpu"], 0.0)
    for engine in ("folded",) if SMALL else ("folded", "compile"):
        try:
            said = pets(
                "train", *COMMON, *words, ON_DEVICE, "trainer.precision=32-true",
                f"precompute.engine={engine}", f"hydra.run.dir={RUNS / engine}",
                may_fail=True, seconds=40,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            said = "precompute.engine: not ready within 40 s"
        told = [line for line in said.splitlines() if "precompute.engine" in line]
        rows.add(note=f"precompute.engine={engine}, float32: {told[-1] if told else 'it runs'}")


def check_finder(rows: Rows) -> None:
    """The curve of the lr finder."""
    words = ("find-lr", *COMMON, "lr_finder.steps=40")
    found = []
    for name, where in (("cpu", ON_CPU), ("gpu", (ON_DEVICE,))):
        folder = WORK / f"find-{name}"
        pets(*words, *where, f"hydra.run.dir={folder}", may_fail=True)  # or no suggestion
        (file,) = folder.rglob("lr_finder/*.json")
        found.append(json.loads(file.read_text()))
    curves = [[point["loss"] for point in one["points"]][:20] for one in found]
    note = ", ".join(str(one["suggestions"]["valley"]) for one in found)
    rows.check("find-lr, first 20 losses", apart(*curves), BFLOAT16, f"valley {note}")


def check_predict(rows: Rows) -> None:
    """One view and four."""
    import pandas as pd

    for tta in (1, 4):
        tables = []
        for where in ("cpu", DEVICE):
            out = WORK / f"names-{where}-{tta}.csv"
            out.unlink(missing_ok=True)
            pets(
                "predict", f"run={RUNS / 'gpu'}", f"source={DATA / 'images'}", f"out={out}",
                f"device={where}", f"tta={tta}", "num_workers=2",
            )  # fmt: skip
            tables.append(pd.read_csv(out))
        numbers = [t.select_dtypes("number").dropna(axis=1, how="all").to_numpy() for t in tables]
        same = (tables[0]["prediction"] == tables[1]["prediction"]).sum()
        rows.check(
            f"predict tta={tta}, probabilities", float(abs(numbers[0] - numbers[1]).max()),
            P_FLOAT32, f"{same} of {len(tables[0])} the same class",
        )  # fmt: skip


def check_interpret(rows: Rows) -> None:
    """The report, with Grad-CAM, patches, neighbours and suspects."""
    from pets.interpretation import Interpretation

    found = []
    for name, where in (("cpu", ON_CPU), ("gpu", (ON_DEVICE,))):
        run = WORK / f"interpreted-{name}"
        shutil.copytree(RUNS / "gpu", run)
        pets("interpret", f"run={run}", "data.num_workers=2", "tta=2", *where)
        (file,) = run.rglob("predictions.parquet")
        found.append(Interpretation.load(file).probabilities)
        rows.that(f"interpret on {name}: a page", any(run.rglob("report.html")))
    rows.check("interpret, probabilities", float(abs(found[0] - found[1]).max()), P_BFLOAT16)


def check_serve(rows: Rows) -> None:
    """A server that many ask at once, beside `pets predict` on the CPU."""
    from pets.run_dir import RunDir
    from pets.training.checkpoints import load_run

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("serve", f"run={RUNS / 'gpu'}", f"port={port}", f"device={DEVICE}")
    server = subprocess.Popen([sys.executable, "-m", "pets", *words], cwd=WORK)
    files = sorted((DATA / "images").iterdir())[:32]

    def ask(file: Path) -> dict[str, float]:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        header = {"Content-Type": "image/jpeg"}
        client.request("POST", "/api/predict?top_k=10&gradcam=true", file.read_bytes(), header)
        (answer,) = json.loads(client.getresponse().read())["results"]
        assert answer["gradcam"]["values"]
        return {one["name"]: one["probability"] for one in answer["predictions"]}

    try:
        for _ in range(800):
            try:
                ask(files[0])
                break
            except OSError:
                time.sleep(0.1)
                assert server.poll() is None, "the server has ended"
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, files))
        note = f"{len(files) / (time.monotonic() - began):.0f} requests/s of 8 clients, Grad-CAM"
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(20)
    from pets.data.images import open_rgb
    from pets.data.transforms import CentreCrop, to_tensor
    from pets.serving.predictor import Photo, Predictor
    from pets.system.devices import usable_device

    trained = load_run(RunDir.open_finished(RUNS / "gpu"))
    predictor = Predictor(trained.model, trained.temperature or 1.0, usable_device("cpu"))
    crop = CentreCrop(trained.model.size, trained.model.preprocess)
    far = 0.0
    for file, answer in zip(files, answers, strict=True):
        (found,) = predictor.predict([Photo(crop(to_tensor(open_rgb(file))), False)])
        names = zip(trained.model.classes, found.probabilities, strict=True)
        far = max(far, *(abs(answer[name] - p) for name, p in names))
    rows.check("serve, probabilities", far, P_FLOAT32, note)
    rows.that("serve ends with SIGTERM", code in (0, 143, -15), f"exit code {code}")


def check_export(rows: Rows) -> None:
    """What was trained there, exported; every export is checked by `pets export` itself."""
    for to in ("safetensors", "onnx"):
        said = pets("export", f"run={RUNS / 'gpu'}", f"to={to}", "data.num_workers=2")
        line = next((line for line in said.splitlines() if "same pictures" in line), "")
        rows.that(f"export to={to}", "same pictures" in line, line.strip())


def check_sweep(rows: Rows) -> None:
    """Jobs that are forked from a process that has imported torch."""
    words = ("plan=frozen4", "plan.stages.head.epochs=2", ON_DEVICE, "seed=0,1")
    pets("train", "-m", *COMMON, *words, f"hydra.sweep.dir={WORK / 'sweep'}")
    states = [json.loads(file.read_text()) for file in (WORK / "sweep").rglob("status.json")]
    finished = [one["state"] for one in states] == ["finished"] * 2
    rows.that("a sweep of two runs", finished, str([one["state"] for one in states]))


def check_ranks(rows: Rows) -> None:
    """Two ranks with half a batch each, both on this device, through gloo: as one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "2"}
    torchrun = (
        "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", "2",
        "--master-addr", "127.0.0.1", "--master-port", str(port), str(HERE / "gpu_rank.py"), DEVICE,
    )  # fmt: skip
    halves = [word for word in COMMON if "batch_size" not in word]
    words = ("trainer.devices=2", ON_DEVICE, "trainer.precision=32-true", "data.batch_size=8")
    run = RUNS / "ranks"
    pets("train", *halves, *EPOCHS, *words, f"hydra.run.dir={run}", before=torchrun)
    compare(rows, "two ranks on one device (gloo), losses", run, RUNS / "gpu32", FLOAT32)
    status = json.loads((run / "status.json").read_text())
    rows.that("status.json says two ranks", status["ranks"] == 2 and status["state"] == "finished")


if __name__ == "__main__":
    main()
