"""Commands run from Python: mistakes are one line, and nothing of them stays."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from pets.errors import ConfigError, PetsError
from pets.notebook import run


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["plan=frozen5"], "plan=frozen5: no such option; did you mean frozen4?"),
        (["data.sizee=96"], "data.sizee: no such key; did you mean data.size?"),
        (["data.size=-3"], "data.size=-3: expected pixels"),
        (["data.size=[1"], "data.size=[1: cannot be read as key=value"),
        (["data={}"], "data={}: changes nothing"),
    ],
)
def test_a_mistake_is_the_command_lines_line(
    args: list[str],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = logging.getLogger().handlers[:], logging.getLogger().level
    with pytest.raises(PetsError) as caught:
        run("train", args)
    assert str(caught.value).startswith(line)
    assert capsys.readouterr().err == ""
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert (logging.getLogger().handlers, logging.getLogger().level) == before
    assert not GlobalHydra.instance().is_initialized()


def test_a_handler_of_the_notebook_still_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    handler = logging.FileHandler(tmp_path / "own.log")
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with pytest.raises(ConfigError):
        run("train", ["data.size=-3"])
    logging.getLogger().warning("mine")
    handler.close()
    assert (tmp_path / "own.log").read_text() == "mine\n"


def test_output_that_is_captured_elsewhere_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after a command that imported TensorBoard, and inside `%%capture`.
    absl = pytest.importorskip("absl.logging")
    monkeypatch.chdir(tmp_path)
    notebook = (tmp_path / "output").open("w")
    monkeypatch.setattr(absl.get_absl_handler().python_handler, "stream", notebook)
    with pytest.raises(ConfigError):
        run("train", ["data.size=-3"])
    assert not notebook.closed
    notebook.close()


def test_ipython_shows_the_line_alone() -> None:
    IPython = pytest.importorskip("IPython.core.interactiveshell")
    shell = IPython.InteractiveShell.instance()
    shown: list[list[str]] = []
    shell._showtraceback = lambda kind, error, lines: shown.append(lines)
    shell.run_cell("from pets.errors import DataError\nraise DataError('photo.jpg: is no photo')")
    assert shown == [["photo.jpg: is no photo"]]
    assert isinstance(PetsError("x"), Exception)
