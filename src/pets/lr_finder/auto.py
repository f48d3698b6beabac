"""`lr: auto`: the rate that the finder suggests becomes the stage's, wherever it is written."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from pets.distributed.process_group import on_rank_0
from pets.errors import DataError, PetsError, RunError
from pets.lr_finder.search import LrSearch
from pets.run_dir import RunDir
from pets.training.stage import Stage

log = logging.getLogger(__name__)


def find_rate(search: LrSearch, run: RunDir) -> Stage:
    """Replace `auto` in a stage's rate by what the finder suggests; any other rate stays.

    The rate is written into the run's `config.yaml`, so that a resumed run does not search again.
    `status.json` says under `lr_found` what was asked, the method, and the rate of every layer
    group.

    Raises:
        RunError: where the curve supports no suggestion; the run then waits to be given a rate.
    """
    stage = search.stage
    if not stage.config.auto:
        return stage
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
    rate = stage.config.at(found["found"])
    return replace(stage, config=stage.config.model_copy(update={"lr": rate}))


def look(search: LrSearch) -> None:
    """Record and draw the curve of a stage for looking; no rate is changed.

    Where that cannot be done, the reason is logged.
    """
    try:
        search.run()
    except DataError as error:
        log.warning("%s", error)


def shown(lr: Any) -> str:
    """A rate or a pair of them, as one would type it."""
    ends = lr if isinstance(lr, list | tuple) else [lr]
    words = [end if isinstance(end, str) else f"{end:.3g}" for end in ends]
    return words[0] if len(words) == 1 else f"[{','.join(words)}]"
