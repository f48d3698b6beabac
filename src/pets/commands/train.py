"""`pets train`: train a classifier, or go on with a stopped run."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from pets.config import TrainConfig
from pets.config.run_overrides import put_over, warn_about_cache
from pets.config.validation import typed, typed_values
from pets.distributed.process_group import on_rank_0, other_ranks_errors, process_group
from pets.distributed.ranks import check_ranks, ranks, ranks_of
from pets.errors import ConfigError, LostRankError, PetsError, RunError
from pets.system.os_errors import system_error
from pets.system.signals import Stopped, stoppable

if TYPE_CHECKING:
    from pets.run_dir import RunDir

SCHEMA = TrainConfig
SEVERAL_PROCESSES = True
log = logging.getLogger(__name__)

# What may differ when a run goes on: where things lie and what they run on, not what is trained.
MAY_CHANGE = (
    "resume", "trust", "data.root", "data.num_workers", "cache_dir", "trainer.accelerator",
    "trainer.devices",
)  # fmt: skip


def run(cfg: DictConfig) -> RunDir:
    """Check the config, then train; torch is imported only after the check."""
    from hydra.core.hydra_config import HydraConfig

    from pets.run_dir import RunDir, from_here

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
        values = config.model_dump(by_alias=True, mode="json") | {"trust": False}
        begin = partial(_begin, from_here(hydra.runtime.output_dir), values, overrides)
    else:
        stopped = RunDir.open(cfg.resume, cfg.trust is True)
        config, new = _resumed(stopped, cfg, overrides)
        begin = partial(_begin_again, stopped, new)
    check_ranks(config.trainer, "" if cfg.resume is None else " ".join(overrides))
    return _train(config, begin, new=cfg.resume is None)


def go_on(run_dir: RunDir) -> None:
    """Train a run that was prepared or stopped, by its own config alone."""
    config = run_dir.train_config
    check_ranks(config.trainer, f"resume={run_dir.path}")
    _train(config, partial(_begin_again, run_dir, {}))


def _train(config: TrainConfig, begin: Callable[[], RunDir], new: bool = False) -> RunDir:
    """Every rank comes here; their group is made before the run begins."""
    from pets.run_dir import RunDir

    with stoppable(), process_group():
        begun = begin() if ranks().writer else None
        # The other ranks do not know its name; they have one to read.
        path = on_rank_0(lambda: str(begun.path) if begun else "")
        run_dir = begun or RunDir(Path(path), writes=False, trusted=new or config.trust)
        with _status(run_dir, new), other_ranks_errors():
            from pets.train import train

            train(config, run_dir)
        return run_dir


def _resumed(
    run_dir: RunDir, cfg: DictConfig, overrides: list[str]
) -> tuple[TrainConfig, dict[str, Any]]:
    """The run's own config, and what of it is found anew or was typed over it. Raises ConfigError
    for overrides that would change what is trained."""
    values = run_dir.config
    ranks_before = ranks_of(values["trainer"])
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
    if run_dir.finished:
        raise RunError(f"{run_dir.path}: is finished; there is nothing to go on with")
    values["resume"] = None
    if "data.root" not in given:
        values["data"]["root"] = str(run_dir.root(values["data"]["root"]))
    if ranks_of(values["trainer"]) != ranks_before:
        raise ConfigError(
            f"trainer.devices={values['trainer']['devices']}: the run was begun on {ranks_before} "
            f"devices, and a step on another number takes other photos; expected {ranks_before}"
        )
    new = {k: v for k, v in given.items() if k in awaited or k.startswith("lr_finder")}
    config = typed_values(TrainConfig, values)
    warn_about_cache(run_dir, config, overrides)
    return config, new


def _begin(path: Path, config: dict[str, Any], overrides: list[str]) -> RunDir:
    from pets.run_dir import RunDir

    run_dir = RunDir.prepare(path, config, overrides)
    try:
        run_dir.begin()
    except OSError:  # no lock, no room
        run_dir.discard()
        raise
    return run_dir


def _begin_again(run_dir: RunDir, new: dict[str, Any]) -> RunDir:
    run_dir.begin()
    for key, value in new.items():
        run_dir.update_config(key, value)
    return run_dir


@contextlib.contextmanager
def _status(run_dir: RunDir, new: bool) -> Iterator[None]:
    """Whatever ends the training is in `status.json`, and what to do then on the screen. A `new`
    run whose photos were not read leaves nothing. Of several ranks the writer does this."""
    if not run_dir.writes:
        yield
        return
    try:
        yield
    except LostRankError as lost:
        _note(run_dir, "failed", str(lost))
        raise LostRankError(f"{lost}; {_go_on(run_dir)}") from None
    except PetsError as error:
        if run_dir.finished:
            raise RunError(f"{error}; {_go_on(run_dir)}") from error
        _note(run_dir, "failed", str(error))
        if new:
            run_dir.discard()
        raise
    except Exception as error:
        if line := system_error(error):
            line = f"{line}; {_go_on(run_dir)}"
            _note(run_dir, "failed", line)
            if new:
                run_dir.discard()
            raise RunError(line) from error
        _note(run_dir, "failed", traceback.format_exc())
        log.exception("the run failed; %s", _go_on(run_dir))
        raise SystemExit(1) from None
    except BaseException as end:
        name = end.signal.name if isinstance(end, Stopped) else type(end).__name__
        _note(run_dir, "interrupted", f"stopped by {name}")
        log.warning("stopped by %s (%s); %s", name, run_dir.position(), _go_on(run_dir))
        if isinstance(end, Stopped):
            end.reported = True
        raise


def _note(run_dir: RunDir, state: str, error: str) -> None:
    """On a full disk the note is lost; the cause is still on the screen."""
    with contextlib.suppress(OSError):
        if not run_dir.finished:
            run_dir.update_status(state=state, error=error)


def _go_on(run_dir: RunDir) -> str:
    if run_dir.finished:
        return f"it is trained, only its report is missing: pets interpret run={run_dir.path}"
    return f"go on with pets train resume={run_dir.path}"
