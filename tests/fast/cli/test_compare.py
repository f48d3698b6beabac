"""The two runs of `pets compare a b`, and the config that it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from pets.cli.arguments import to_overrides
from pets.config import CompareConfig
from pets.config.validation import typed
from pets.errors import ConfigError
from tests.conftest import composed


@pytest.mark.parametrize(
    ("args", "overrides"),
    [
        (["a", "b"], ["old='a'", "new='b'"]),
        (["out/a", "out/b c", "fail_on=worse"], ["old='out/a'", "new='out/b c'", "fail_on=worse"]),
        (["ckpt=best", "a", "split=val", "b"], ["ckpt=best", "old='a'", "split=valid", "new='b'"]),
        (["new=b", "a"], ["new=b", "old='a'"]),
        (["old=a", "b"], ["old=a", "new='b'"]),
        (["a"], ["old='a'"]),
        (["a", "b", "c"], ["old='a'", "new='b'", "new='c'"]),
        (["--cfg", "job", "a", "b"], ["--cfg", "job", "old='a'", "new='b'"]),
        (["hydra/job_logging=screen", "a"], ["hydra/job_logging=screen", "old='a'"]),
        (["a", "b", "~data.root"], ["old='a'", "new='b'", "~data.root"]),
    ],
)  # fmt: skip
def test_the_first_run_is_the_old_one(args: list[str], overrides: list[str]) -> None:
    assert to_overrides("compare", args) == overrides


def test_a_run_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lr=0.1", "it's ${x}"):
        Path(name).mkdir()
    overrides = to_overrides("compare", ["lr=0.1", "it's ${x}"])
    config = typed(CompareConfig, composed(*overrides, name="compare"))
    assert (config.old, config.new) == ("lr=0.1", "it's ${x}")
    assert config.fail_on == "significant"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["a"], "new is needed; give it as new=..."),
        (["a", "a/"], "new=a/: is the same run as old; expected another run"),
        (["a", "b", "fail_on=x"], "fail_on=x: expected 'worse', 'significant' or 'never'"),
        (["a", "b", "split=train"], "split=train: expected 'auto', 'valid' or 'test'"),
        (["a", "b", "shown=0"], "shown=0: expected a number of at least 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(overrides: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        typed(CompareConfig, composed(*to_overrides("compare", overrides), name="compare"))
    assert str(caught.value) == line
