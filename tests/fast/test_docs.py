"""The pages, and the reference that is made of conf/: nothing is missing or leads nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs import included, pictures, reference
from pets.commands import list_commands
from pets.system.installation import conf_dir
from tests.shown import GUIDES, PAGES, TEXTS, TOP, anchors, blocks, links

GENERATED = {"reference/commands.md", "reference/groups.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_at_most_150_lines(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(TOP)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if page.parent.name == "docs" and path in GENERATED:
            continue
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(there.read_text()), f"{page.name}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    text = re.sub(r"!!\S+", "", (TOP / "mkdocs.yml").read_text())

    def pages(node: Any) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        for child in node.values() if isinstance(node, dict) else node:
            yield from pages(child) if not isinstance(node, str) else ()

    shown = set(pages(yaml.safe_load(text)["nav"]))
    assert shown == {page.name for page in GUIDES} | GENERATED | set(included.INCLUDED)


def test_a_page_of_the_repository_links_to_pages_of_the_site() -> None:
    text = "[S](../SECURITY.md) [b](../bench/README.md#sides) [o](../examples/own) ![p](serve.jpg)"
    linked = included.linked(text, "own.md")
    assert linked == "[S](SECURITY.md) [b](bench/README.md#sides) o ![p](serve.jpg)"
    assert included.linked("[a](sweeps.md#x) [w](https://x.org)", "own.md") == (
        "[a](sweeps.md#x) [w](https://x.org)"
    )
    assert included.linked("[R](README.md)", "bench/RESULTS.md") == "[R](../bench/README.md)"
    assert included.linked("[own](docs/own.md)", "ARCHITECTURE.md") == "[own](own.md)"


def keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a config."""
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from keys(value, f"{prefix}{key}.")


@pytest.mark.parametrize("command", list_commands())
def test_the_reference_has_every_key_of_every_command(command: str) -> None:
    page = reference.commands_page()
    section = page.partition(f"\n## pets {command}\n")[2].partition("\n## ")[0]
    values = yaml.safe_load((conf_dir() / f"{command}.yaml").read_text())
    for key in keys({k: v for k, v in values.items() if k not in ("defaults", "hydra")}):
        assert f"<code>{key}</code>" in section or f"<code>{key}." in section, key
    assert f"pets {command}" in section, "no example"


def test_the_reference_has_every_key_of_every_option() -> None:
    page = reference.groups_page()
    for group in reference.groups():
        for file in (conf_dir() / group).glob("*.yaml"):
            text = file.read_text()
            package = {"stage": "plan.stages.&lt;stage&gt;", "external_photos": "data"}.get(
                group, group.replace("/", ".")
            )
            prefix = "" if text.startswith("# @package _global_") else f"{package}."
            values = yaml.safe_load(text) or {}
            for key in keys({k: v for k, v in values.items() if k != "defaults"}):
                parents = [prefix + ".".join(key.split(".")[:n]) for n in range(1, 9)]
                there = (f"<code>{parent}</code>" in page for parent in parents)
                assert any(there) or f"<code>{prefix}{key}." in page, f"{file}: {key}"


def test_a_key_stands_with_its_default_values_and_comment() -> None:
    page = reference.commands_page()
    row = next(line for line in page.splitlines() if "<code>few</code>" in line)
    assert "<td><code>10</code></td>" in row
    assert "<em>a whole number of at least 0</em>" in row
    assert "fewer do not vary enough in pose, light and background" in row
    near = next(line for line in page.splitlines() if "<code>near</code>" in line)
    assert "two real photos of one moment may be in between" in near, "third line"
    groups = reference.groups_page()
    stage = next(line for line in groups.splitlines() if "stages.&lt;stage&gt;.schedule<" in line)
    assert "<em>one_cycle | constant</em>" in stage
    assert "<em>a number above 0 and below 1</em>" in groups
    assert "Takes [`data=oxford_pets`](#data), [`model=resnet34`](#model)" in groups
    lora = next(line for line in groups.splitlines() if "<code>model.lora</code>" in line)
    assert escape("target_modules: [qkv, fc1]", quote=False) in lora


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_that_is_shown_can_be_read(page: Path) -> None:
    for text in blocks(page.read_text(), "python"):
        compile(text, page.name, "exec")
    for text in blocks(page.read_text(), "yaml"):
        assert yaml.safe_load(text)


def test_every_picture_can_be_made_anew() -> None:
    files = {file.name for suffix in ("jpg", "png") for file in (TOP / "docs").glob(f"*.{suffix}")}
    assert files == set(pictures.MAKERS)
    assert set(pictures.REAL) < files
    shown = {
        f for page in TEXTS for f in re.findall(r"!\[.*?\]\((?:docs/)?([^)/]+)\)", page.read_text())
    }
    assert shown == files
    assert "python -m docs.pictures" in (TOP / "Makefile").read_text()
