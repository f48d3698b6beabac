"""Registered items are available by name, in configs, on the command line and in the report."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pets.commands
from pets.commands import list_commands, load_command
from pets.config import DataConfig, EvalConfig
from pets.config.validation import typed
from pets.data.collect import collect_photos
from pets.data.labels import LABEL_RULES, LabelRule
from pets.errors import ConfigError
from pets.export.formats import FORMATS
from pets.metrics import METRICS
from pets.registry import Registry
from pets.report.sections import SECTIONS
from pets.report.template import template
from pets.system.installation import conf_dir
from pets.training.losses import LOSSES
from pets.verify.kinds import KINDS
from tests.conftest import composed, train_config


@pytest.mark.parametrize("registry", [LABEL_RULES, LOSSES, METRICS, SECTIONS, FORMATS, KINDS])
def test_every_entry_has_one_line_of_documentation(registry: Registry) -> None:
    for name, entry in registry.items():
        assert entry.name == name
        assert entry.doc
        assert "\n" not in entry.doc


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="loss is registered twice"):
        METRICS.add(METRICS["loss"])


def test_an_unknown_name_is_one_line_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as error:
        train_config("data.label_from=foldr")
    assert str(error.value) == (
        "data.label_from=foldr: expected filename, folder, table or superclass, or the dotted path "
        "of a function; did you mean folder?"
    )
    with pytest.raises(ConfigError, match=r"data\.label_from=xyz: expected filename"):
        typed(EvalConfig, composed("run=r", "data.label_from=xyz", name="eval"))


def test_a_command_is_a_module_and_a_config() -> None:
    configs = {file.stem for file in conf_dir().glob("*.yaml")}
    assert set(list_commands()) == configs
    for name, line in list_commands().items():
        command = load_command(name)
        assert str(command.__doc__).startswith(f"`pets {name}`: {line}.")
        assert command.SCHEMA
        assert command.run


def test_commands_are_listed_without_importing_them(tmp_path: Path) -> None:
    """`pets --help` imports only the standard library."""
    tree = ast.parse(Path(pets.commands.__file__).read_text())
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert set(names) == {"__future__", "importlib", "pathlib", "types"}


def test_a_label_rule_is_added_in_one_place(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_letter(paths: list[str], config: DataConfig, _: object) -> dict[str, str | None]:
        return {path: Path(path).name[0] for path in paths}

    rule = LabelRule("first_letter", "the first letter of the file's name", first_letter, "no name")
    monkeypatch.setitem(LABEL_RULES, rule.name, rule)
    args = (f"data.root={drawn}", "data.label_from=first_letter", "data.label_regex=null")
    photos = collect_photos(train_config(*args).data)
    assert {photo.label for photo in photos.rows} == {Path(p.path).name[0] for p in photos.rows}
    assert len(photos.classes) > 1


def test_every_section_has_a_template_and_a_turn() -> None:
    for name in SECTIONS:
        assert template("pets.report", f"sections/{name}.html")
    turns = [section.turn for section in SECTIONS.values() if section.turn < 100]
    assert len(turns) == len(set(turns))


def test_every_format_has_a_module_and_a_script() -> None:
    from pets.export.scripts import standalone_script

    for name in FORMATS:
        assert "class Classifier" in standalone_script(name)
