"""`lr: auto`: the rate that the finder suggests becomes the stage's, wherever it is written."""

from __future__ import annotations

import logging
from typing import Any

from pets.config import TrainConfig
from pets.distributed.process_group import on_rank_0
from pets.errors import PetsError, RunError
from pets.lr_finder.search import LrSearch
from pets.run_dir import RunDir

log = logging.getLogger(__name__)


def settle_rate(search: LrSearch, config: TrainConfig, run: RunDir) -> TrainConfig:
    """The config with the found rate in the place of a stage's `auto`, and the run's `config.yaml`
    likewise; unchanged where the stage has a rate.

    A run that is resumed does not search again. `status.json` says under `lr_found` what was asked,
    the method, and the rate of every layer group. Raises RunError where the curve supports no
    suggestion; the run then waits to be given a rate.
    """
    if not search.stage.auto:
        return config
    key = f"plan.stages.{search.name}.lr"
    try:
        own = search.rates()
    except PetsError as error:
        raise RunError(
            f"{error}{search.see()}; go on with pets train resume={run.path} {key}=<a number>"
        ) from error
    # Machines that differ may find rates that differ in the last digit.
    found = on_rank_0(lambda: own)
    lr = found["lr"]
    # In this order: a run killed in between searches again, and finds the same.
    run.update_status(lr_found={**run.status.get("lr_found", {}), search.name: found})
    run.update_config(key, lr)
    log.info(
        "  lr %s: %s suggests %.2e, so %s",
        shown(found["asked"]), found["method"], found["found"],
        ", ".join(f"{name} at {rate:.2e}" for name, rate in found["groups"].items()),
    )  # fmt: skip
    stage = search.stage.model_copy(update={"lr": search.stage.at(found["found"])})
    stages = {**config.plan.stages, search.name: stage}
    return config.model_copy(update={"plan": config.plan.model_copy(update={"stages": stages})})


def shown(lr: Any) -> str:
    """A rate or a pair of them, as one would type it."""
    ends = lr if isinstance(lr, list | tuple) else [lr]
    words = [end if isinstance(end, str) else f"{end:.3g}" for end in ends]
    return words[0] if len(words) == 1 else f"[{','.join(words)}]"
