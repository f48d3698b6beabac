"""`~` is the home folder in every path of every command."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from omegaconf import OmegaConf
from pydantic import BaseModel, TypeAdapter, ValidationError

from pets.cache.memo import cache_folder
from pets.cli.arguments import to_overrides
from pets.config import base, commands
from pets.config.base import PathText
from pets.config.model import ModelConfig
from pets.config.resolvers import register_resolvers
from pets.config.validation import known_keys
from pets.run_dir import RunDir
from tests.conftest import composed, train_config

# Every key of a config whose value is a path; one that is added belongs here.
PATHS = {
    "data.dataset", "data.exclude", "data.photo_list", "data.relabel", "data.root", "data.table",
    "model.weights", "new", "old", "out", "resume", "run", "source", "sweep", "sweep.resume",
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", "/home/me")
    return "/home/me"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("~/a b.csv", "/home/me/a b.csv"),
        ("~", "/home/me"),
        ("a/~/b", "a/~/b"),
        ("~a.jpg", "~a.jpg"),
        ("~/photos/*.jpg", "/home/me/photos/*.jpg"),
        ("s3://bucket/~/x", "s3://bucket/~/x"),
    ],
)
def test_a_path_is_expanded_as_by_the_shell(typed: str, meant: str) -> None:
    assert TypeAdapter(PathText).validate_python(typed) == meant


def test_a_missing_home_folder_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base.os.path, "expanduser", lambda path: path)
    with pytest.raises(ValidationError, match="~/a: there is no home folder for ~"):
        TypeAdapter(PathText).validate_python("~/a")


CONFIGS = [s for name, s in vars(commands).items() if name.endswith("Config")]


@pytest.mark.parametrize("schema", CONFIGS)
def test_every_path_of_every_command_is_of_that_type(schema: type[BaseModel]) -> None:
    expands = {key for key in known_keys(schema) if "expanded" in repr(_field(schema, key))}
    # A training has settings of its sweep below that key.
    paths = PATHS - ({"sweep"} if "sweep.resume" in known_keys(schema) else set())
    here = {key for path in paths for key in (path, path.removeprefix(_group(schema)))}
    assert expands == here & set(known_keys(schema))


def _group(schema: type[BaseModel]) -> str:
    """The key prefix of a schema that is nested in others."""
    return "model." if schema is ModelConfig else "data." if "Data" in schema.__name__ else "-"


def test_the_cache_is_in_the_current_users_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's config keeps the `~`: another user may resume it."""
    assert train_config("cache_dir='~/c'").cache_dir == "~/c"
    assert cache_folder("~/c") == Path("/home/me/c")
    monkeypatch.setattr("os.path.expanduser", str)
    monkeypatch.setenv("PETS_CACHE", "/tmp/pets-me/pets")
    assert cache_folder("~/.cache/pets") == Path("/tmp/pets-me/pets")
    assert cache_folder("/data/c") == Path("/data/c")


def _field(schema: type[BaseModel], key: str) -> object:
    first, _, rest = key.partition(".")
    field = schema.model_fields[first]
    kinds = [
        k for k in (field.annotation, *get_args(field.annotation)) if hasattr(k, "model_fields")
    ]
    return _field(kinds[0], rest) if rest else (field.annotation, field.metadata)


@pytest.mark.parametrize(
    ("word", "full"),
    [
        ("data.root=~/my photos", "data.root='/home/me/my photos'"),
        ("hydra.run.dir=~/runs/a", "hydra.run.dir='/home/me/runs/a'"),
        ("hydra.sweep.dir=~", "hydra.sweep.dir='/home/me'"),
        ("+data.x=~/a", "+data.x='/home/me/a'"),
        ("model.weights=~/a.pth,~/b.pth", "model.weights='/home/me/a.pth','/home/me/b.pth'"),
        ("~data.root", "~data.root"),
    ],
)
def test_command_line_arguments_expand_the_home(word: str, full: str) -> None:
    assert to_overrides("train", [word]) == [full]


def test_a_run_directory_may_be_below_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    values = train_config().model_dump(by_alias=True, mode="json")
    RunDir.prepare(tmp_path / "run", values, [])
    assert RunDir.open("~/run").path == tmp_path / "run"


def test_hydras_folders_are_below_the_home_and_not_made_for_a_wrong_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_resolvers()
    monkeypatch.setattr("os.path.expanduser", lambda path: path.replace("~", str(tmp_path)))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "status.json").touch()
    for name, folder in (("run", str(tmp_path / "run")), ("rum", "x")):
        cfg = composed(f"resume='~/{name}'")
        OmegaConf.set_struct(cfg, False)
        cfg.folder = "${either:${resume},x}"
        assert cfg.folder == folder
