"""What a job needs of Slurm, and how sbatch is asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pets.config.slurm import SlurmSettings
from pets.errors import ConfigError


@dataclass(frozen=True)
class Machines:
    """What one job needs: nodes, and on each of them tasks and GPUs."""

    nodes: int
    tasks: int
    gpus: int | None


def machines(settings: SlurmSettings, trainer: Mapping[str, Any]) -> Machines:
    """What a job's `trainer` group uses, a task a device.

    Raises ConfigError where the settings ask for something else, or it does not say how many.
    """
    tasks, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    accelerator = trainer.get("accelerator", "auto")
    for key, asked, name, used in (
        ("tasks_per_node", settings.tasks_per_node, "devices", tasks),
        ("nodes", settings.nodes, "num_nodes", nodes),
    ):
        if not isinstance(used, int) or used < 1:
            raise ConfigError(
                f"trainer.{name}={used}: Slurm is asked for a number and chooses which; expected "
                "how many"
            )
        if asked not in ("auto", used):
            raise ConfigError(
                f"hydra.launcher.{key}={asked}: a job has trainer.{name}={used}; expected "
                "the same, or auto"
            )
    gpus = settings.gpus_per_node
    if gpus == "auto":
        if accelerator not in ("gpu", "cuda", "cpu"):
            raise ConfigError(
                f"trainer.accelerator={accelerator}: Slurm must be told whether a job needs GPUs; "
                "expected gpu or cpu, or hydra.launcher.gpus_per_node=..."
            )
        gpus = None if accelerator == "cpu" else tasks
    elif gpus is not None and accelerator != "cpu" and gpus != tasks:
        raise ConfigError(
            f"hydra.launcher.gpus_per_node={gpus}: a job has trainer.devices={tasks}; "
            "expected the same, a GPU a device"
        )
    return Machines(nodes, tasks, gpus)


def sbatch_parameters(settings: SlurmSettings, needed: Machines, name: str) -> dict[str, Any]:
    """The settings in submitit's words."""
    wanted = {
        "job_name": name,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "nodes": needed.nodes,
        "ntasks_per_node": needed.tasks,
        "gpus_per_node": needed.gpus,
        "cpus_per_task": settings.cpus_per_task,
        "mem": settings.mem,
        "mem_per_cpu": settings.mem_per_cpu,
        "time": settings.time,
        "signal_delay_s": settings.signal_lead,
        "array_parallelism": settings.jobs,
        "setup": settings.setup,
        "stderr_to_stdout": True,
        # When a rank ends, the others notice and say why; Slurm would kill them before. And since
        # Slurm 22.05 srun does not take over the cores of a task from sbatch.
        "srun_args": ["--kill-on-bad-exit=0", f"--cpus-per-task={settings.cpus_per_task}"],
        "additional_parameters": {
            "requeue" if settings.requeue else "no-requeue": True,
            **settings.sbatch,
        },
    }
    return {key: value for key, value in wanted.items() if value is not None}
