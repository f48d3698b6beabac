"""`pets train`: train a classifier, or resume a stopped run."""

from __future__ import annotations

import contextlib
import logging
import shlex
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
from pets.trust import TRUST, inside, refusal, sends

if TYPE_CHECKING:
    from pets.run_dir import RunDir

SCHEMA = TrainConfig
SEVERAL_PROCESSES = True
log = logging.getLogger(__name__)

# What may differ when a run is resumed: paths and devices, not what is trained.
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
        if own := refusal(inside(values)):
            log.warning(
                "%s is not part of pets: commands that use this run will need trust=true",
                own.partition(":")[0],
            )  # fmt: skip
        begin = partial(_begin, from_here(hydra.runtime.output_dir), values, overrides)
    else:
        stopped = RunDir.open(cfg.resume, cfg.trust is True, "resume")
        config, new = _resumed(stopped, cfg, overrides)
        begin = partial(_reopen, stopped, new)
    check_ranks(config.trainer, "" if cfg.resume is None else shlex.join(overrides))
    return _train(config, begin, new=cfg.resume is None)


def resume_run(run_dir: RunDir) -> None:
    """Train a prepared or stopped run with its own config."""
    config = run_dir.train_config
    check_ranks(config.trainer, run_dir.as_typed("resume"))
    _train(config, partial(_reopen, run_dir, {}))


def _train(config: TrainConfig, begin: Callable[[], RunDir], new: bool = False) -> RunDir:
    """Join the process group, open the run directory, and train. Every rank calls this."""
    from pets.run_dir import RunDir

    with stoppable(), process_group():
        begun = begin() if ranks().writer else None
        # The other ranks do not know the path; they only read the directory.
        path = on_rank_0(lambda: str(begun.path) if begun else "")
        run_dir = begun or RunDir(Path(path), writes=False, trusted=new or config.trust)
        with _status(run_dir, new), other_ranks_errors():
            from pets.train import train

            train(config, run_dir)
        return run_dir


def _resumed(
    run_dir: RunDir, cfg: DictConfig, overrides: list[str]
) -> tuple[TrainConfig, dict[str, Any]]:
    """The run's own config with the typed overrides, and the overrides that are new to the run.

    Raises ConfigError for overrides that would change what is trained.
    """
    if not run_dir.trusted and (sent := sends(run_dir.read_config())):
        raise RunError(
            f"{run_dir.path / 'config.yaml'}: logger.{sent[0]} sends what it logs to a server; "
            f"{TRUST}"
        )
    values = run_dir.config
    ranks_before = ranks_of(values["trainer"])
    # A stage without a suggested rate may be given one, or the finder a wider range.
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
        raise RunError(f"{run_dir.path}: is finished; there is nothing to resume")
    values["resume"] = None
    if "data.root" not in given:
        values["data"]["root"] = str(run_dir.root(values["data"]["root"]))
    if ranks_of(values["trainer"]) != ranks_before:
        raise ConfigError(
            f"trainer.devices={values['trainer']['devices']}: the run was started on "
            f"{ranks_before} devices; with another number each step would use other photos; "
            f"expected {ranks_before}"
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
    except OSError:  # the lock cannot be taken, or the disk is full
        run_dir.discard()
        raise
    return run_dir


def _reopen(run_dir: RunDir, new: dict[str, Any]) -> RunDir:
    run_dir.begin()
    if new:
        run_dir.update_config(new)
    return run_dir


@contextlib.contextmanager
def _status(run_dir: RunDir, new: bool) -> Iterator[None]:
    """Write what ends the run to `status.json`, and log how to resume it. Only rank 0 does this.

    A `new` run that failed before reading its photos leaves no directory.
    """
    if not run_dir.writes:
        yield
        return
    try:
        yield
    except LostRankError as lost:
        _note(run_dir, "failed", str(lost))
        raise LostRankError(f"{lost}; {_resume_hint(run_dir)}") from None
    except PetsError as error:
        if run_dir.finished:
            raise RunError(f"{error}; {_resume_hint(run_dir)}") from error
        _note(run_dir, "failed", str(error))
        if new:
            run_dir.discard()
        raise
    except Exception as error:
        if line := system_error(error):
            line = f"{line}; {_resume_hint(run_dir)}"
            _note(run_dir, "failed", line)
            if new:
                run_dir.discard()
            raise RunError(line) from error
        _note(run_dir, "failed", traceback.format_exc())
        log.exception("the run failed; %s", _resume_hint(run_dir))
        raise SystemExit(1) from None
    except BaseException as end:
        name = end.signal.name if isinstance(end, Stopped) else type(end).__name__
        _note(run_dir, "interrupted", f"stopped by {name}")
        log.warning("stopped by %s (%s); %s", name, run_dir.position(), _resume_hint(run_dir))
        if isinstance(end, Stopped):
            end.reported = True
        raise


def _note(run_dir: RunDir, state: str, error: str) -> None:
    """Write the status; on a full disk it is lost, but the error is still logged."""
    with contextlib.suppress(OSError):
        if not run_dir.finished:
            run_dir.update_status(state=state, error=error)


def _resume_hint(run_dir: RunDir) -> str:
    if run_dir.finished:
        missing = f"pets interpret {run_dir.as_typed()}"
        return f"training is complete, only the report is missing: {missing}"
    sent = sends(run_dir.read_config()) and "trust=true" not in run_dir.as_typed()
    return f"resume with pets train {run_dir.as_typed('resume')}{' trust=true' if sent else ''}"
