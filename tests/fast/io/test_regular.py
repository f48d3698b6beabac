"""Files of a run are read only if they are regular ones: a pipe would hang its reader."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pets.data.photos import Photos
from pets.errors import DataError, RunError
from pets.interpretation.interpretation import Interpretation
from pets.io.atomic import regular
from pets.run_dir import RunDir
from pets.sweep.overrides import saved_overrides
from pets.training.checkpoints import read_checkpoint
from pets.training.metrics_csv import read_metrics

READERS: dict[str, Callable[[Path], object]] = {
    "photos.csv": lambda file: Photos.load(file, file.parent),
    "metrics.csv": read_metrics,
    "predictions.parquet": Interpretation.load,
    "status.json": lambda file: RunDir(file.parent).status,
    "overrides.yaml": lambda file: RunDir(file.parent).overrides,
    "sweep.yaml": lambda file: saved_overrides(file.parent),
    "last.ckpt": read_checkpoint,
}


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_refused_by_every_reader(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises((RunError, DataError)) as raised:
        READERS[name](tmp_path / name)
    line = str(raised.value)
    assert line.startswith(f"{tmp_path / name}: ")
    assert "a pipe or a device; expected a regular file" in line or "no such checkpoint" in line


def test_files_and_links_to_files_are_regular_devices_are_not(tmp_path: Path) -> None:
    file, link = tmp_path / "a", tmp_path / "b"
    file.write_text("x")
    link.symlink_to(file)
    assert (regular(file), regular(link), regular(tmp_path / "c")) == (file, link, tmp_path / "c")
    with pytest.raises(OSError, match="a pipe or a device"):
        regular(Path(os.devnull))


def test_a_run_that_holds_a_pipe_is_not_opened(tmp_path: Path) -> None:
    run = RunDir.prepare(tmp_path / "r", {}, [])
    os.mkfifo(run.path / "train.log")
    with pytest.raises(RunError, match=r"train\.log: is a pipe; expected a regular file"):
        RunDir.open(run.path)
