"""Config of Slurm jobs: the keys of `hydra/launcher=slurm`."""

from typing import Annotated, Literal

from pydantic import Field

from pets.config.base import Strict

_Count = Annotated[
    Annotated[int, Field(ge=1)] | Literal["auto"],
    Field(description="a whole number of at least 1, or auto"),
]


class SlurmSettings(Strict):
    """Resources of one job of a sweep, and how Slurm treats it."""

    partition: str | None
    account: str | None
    qos: str | None
    nodes: _Count
    tasks_per_node: _Count
    gpus_per_node: _Count | None = Field(description="a whole number of at least 1, auto or null")
    cpus_per_task: int = Field(ge=1)
    mem: str | None = Field(description="Slurm's text for the memory of a node, such as 64G")
    mem_per_cpu: str | None = Field(description="Slurm's text for the memory of a core, such as 4G")
    time: int | str = Field(description="minutes, or Slurm's text such as '1-12:00:00'")
    signal_lead: int = Field(ge=1)
    requeue: bool
    jobs: int = Field(ge=1)
    setup: list[str]
    sbatch: dict[str, str | int | bool] = Field(description="keys with values for sbatch")
