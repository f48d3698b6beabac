"""Lightning's loggers in a run: TensorBoard, CSV, Weights & Biases, MLflow.

A resumed run continues what it wrote before: `loggers.json` in its directory has the ids of its W&B
and MLflow runs.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import inspect
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
from hydra.utils import get_object
from pytorch_lightning.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from pets.config import Target
from pets.config.instantiate import build, check_signature, imported
from pets.distributed.ranks import ranks
from pets.errors import ConfigError, PetsError, RunError, reason_of
from pets.io.atomic import regular, write_atomically
from pets.io.serialize import to_json
from pets.system.installation import install

log = logging.getLogger(__name__)

IDS = "loggers.json"
_WITHOUT = "logger=tensorboard trains without it"
# By class, the package that it needs, and the arguments that pets gives beside `save_dir`.
_PACKAGES: dict[Any, str] = {WandbLogger: "wandb", MLFlowLogger: "mlflow"}
_GIVEN: dict[Any, tuple[str, ...]] = {
    WandbLogger: ("id", "version", "dir"),
    MLFlowLogger: ("run_id",),
}
_STORES = ("", "file", "sqlite", "mysql", "postgresql", "mssql")  # MLflow's, without a server
# Nothing is asked, nothing but the run is sent, and nothing is written elsewhere; an environment
# variable that is set already stays as it is.
_ENVIRONMENT = {
    "WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "WANDB_SYMLINK": "false",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true",
}  # fmt: skip
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
# Set for a run by pets and Lightning's loggers; the process may train others after it (notebooks).
_CHANGED = ("WANDB_CACHE_DIR", "WANDB_MODE", "MLFLOW_TRACKING_URI", _RETRIES)


def check_loggers(nodes: Mapping[str, Target]) -> None:
    """Check that all loggers can be built. Connects to nothing. Raises ConfigError."""
    for name, node in nodes.items():
        key, values = f"logger.{name}", node.model_extra or {}
        imported(f"{key}._target_", node.target)
        kind = _kind(node)
        check_signature(key, node, ("save_dir", *_GIVEN.get(kind, ())))
        package = _PACKAGES.get(kind)
        if package and importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"{key}: needs the package {package}: {install('loggers')}; {_WITHOUT}"
            )
        if package and values.get("log_model"):
            raise ConfigError(
                f"{key}.log_model={values['log_model']}: has no effect, since checkpoints stay in "
                "the run directory; remove it; pets export writes a model to publish"
            )
    with TemporaryDirectory() as folder:
        build_loggers({name: _without_store(node) for name, node in nodes.items()}, Path(folder))


@contextlib.contextmanager
def open_loggers(
    nodes: Mapping[str, Target], folder: Path, steps_done: int | None = None
) -> Iterator[list[Logger]]:
    """The loggers, each writing below the folder of the run; afterwards they are closed.

    Args:
        nodes: The loggers by name.
        folder: The run's directory.
        steps_done: Optimizer steps of the run so far: what an interrupted run logged after them is
            dropped where that is possible (TensorBoard, CSV). None if nothing is trained.

    Raises:
        ConfigError: A server cannot be reached, or there is no login for it.
    """
    before = {name: os.environ.get(name) for name in _CHANGED}
    os.environ.setdefault("WANDB_CACHE_DIR", str(folder.resolve() / "wandb"))
    logging.getLogger("pytorch_lightning.loggers.mlflow").setLevel(logging.ERROR)
    loggers: list[Logger] = []
    try:
        loggers += build_loggers(nodes, folder, steps_done)
        os.environ.setdefault(_RETRIES, "1")  # a host that is not there is known in seconds
        for (name, node), logger in zip(nodes.items(), loggers, strict=True):
            if ranks().writer:
                _connect(name, node, logger, folder)
        _restore({_RETRIES: before[_RETRIES]})
        yield loggers
    except BaseException:
        with contextlib.suppress(OSError):  # the disk may be full, which is being reported
            _close(loggers, folder, "failed")
        raise
    else:
        _close(loggers, folder, "success")
    finally:
        _restore(before)


def build_loggers(
    nodes: Mapping[str, Target], folder: Path, steps_done: int | None = None
) -> list[Logger]:
    """Build the loggers, each writing below the folder of the run; see `open_loggers`."""
    for variable, text in _ENVIRONMENT.items():
        os.environ.setdefault(variable, text)
    ids, loggers = _ids(folder), list[Logger]()
    for name, node in nodes.items():
        kind, values = _kind(node), node.model_dump(by_alias=True)
        given: dict[str, Any] = {"save_dir": str(folder)}
        if kind is TensorBoardLogger and steps_done is not None:
            given["purge_step"] = steps_done
        elif kind is WandbLogger:
            given |= {"id": ids.get(name) or token_hex(4), "name": values.get("name")}
            given["name"] = given["name"] or folder.resolve().name
        elif kind is MLFlowLogger:
            given = {"save_dir": str(folder / "mlflow"), "run_id": ids.get(name)}
            given["run_name"] = values.get("run_name") or folder.resolve().name
        node = Target.model_validate({k: v for k, v in values.items() if k not in given})
        try:
            loggers.append(build(f"logger.{name}", node, **given))
        except PetsError:
            raise
        except ImportError as error:
            raise ConfigError(
                f"logger.{name}: {node.target} needs a package that is not installed "
                f"({_reason(error)}); install it, or {_WITHOUT}"
            ) from error
        except Exception as error:
            line = f"logger.{name}: {node.target} refuses its arguments ({_reason(error)})"
            raise ConfigError(f"{line}; {_WITHOUT}") from error
        if isinstance(loggers[-1], CSVLogger) and steps_done is not None and ranks().writer:
            _continue_csv(loggers[-1], steps_done)
    return loggers


def mark_running(loggers: Sequence[Logger]) -> None:
    """Mark MLflow's run as running: Lightning ends it with every `fit`."""
    for logger in loggers if ranks().writer else ():
        if isinstance(logger, MLFlowLogger):
            logger.experiment.update_run(logger.run_id, status="RUNNING")


def show_pictures(loggers: Sequence[Logger]) -> list[Logger]:
    """Return the loggers that can show pictures: for the others none need to be drawn."""
    kinds = TensorBoardLogger | MLFlowLogger
    return [one for one in loggers if isinstance(one, kinds) or hasattr(one, "log_image")]


def log_picture(loggers: Sequence[Logger], tag: str, pixels: np.ndarray, step: int) -> None:
    """Log a picture, uint8 (height, width, 3), to each logger that can show it.

    Any Lightning logger can that has `log_image(key, images, step)`, as the one of W&B.
    """
    for logger in show_pictures(loggers):
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, pixels, step, dataformats="HWC")
            # The command may end here; unwritten events would be lost.
            logger.experiment.flush()
        elif isinstance(logger, MLFlowLogger):
            if _keeps_pictures(logger):
                logger.experiment.log_image(logger.run_id, pixels, f"{tag}.png")
        else:
            logger.log_image(tag, [pixels], step)  # type: ignore[attr-defined]


def _kind(node: Target) -> type[Logger] | None:
    """The class of Lightning's that a node's class is or is made from, if pets treats it apart."""
    named = get_object(node.target)
    kinds = (TensorBoardLogger, CSVLogger, WandbLogger, MLFlowLogger)
    return next((k for k in kinds if inspect.isclass(named) and issubclass(named, k)), None)


def _without_store(node: Target) -> Target:
    """Leave out a folder or database of MLflow: its client creates the store at once."""
    place = str((node.model_extra or {}).get("tracking_uri"))
    store = urlparse(place).scheme.partition("+")[0] in _STORES and _kind(node) is MLFlowLogger
    return node.model_copy(update={"tracking_uri": None} if store else None)


def _connect(name: str, node: Target, logger: Logger, folder: Path) -> None:
    """Start or continue the run of a logger that has runs of its own, and keep its id.

    Raises ConfigError if the server of an online logger cannot be reached.
    """
    mode = os.environ.get("WANDB_MODE", "online")
    online = mode == "online" and not (node.model_extra or {}).get("offline")
    try:
        if isinstance(logger, WandbLogger):
            import wandb

            # Set up before Lightning does it, which would print a warning of its own.
            if not online:
                os.environ["WANDB_MODE"] = "offline" if mode == "online" else mode
            wandb.setup()
            # It must not ask on the terminal, nor hang there in a job.
            if online and not wandb.login(prompt=False):
                raise ConfigError(
                    f"logger.{name}: there is no login for Weights & Biases; expected one by "
                    f"wandb login or WANDB_API_KEY; or logger.{name}.offline=true"
                )
            if online:
                log.info("logger.%s: %s", name, logger.experiment.url)
        elif isinstance(logger, MLFlowLogger):
            mark_running([logger])
    except PetsError:
        raise
    except Exception as error:  # each library and each kind of server has its own
        offline = f"logger.{name}.offline=true, or " if isinstance(logger, WandbLogger) else ""
        raise ConfigError(
            f"logger.{name}: cannot log there ({_reason(error)}); {offline}{_WITHOUT}"
        ) from error
    if isinstance(logger, WandbLogger | MLFlowLogger):
        before = _ids(folder)
        if (ids := before | {name: str(logger.version)}) != before:
            write_atomically(folder / IDS, f"{to_json(ids)}\n".encode())


def _restore(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        os.environ |= {} if value is None else {name: value}


def _reason(error: Exception) -> str:
    return reason_of(error)


def _close(loggers: Sequence[Logger], folder: Path, status: str) -> None:
    """Write what is left, and end what runs in the background."""
    for logger in loggers:
        logger.finalize(status)
    if ranks().writer and any(isinstance(logger, WandbLogger) for logger in loggers):
        import wandb

        wandb.teardown(exit_code=int(status != "success"))
        # W&B's log has a link to that of its process, which dangles when the run is moved.
        for link in folder.glob("wandb/*/logs/*"):
            if link.is_symlink():
                link.unlink()
        if any(folder.glob("wandb/offline-run-*")):
            log.info("W&B was offline; to send it: wandb sync %s/wandb/offline-run-*", folder)


def _keeps_pictures(logger: MLFlowLogger) -> bool:
    """Whether MLflow writes pictures into the run's folder, if it writes files at all.

    Its store has the absolute path of this folder as it was when the run began.
    """
    place = logger.experiment.get_run(logger.run_id).info.artifact_uri
    path = Path(unquote(urlparse(place).path)).resolve()
    if logger.save_dir is None or path.is_relative_to(Path(logger.save_dir).resolve()):
        return True
    log.warning("MLflow keeps this run's pictures in %s, outside the run: left out", path)
    return False


def _continue_csv(logger: CSVLogger, steps_done: int) -> None:
    """Write the rows of an interrupted run again: Lightning's logger removes an existing file."""
    file = Path(logger.log_dir) / "metrics.csv"
    if not file.exists():
        return
    try:
        with regular(file).open(newline="", encoding="utf-8") as stream:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]
        steps = [int(row.pop("step")) for row in rows]
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise RunError(f"{file}: damaged, cannot be continued ({error}); remove it") from error
    for row, step in zip(rows, steps, strict=True):
        if step < steps_done:
            logger.log_metrics({**row}, step)
    logger.save()


def _ids(folder: Path) -> dict[str, str]:
    """The ids in `loggers.json` by the loggers' names; {} if there is none. Raises RunError."""
    file = folder / IDS
    if not file.exists():
        return {}
    try:
        ids = json.loads(regular(file).read_text(encoding="utf-8"))
        if all(re.fullmatch(r"[\w-]+", value) for value in ids.values()):
            return dict(ids)
        raise ValueError("an id is no name")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(
            f"{file}: cannot be read ({error}); remove it, and the run begins anew there"
        ) from error
