"""Every command that README and the guides show is composed and checked as `pets` does; those that
take no time are run."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from pets.cli.arguments import ALIASES, FLAGS_WITH_A_VALUE, to_overrides
from pets.cli.mistakes import check_flags, check_options
from pets.commands import list_commands, load_command
from pets.config.resolvers import register_resolvers
from pets.config.validation import typed
from pets.system.installation import conf_dir
from tests.shown import PAGES, TOP, Shown, all_commands, blocks, lines

# What a reader puts there.
_PHOTOS = ["data=folder", "data.root=my_photos"]
# Folders of one's own that pages speak of.
_OWN = {"own": TOP / "examples/own", "examples/own": TOP / "examples/own"}
_RUN = {"--help", "--cfg", "cache", "look", "verify"}


def filled(args: list[str]) -> list[str]:
    """Arguments with something for `...`, `data=...` and `<run>`."""
    result = list[str]()
    for arg in args:
        if arg == "data=...":
            result += _PHOTOS
        elif arg != "...":
            assert "..." not in arg, arg
            result.append(re.sub(r"<(\w+)>", r"\1", arg))
    return result


@pytest.fixture(scope="module")
def my_conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `my_conf` of the guides, with the files that they show."""
    folder = tmp_path_factory.mktemp("my_conf")
    for name, page in (("plan/mine", "plans"), ("hydra/launcher/ours", "cluster")):
        (text, *_) = blocks((TOP / f"docs/{page}.md").read_text(), "yaml")
        (folder / name).parent.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(text)
    return folder


def jobs(overrides: list[str], sweep: bool) -> Iterator[list[str]]:
    """The overrides of a run; of a sweep those of its first and of its last run."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    for end in (0, -1) if sweep else (0,):
        yield [_choice(override, end) if sweep else _text(override) for override in parsed]


def _text(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line


def _choice(override: Override, end: int) -> str:
    if not override.is_sweep_override() or override.get_key_element().startswith("hydra"):
        return _text(override)
    if override.is_interval_sweep():
        return f"{override.get_key_element()}={override.value().start}"  # type: ignore[union-attr]
    return f"{override.get_key_element()}={list(override.sweep_string_iterator())[end]}"


def check(command: str, args: list[str], my_conf: Path) -> None:
    """Compose and validate as `pets <command> <args>` would."""
    name, *given = ALIASES.get(command, (command,))
    assert name in list_commands(), f"pets {command}: no such command"
    words = to_overrides(name, [*given, *filled(args)])
    schema = load_command(name).SCHEMA
    check_flags(words, schema)
    check_options(words)
    overrides, search = list[str](), list[str]()
    for word, before in zip(words, ["", *words], strict=False):
        if before == "--config-dir":
            search.append(str(_OWN.get(word, my_conf)))
        elif not word.startswith("-") and before not in FLAGS_WITH_A_VALUE:
            overrides.append(word)
    if any(word.startswith("sweep.resume=") for word in words):  # its folder says which sweeper
        overrides += ["hydra/sweeper=optuna"] if "hydra.sweeper" in " ".join(words) else []
    for job in jobs(overrides, bool({"-m", "--multirun"} & set(words))):
        path = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in search)}]"]
        cfg = compose(name, overrides=[*job, *(path if search else [])], return_hydra_config=True)
        OmegaConf.set_struct(cfg, False)
        del cfg["hydra"]
        if "--help" not in words:
            typed(schema, cfg)


@pytest.fixture
def hydra() -> Iterator[None]:
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


@pytest.mark.usefixtures("hydra")
@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_every_command_can_be_composed(page: str, my_conf: Path) -> None:
    for shown, command, args in all_commands():
        if shown.page != page or command in ("--help", "-sc"):
            continue
        try:
            check(command, args, my_conf)
        except Exception as error:
            raise AssertionError(f"{shown}\n{error}") from error


@pytest.mark.usefixtures("hydra")
def test_a_command_that_is_wrong_is_noticed(my_conf: Path) -> None:
    for wrong in ("train modle=resnet34", "train data.size=big", "predict run=x", "tain",
                  "train -m seed=0,x", "train --confg-dir own", "train model=nope"):  # fmt: skip
        command, *args = wrong.split()
        with pytest.raises(Exception, match=r".+"):
            check(command, args, my_conf)


def test_there_are_commands_of_every_kind() -> None:
    shown = all_commands()
    assert {command for _, command, _ in shown} >= set(list_commands())
    assert len(shown) > 100


@pytest.mark.usefixtures("hydra")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=str
)
def test_calls_of_a_notebook_can_be_composed(page: Path, my_conf: Path) -> None:
    for text in blocks(page.read_text(), "python"):
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            commands = {"train": "train", "look": "look", "lr_find": "find-lr"}
            if node.func.id in commands and node.args:
                check(commands[node.func.id], shlex.split(ast.literal_eval(node.args[0])), my_conf)


def _of_the_repository() -> list[Shown]:
    shown = (line for page in PAGES for line in lines(page.name, page.read_text()))
    return [line for line in shown if line.words[0] in ("make", "python")]


@pytest.mark.parametrize("line", _of_the_repository(), ids=str)
def test_other_commands_are_of_this_repository(line: Shown) -> None:
    what = line.words[1]
    if line.words[0] == "make":
        assert re.search(rf"^{what}:", (TOP / "Makefile").read_text(), re.MULTILINE), what
    elif not what.startswith("-"):
        assert (TOP / what).is_file(), what


def _cheap() -> list[list[str]]:
    """Those that train nothing and need no run, each kind once."""
    found = {}
    for _, command, args in all_commands():
        args = [re.sub(r"<(\w+)>", r"\1", arg) for arg in args]
        kind = next((word for word in (command, *args) if word in _RUN), None)
        own = command not in ("look", "verify") or args == _PHOTOS
        if kind and own and command not in ("--help", "-sc"):
            found.setdefault((kind, command, *args[:1]), [command, *args])
    return list(found.values())


@pytest.mark.parametrize("words", _cheap(), ids=shlex.join)
def test_what_takes_no_time_is_run(
    words: list[str],
    drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if words[0] in ("look", "verify"):
        for file in (drawn / "images").glob("*.jpg"):
            folder = tmp_path / "my_photos" / file.name.rpartition("_")[0]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder)
    from pets import notebook

    with suppress(SystemExit) if "--help" in words else nullcontext():  # Hydra ends after its text
        notebook.run(words[0], words[1:])
    assert capsys.readouterr().out.strip()
