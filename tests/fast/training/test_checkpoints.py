"""Checkpoints are written atomically, and read without running code."""

import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from pets.errors import RunError
from pets.training.checkpoint_io import AtomicCheckpointIO
from pets.training.checkpoints import read_checkpoint


def checkpoint(value: float = 1.0, size: int = 1000) -> dict[str, Any]:
    return {"pets": {"format": 1}, "state_dict": {"w": torch.full((size,), value)}}


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints" / "last.ckpt"
    file.parent.mkdir()
    AtomicCheckpointIO().save_checkpoint(checkpoint(1.0), file)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(RunError, match=r"last\.ckpt: cannot be written .*before is untouched"):
            AtomicCheckpointIO().save_checkpoint(checkpoint(2.0, size=100_000), file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_checkpoint(file)["state_dict"]["w"][0] == 1.0
    assert [p.name for p in file.parent.iterdir()] == ["last.ckpt"]


def test_the_folder_of_a_callbacks_checkpoint_is_created(tmp_path: Path) -> None:
    file = tmp_path / "tensorboard" / "checkpoints" / "epoch=0-step=2.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint(3.0), file)
    assert read_checkpoint(file)["state_dict"]["w"][0] == 3.0


def test_a_folder_that_cannot_be_created_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as raised:
        AtomicCheckpointIO().save_checkpoint(checkpoint(), tmp_path / "file" / "a.ckpt")
    line = f"{tmp_path}/file/a.ckpt: cannot be written (File exists); there was none before. "
    fix = "Make room, then resume with pets train resume=<the run's folder>"
    assert str(raised.value) == line + fix


class Evil:
    def __reduce__(self) -> Any:
        return print, ("code was run",)


def test_code_in_a_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(checkpoint() | {"extra": Evil()}, tmp_path / "last.ckpt")
    with pytest.raises(RunError, match="refused, it holds more than tensors and plain values"):
        read_checkpoint(tmp_path / "last.ckpt")
    assert "code was run" not in capsys.readouterr().out


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    torch.save(checkpoint(), file)
    content = bytearray(file.read_bytes())
    place = content.find(torch.full((4,), 1.0).numpy().tobytes())
    content[place + 100] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match=r"damaged, the checksum of .* is wrong"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "no such checkpoint"),
        (b"", "damaged, cannot be read"),
        (b"PK\x03\x04 cut short", "damaged, cannot be read"),
    ],
)
def test_other_files_are_not_read_as_checkpoints(
    tmp_path: Path, content: bytes | None, line: str
) -> None:
    file = tmp_path / "last.ckpt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RunError, match=line):
        read_checkpoint(file)


@pytest.mark.parametrize("value", ["x", True, 0, 0.0, -1.5, float("nan"), float("inf")])
def test_a_temperature_that_is_no_number_above_0_is_refused(tmp_path: Path, value: Any) -> None:
    file = tmp_path / "last.ckpt"
    torch.save(checkpoint() | {"pets": {"format": 1, "temperature": value}}, file)
    with pytest.raises(RunError) as raised:
        read_checkpoint(file)
    assert str(raised.value).startswith(f"{file}: its temperature is {value!r}; expected a number")


@pytest.mark.parametrize("value", [None, 1, 0.8])
def test_temperatures_above_0_and_none_are_read(tmp_path: Path, value: float | None) -> None:
    file = tmp_path / "last.ckpt"
    torch.save(checkpoint() | {"pets": {"format": 1, "temperature": value}}, file)
    assert read_checkpoint(file)["pets"]["temperature"] == value


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    file, weights = tmp_path / "last.ckpt", torch.ones(8)
    weights[3] = value
    torch.save(checkpoint() | {"state_dict": {"model.head.w": weights}}, file)
    with pytest.raises(RunError, match=r"last\.ckpt: head\.w holds numbers that are not finite"):
        read_checkpoint(file)


def test_foreign_and_future_checkpoints_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}}, file)
    with pytest.raises(RunError, match="is not a checkpoint of pets train"):
        read_checkpoint(file)
    torch.save(checkpoint() | {"state_dict": []}, file)
    with pytest.raises(RunError, match="is not a checkpoint of pets train"):
        read_checkpoint(file)
    torch.save(checkpoint() | {"pets": {"format": 2}}, file)
    with pytest.raises(RunError, match="has format 2, this version of pets reads 1"):
        read_checkpoint(file)
