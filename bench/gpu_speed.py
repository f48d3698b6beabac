"""A part of gpu.py: images a second and peak memory on the device.

python bench/gpu_speed.py resnet34|resnet50|vit|pass FOLDER cuda|cpu [--small]

Random weights, drawn 500 x 375 photos with the grain of a camera. Each way to feed a training is
measured beside the bare step: the same network, precision and optimizer on one batch that lies on
the device already, without Lightning, loaders and loggers.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_tables import Rows
from hydra import compose, initialize_config_dir
from PIL import Image
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from pets.config import TrainConfig
from pets.config.instantiate import build
from pets.config.resolvers import register_resolvers
from pets.config.validation import typed
from pets.data.activation_dataset import Activations
from pets.data.collect import collect_photos
from pets.data.dataset import PhotoFiles
from pets.data.decoded import Decoder
from pets.data.photos import Photos
from pets.data.transforms import CentreCrop, normalize
from pets.data.workers import worker_options
from pets.features.activations import AugmentedViews, RowWriter, run_pass
from pets.models.classifier import new_backbone
from pets.models.freezing import freeze_to, train_mode
from pets.prediction.job import threads_for
from pets.prediction.shards import blocks_of
from pets.prediction.stream import Network, predict_blocks
from pets.run_dir import RunDir
from pets.system.installation import conf_dir
from pets.training.datamodule import PetsDataModule
from pets.training.library_logs import silence_lightning
from pets.training.loggers import build_loggers
from pets.training.module import ClassifierModule, new_model
from pets.training.rates import param_groups, spread
from pets.training.recorder import Recorder
from pets.training.speed import Speed
from pets.training.stage import Inputs, Stage
from pets.training.trainer import build_trainer

PART, WORK, DEVICE = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
SMALL, GPU = "--small" in sys.argv, DEVICE == "cuda"
PHOTOS, TIMES = (32, 40) if SMALL else (512, 300)  # photos on disk; how often each is in an epoch
BATCH, SIZE = (4, 64) if SMALL else (128, 224)
WARM, SECONDS = (0.2, 0.5) if SMALL else (1.2, 2.5)
AUTOCAST = torch.bfloat16
ROOM = shutil.disk_usage("/dev/shm").free  # where loaders leave batches: a gigabyte of them
MODELS = {
    "resnet34": ("model=resnet34",),
    "resnet50": ("model=resnet50",),
    "vit": ("model=timm", "model.name=vit_small_patch16_224"),
    "pass": ("model=resnet34",),
}
if SMALL:
    MODELS["resnet50"] = ("model=resnet18",)
    MODELS["vit"] = ("model=timm", "model.name=vit_tiny_patch16_224", "data.size=224")


def main() -> None:
    silence_lightning()
    rows = Rows(WORK / f"{PART}.json")
    root = photos_on_disk()
    setting = Setting(root, rows)
    if PART == "pass":
        feature_pass(setting)
        warm_head(setting)
        naming(setting)
        return
    for frozen in (True, False):
        training(setting, frozen)


def photos_on_disk() -> Path:
    """`PHOTOS` drawn photos of two labels, made once."""
    root = WORK / "photos"
    if not root.exists():
        with tempfile.TemporaryDirectory(dir=WORK) as draft:
            folder = Path(draft, "photos")
            (folder / "images").mkdir(parents=True)
            with ProcessPoolExecutor() as pool:
                list(pool.map(draw, range(PHOTOS), [folder / "images"] * PHOTOS, chunksize=8))
            folder.rename(root)
    return root


def draw(number: int, folder: Path) -> None:
    """Soft shapes and grain: as many bytes as a photo of this size has."""
    random = np.random.default_rng(number)
    soft = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
    pixels = np.asarray(soft.resize((500, 375), Image.Resampling.BICUBIC), np.float32)
    pixels = pixels + random.normal(0, 7, (375, 500, 1)).astype(np.float32)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    image.save(folder / f"{'cat' if number % 2 else 'dog'}_{number}.jpg", quality=90)


class Setting:
    """The config, a run directory, photos and the network."""

    def __init__(self, root: Path, rows: Rows) -> None:
        self.rows = rows
        words = [
            "data=demo", f"data.root={root}", "data.prepare=null", f"data.size={SIZE}",
            f"data.batch_size={BATCH}", "data.valid_pct=0.1", "data.test_pct=0",
            f"trainer.accelerator={'gpu' if GPU else 'cpu'}", f"cache_dir={WORK / 'pixels'}",
            *(["trainer.precision=bf16-mixed"] if GPU else []),
            *(["data.num_workers=2"] if SMALL or ROOM < 2**31 else []),
            *MODELS[PART], "model.weights=none",
        ]  # fmt: skip
        register_resolvers()
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            self.config = typed(TrainConfig, compose("train", words))
        values = self.config.model_dump(by_alias=True, mode="json")
        self.run = RunDir.prepare(WORK / "runs" / f"speed-{PART}", values, words)
        self.run.begin()
        photos = collect_photos(self.config.data)
        # Once on disk and often in an epoch, so that no epoch ends while it is measured.
        self.photos = repeated(photos, TIMES)
        backbone, preprocess, _ = new_backbone(self.config.model, 0)
        self.model = new_model(self.config, backbone, preprocess, self.photos.classes)
        # Not zeros, from which no gradient would come for the backbone.
        torch.nn.init.normal_(list(self.model.head.parameters())[-2], std=0.01)
        files = sorted((root / "images").iterdir())
        kilobytes = sum(file.stat().st_size for file in files) / len(files) / 1000
        self.files = [str(file) for file in files]
        if PART in ("resnet34", "pass"):
            workers = worker_options(self.config.data.num_workers)["num_workers"]
            rows.add(
                note=f"{PART}: {len(files)} photos of 500 x 375 and {kilobytes:.0f} kB; "
                f"{self.config.data.size} px, batch {BATCH}, {workers} loaders, "
                f"{ROOM >> 20} MiB of shared memory"
            )

    def stage(self, name: str, inputs: Inputs | None = None) -> Stage:
        """A stage of the plan, by default on the photos' files."""
        inputs = inputs or Inputs(self.config.data.height_width)
        return Stage.of_plan(name, self.config.plan.stages[name], inputs, seed=0)

    def data(self, stage: Stage) -> PetsDataModule:
        """The batches of a stage."""
        config, preprocess = self.config, self.model.preprocess
        return PetsDataModule(
            config.data, config.augment, preprocess, self.photos, stage.inputs, stage
        )

    def batch(self) -> tuple[Tensor, Tensor]:
        """One batch, normalised, on the device."""
        height, width = self.config.data.height_width
        pixels = torch.randint(0, 256, (BATCH, 3, height, width), dtype=torch.uint8)
        targets = torch.randint(0, len(self.photos.classes), (BATCH,))
        return normalize(self.model.preprocess)(pixels.to(DEVICE)), targets.to(DEVICE)

    def decoder(self) -> Decoder:
        config, model = self.config, self.model
        return Decoder(config.data, model.preprocess, config.data.height_width, config.cache_dir)


def repeated(photos: Photos, times: int) -> Photos:
    """The same photos so many times, whose files are not read as often to know their contents."""
    found = Photos(photos.root, photos.rows * times)
    found.__dict__["_contents"] = photos._contents
    return found


def wait() -> None:
    """Until the device has done what it was told."""
    if GPU:
        torch.cuda.synchronize()


def fresh() -> None:
    """Nothing of the measurement before, and its peak forgotten."""
    gc.collect()
    if GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> float | None:
    """MiB of the device's memory that tensors took since `fresh`."""
    return torch.cuda.max_memory_allocated() / 2**20 if GPU else None


def rate(step: Callable[[], Any], seconds: float = SECONDS, images: int = BATCH) -> float:
    """Images a second of a step, after a warm-up."""
    for span in (WARM, seconds):
        wait()
        steps, began = 0, time.perf_counter()
        while steps < 2 or time.perf_counter() - began < span:
            step()
            steps += 1
            if steps % 8 == 0:
                wait()  # else they are only queued
        wait()
        took = time.perf_counter() - began
    return steps * images / took


class Enough(Exception):
    """It has been measured for long enough."""


class Clock(Callback):
    """Ends the training after the warm-up and `SECONDS`; knows the images and the waiting then."""

    def __init__(self) -> None:
        self.speed: Speed | None = None
        self.until = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        if self.speed is not None:
            self.speed.got_batch()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if self.speed is not None:
            self.speed.done_batch(len(batch[1]))
        self.until = self.until or now + WARM
        if now < self.until:
            return
        wait()
        if self.speed is not None:
            self.speed.working += time.perf_counter() - self.speed.since
            raise Enough
        self.speed = Speed()
        self.speed.start()
        self.until = time.perf_counter() + SECONDS


def fitted(setting: Setting, stage: Stage, what: str, of: float | None, data: Any = None) -> None:
    """A real training, with recorder and TensorBoard, on the stage's data or another's."""
    config, clock = setting.config, Clock()
    fresh()
    module, data = ClassifierModule(setting.model, config, stage), data or setting.data(stage)
    loggers = build_loggers(config.logger, WORK / "logs", steps_done=0)
    values = {**config.trainer, "limit_val_batches": 0}
    fit = build_trainer(values, 1, [Recorder(setting.run), clock], loggers)
    began = time.perf_counter()
    with contextlib.suppress(Enough):
        fit.fit(module, data)
    took = time.perf_counter() - began
    assert clock.speed is not None, "the epoch ended before anything was measured"
    speed = clock.speed.images_per_second
    setting.rows.add(
        what=what, speed=speed, of=of and speed / of, waited=clock.speed.waited, memory=peak(),
        note=f"{took:.1f} s with its start",
    )  # fmt: skip


class Again:
    """The same batch, over and over."""

    def __init__(self, batch: Any, times: int) -> None:
        self.batch, self.times = batch, times

    def __len__(self) -> int:
        return self.times

    def __iter__(self) -> Iterator[Any]:
        return iter([self.batch] * self.times)


def bare_step(setting: Setting, name: str) -> Callable[[], None]:
    """Forward, backward, optimizer: what no way of feeding can be faster than."""
    stage = setting.config.plan.stages[name]
    freeze_to(setting.model, stage.freeze_to)
    model = setting.model.to(DEVICE)
    train_mode(model, stage.freeze_to)
    groups = param_groups(model, spread(stage.rates, len(model.layer_groups)))
    optimizer = build("optimizer", setting.config.optimizer, params=groups)
    inputs, targets = setting.batch()

    def step() -> None:
        with torch.autocast(DEVICE, AUTOCAST, enabled=GPU):
            loss = F.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def deterministic(wanted: bool) -> None:
    """As Lightning sets it for `trainer.deterministic=warn`, and as torch is by itself."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    torch.backends.cudnn.deterministic = wanted
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def training(setting: Setting, frozen: bool) -> None:
    """Every way to feed one stage."""
    name, words = ("head", "frozen") if frozen else ("body", "unfrozen")
    title, rows = f"{PART}, {words}", setting.rows
    for wanted, said in ((False, "bare step, not deterministic"), (True, "bare step")):
        fresh()
        deterministic(wanted)
        step = bare_step(setting, name)
        of = rate(step, SECONDS * 0.6)
        rows.add(what=f"{title}: {said}", speed=of, of=None, memory=peak())
        del step
    size, stage = setting.config.data.height_width, setting.stage(name)
    batch = setting.batch()
    fitted(setting, stage, f"{title}: one batch, in the trainer", of, Again(batch, 20_000))
    del batch
    fitted(setting, stage, f"{title}: from files", of)
    pixels = Inputs(size, decoded=setting.decoder().decoded(setting.photos))
    stage = setting.stage(name, pixels)
    data = setting.data(stage)
    assert data.on_device is not None
    fitted(setting, stage, f"{title}: decoded, augmented on the device", of, data)
    if PART == "resnet34" and frozen:
        data = setting.data(stage)
        data.on_device = None
        fitted(setting, stage, f"{title}: decoded, augmented by the loaders", of, data)


class TimedRows(RowWriter):
    """Knows when its first and last rows came."""

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        super().__init__(folder, shape, "float32")
        self.times: list[tuple[float, int]] = []

    def write(self, rows: np.ndarray) -> None:
        super().write(rows)
        self.times.append((time.perf_counter(), self.written))


def feature_pass(setting: Setting) -> None:
    """Files through the frozen backbone, beside the backbone alone."""
    model = setting.model
    inputs, _ = setting.batch()
    deterministic(True)
    fresh()
    backbone = model.eval().to(DEVICE)
    with torch.no_grad(), torch.autocast(DEVICE, AUTOCAST, enabled=GPU):
        of = rate(lambda: backbone.features(inputs))
    setting.rows.add(what="resnet34: the backbone alone, forward", speed=of, memory=peak())
    fresh()
    count = 64 if SMALL else 12_000
    files = PhotoFiles([Path(setting.files[i % len(setting.files)]) for i in range(count)])
    chain = CentreCrop(setting.config.data.height_width, model.preprocess)
    viewed = AugmentedViews(files, chain, [[0]] * count)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        rows = TimedRows(Path(folder), (count, 1, *model.backbone.shape_of(chain.size)))
        began = time.perf_counter()
        run_pass(setting.config, model, viewed, rows, build_trainer)
    took = time.perf_counter() - began
    # The loaders have read ahead while the first batch was computed.
    (first, before), (last, after) = rows.times[len(rows.times) // 4], rows.times[-1]
    speed = (after - before) / (last - first)
    setting.rows.add(
        what="resnet34: feature pass (precompute) from files", speed=speed, of=speed / of,
        memory=peak(), note=f"{count:,} photos in {took:.1f} s with its start",
    )  # fmt: skip


def warm_head(setting: Setting) -> None:
    """The head on activations."""
    contents = sorted(set(setting.photos.contents(setting.photos.rows)))
    values = torch.randn(len(contents), 1, setting.model.backbone.features)
    kept = Activations(values, {content: row for row, content in enumerate(contents)})
    size = setting.config.data.height_width
    stage = setting.stage("head", Inputs(size, {"train": kept, "valid": kept}))
    data = setting.data(stage)
    data.photos = repeated(setting.photos, 8)
    fitted(setting, stage, "resnet34: warm head, on activations", None, data)
    speed = setting.rows.rows[-1]["speed"]
    setting.rows.add(note=f"warm head: an epoch of 5,912 photos in {5912 / speed:.2f} s")
    # As it is without Lightning and loggers.
    plan = stage.config
    freeze_to(setting.model, plan.freeze_to)
    model = setting.model.to(DEVICE)
    train_mode(model, plan.freeze_to)
    groups = param_groups(model, spread(plan.rates, len(model.layer_groups)))
    optimizer = build("optimizer", setting.config.optimizer, params=groups)
    inputs = values[torch.randint(len(values), (BATCH,)), 0].to(DEVICE)
    targets = torch.randint(0, 2, (BATCH,), device=DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE, AUTOCAST, enabled=GPU):
            loss = F.cross_entropy(model.from_activations(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    setting.rows.add(what="resnet34: warm head, bare step", speed=rate(step, SECONDS / 2))


def naming(setting: Setting) -> None:
    """`pets predict` beside its network on a batch that is there."""
    fresh()
    network = Network(setting.model, torch.device(DEVICE))
    pixels = torch.zeros((BATCH, 1, 3, *network.model.size), dtype=torch.uint8)
    of = rate(lambda: network(pixels)[0].cpu(), SECONDS / 2)
    setting.rows.add(what="resnet34: predict's network, float32", speed=of, memory=peak())
    fresh()
    count = 32 if SMALL else 6_000
    files = [setting.files[i % len(setting.files)] for i in range(count)]
    speed = Speed()
    threads = threads_for("auto")
    for _ in predict_blocks(network, blocks_of(files, 4096), BATCH, 1, 1.0, threads, speed):
        pass
    found = speed.images_per_second
    setting.rows.add(
        what="resnet34: predict from files", speed=found, of=found / of, waited=speed.waited,
        memory=peak(), note=f"{threads} threads read",
    )  # fmt: skip


if __name__ == "__main__":
    main()
