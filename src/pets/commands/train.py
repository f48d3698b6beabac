"""`pets train`: train a classifier, or go on with a stopped run."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from pets.commands.given import put_over
from pets.config import TrainConfig
from pets.errors import ConfigError, PetsError, RunError
from pets.stopping import Stopped, stoppable
from pets.validation import typed, typed_values

if TYPE_CHECKING:
    from pets.run_dir import RunDir

SCHEMA = TrainConfig
log = logging.getLogger(__name__)

# What may differ when a run goes on: where things lie and what they run on, not what is trained.
MAY_CHANGE = (
    "resume", "data.root", "data.num_workers", "cache_dir", "trainer.accelerator",
    "trainer.devices",
)  # fmt: skip


def run(cfg: DictConfig) -> None:
    """Check the config, then train; torch is imported only after the check."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    if hydra.sweeper.params:
        raise ConfigError(
            f"{' '.join(overrides)}: sweeps over {', '.join(hydra.sweeper.params)}; add -m"
        )
    if cfg.resume is None:
        config = typed(TrainConfig, cfg)
        if config.sweep.resume is not None:
            raise ConfigError(f"sweep.resume={config.sweep.resume}: is for sweeps; add -m")
        from pets.run_dir import RunDir, from_here

        values = config.model_dump(by_alias=True, mode="json")
        run_dir = RunDir.prepare(from_here(hydra.runtime.output_dir), values, overrides)
        run_dir.begin()
    else:
        from pets.run_dir import RunDir

        run_dir = RunDir.open(cfg.resume)
        config = _resumed(run_dir, cfg, overrides)
    _train(config, run_dir)


def go_on(run_dir: RunDir) -> None:
    """Train a run that was prepared or stopped, by its own config alone."""
    config = run_dir.train_config
    run_dir.begin()
    _train(config, run_dir)


def _train(config: TrainConfig, run_dir: RunDir) -> None:
    with stoppable(), _status(run_dir):
        from pets.training import train

        train(config, run_dir)


def _resumed(run_dir: RunDir, cfg: DictConfig, overrides: list[str]) -> TrainConfig:
    """The run's own config. Raises ConfigError for overrides that would change what is trained."""
    values = run_dir.config
    # A stage whose rate the finder did not find may be given one, or the finder a wider search.
    stages = run_dir.train_config.plan.stages
    awaited = [f"plan.stages.{name}.lr" for name, stage in stages.items() if stage.auto]
    may_change = [*MAY_CHANGE, *awaited, *(["lr_finder"] if awaited else [])]
    given = put_over(
        values,
        cfg,
        overrides,
        lambda key: key in may_change or key.partition(".")[0] in may_change,
        f"a resumed run keeps its own config; only {', '.join(may_change[1:])} "
        "may be given with resume=",
    )
    if _finished(run_dir):
        raise RunError(f"{run_dir.path}: is finished; there is nothing to go on with")
    values["resume"] = None
    if "data.root" not in given:
        values["data"]["root"] = str(run_dir.root(values["data"]["root"]))
    config = typed_values(TrainConfig, values)
    run_dir.begin()
    for key, value in given.items():
        if key in awaited or key.startswith("lr_finder"):
            run_dir.update_config(key, value)
    return config


@contextlib.contextmanager
def _status(run_dir: RunDir) -> Iterator[None]:
    """Whatever ends the training is in `status.json`, and what to do then on the screen."""
    try:
        yield
    except PetsError as error:
        _note(run_dir, "failed", str(error))
        raise
    except Exception:
        _note(run_dir, "failed", traceback.format_exc())
        log.exception("the run failed; %s", _go_on(run_dir))
        raise SystemExit(1) from None
    except BaseException as end:
        name = end.signal.name if isinstance(end, Stopped) else type(end).__name__
        _note(run_dir, "interrupted", f"stopped by {name}")
        log.warning("stopped by %s (%s); %s", name, run_dir.position(), _go_on(run_dir))
        if isinstance(end, Stopped):
            end.said = True
        raise


def _note(run_dir: RunDir, state: str, error: str) -> None:
    """On a full disk the note is lost; the cause is still on the screen."""
    with contextlib.suppress(OSError):
        if not _finished(run_dir):
            run_dir.update_status(state=state, error=error)


def _go_on(run_dir: RunDir) -> str:
    if _finished(run_dir):
        return f"it is trained, only its report is missing: pets interpret run={run_dir.path}"
    return f"go on with pets train resume={run_dir.path}"


def _finished(run_dir: RunDir) -> bool:
    """Whether the training came to its end, whatever became of the report after it."""
    return run_dir.status.get("state") == "finished"
