"""Config of Slurm jobs: the keys of `hydra/launcher=slurm`."""

from typing import Literal

from pydantic import Field

from pets.config.base import Strict


class SlurmSettings(Strict):
    """Resources of one job of a sweep, and how Slurm treats it."""

    partition: str | None
    account: str | None
    qos: str | None
    gpus_per_node: Literal["auto"] | None = Field(description="auto or null")
    cpus_per_task: int = Field(ge=1)
    mem: str | None = Field(description="memory per node in Slurm's format, such as 64G")
    mem_per_cpu: str | None = Field(description="memory per core in Slurm's format, such as 4G")
    time: int | str = Field(description="minutes, or Slurm's format such as '1-12:00:00'")
    signal_lead: int = Field(ge=1)
    requeue: bool
    jobs: int = Field(ge=1)
    setup: list[str]
    sbatch: dict[str, str | int | bool] = Field(description="keys with values for sbatch")
