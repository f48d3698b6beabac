"""pets' side: the command `pets train` as a user types it, and what its run directory says."""

from __future__ import annotations

import sys
from pathlib import Path

from job import Job
from tell import Told, arithmetic, versions_of

from pets.models.freezing import freeze_to
from pets.run_dir import RunDir
from pets.training.checkpoints import load_run


def pets_command(job: Job, seed: int, cache: Path | None = None) -> list[str]:
    """`pets train` with one stage; with a cache of its features in a folder, where one is given."""
    command = [
        sys.executable, "-m", "pets", "train", *job.pets,
        f"data.size={job.size}", f"data.batch_size={job.batch_size}", "data.num_workers=0",
        "plan=frozen4", f"plan.stages.head.epochs={job.epochs}", f"plan.stages.head.lr={job.lr}",
        "trainer.accelerator=cpu", f"seed={seed}",
    ]  # fmt: skip
    if job.unfrozen:
        command += [
            "plan.stages.head.freeze_to=0",
            f"plan.stages.head.lr=[{job.lr / 100},{job.lr}]",
        ]
    if cache is not None:
        command += ["precompute=true", f"cache_dir={cache}"]
    return command


def told_by_run(folder: Path, job: Job, cached: bool) -> Told:
    """What the only run below `folder` tells of itself."""
    (path,) = (folder / "outputs").iterdir()
    run = RunDir.open_finished(path)
    counts, about = run.read_json("data.json"), run.read_json("environment.json")
    results = run.status["results"]
    # Its own training leaves out an incomplete last batch.
    trained = counts["train"] // job.batch_size * job.batch_size
    return Told(
        # The pass through the backbone, where there was one, and the training with validation.
        sum(run.status["seconds"].values()),
        results.get("test", results["valid"])["error_rate"],
        (trained, counts["valid"]),
        # A cache leaves most of the arithmetic out.
        None if cached else _arithmetic(run, job),
        about["threads"],
        {"pets": about["pets"], **versions_of("pytorch-lightning", "torch", "torchvision")},
    )


def _arithmetic(run: RunDir, job: Job) -> tuple[float, float]:
    trained = load_run(run)
    freeze_to(trained.model, trained.config.plan.stages[trained.stage].freeze_to)
    return arithmetic(trained.model, job.size)
