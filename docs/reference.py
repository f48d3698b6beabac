"""The reference of the site: every command, config group and key, made of the comments in conf/ and
their types. Nothing of it is committed. MkDocs calls `on_files`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

TOP = Path(__file__).resolve().parents[1]
CONF = TOP / "conf"
sys.path.insert(0, str(TOP / "src"))  # this checkout's types, whatever is installed

from pets.commands import list_commands  # noqa: E402
from pets.config import CompareConfig, SlurmSettings, TrainConfig  # noqa: E402

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

# What users do not choose, and what a machine has of its own.
_NOT_CHOSEN = ("hydra/help", "hydra/hydra_logging", "hydra/job_logging", "local")
_PACKAGES = {"stage": "plan.stages.<stage>", "external_photos": "data"}


@dataclass(frozen=True)
class Key:
    """A key of a YAML file: its dotted name, its value as it stands there, and its comment."""

    name: str
    value: str
    comment: str


def keys_of(file: Path) -> list[Key]:
    """Read every key of a config, without its defaults list and a command's settings of Hydra."""
    text = file.read_text(encoding="utf-8")
    node = yaml.compose(text)
    if not isinstance(node, yaml.MappingNode):
        return []
    skipped = ("defaults", "hydra") if file.parent == CONF else ("defaults",)
    pairs = [pair for pair in node.value if pair[0].value not in skipped]
    return list(_keys(pairs, text.splitlines(), ""))


def _keys(pairs: Iterable[tuple[Any, Any]], lines: list[str], prefix: str) -> Iterator[Key]:
    for key, value in pairs:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from _keys(value.value, lines, f"{name}.")
            continue
        start, end = value.start_mark, value.end_mark
        shown = re.sub(r"\s+#.*", "", start.buffer[start.index : end.index].rstrip("\0"))
        in_rows = isinstance(value, yaml.SequenceNode) and not value.flow_style
        comment = _comment(lines, key, key.end_mark if in_rows else end)
        yield Key(name, " ".join(shown.split()), comment)


def _comment(lines: list[str], key: Any, end: Any) -> str:
    """The comment on a key's line, with the lines that continue it, or the one above the key."""
    words = [lines[end.line][end.column :].lstrip(":")]
    for line in lines[end.line + 1 :]:
        indent = len(line) - len(line.lstrip())
        if not line.lstrip().startswith("#") or indent < key.start_mark.column + 8:
            break
        words.append(line)
    text = " ".join(word.strip().lstrip("#").strip() for word in words).strip()
    return text or " ".join(_above(lines, key))


def _above(lines: list[str], key: Any) -> list[str]:
    row, above = key.start_mark.line - 1, list[str]()
    while row > 0 and lines[row].strip().startswith("#"):
        above.insert(0, lines[row].strip().lstrip("# "))
        row -= 1
    return above if row > 0 else []  # what begins a file is about all of it


def about(file: Path) -> str:
    """The comment with which a file begins."""
    lines = list[str]()
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line[1:].removeprefix(" "))
    return "\n".join(lines)


def expected(schema: dict[str, Any], key: str) -> str:
    """The values of a dotted key in words, by a JSON schema; nothing for arguments of classes."""
    defs, node = schema.get("$defs", {}), schema
    for part in key.split("."):
        node = _resolved(node, defs)
        node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        if not isinstance(node, dict):
            return ""
    return _in_words(node, defs)


def _resolved(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """The object of a node: a reference is followed, of a section that may be null the section."""
    for each in (node, *node.get("anyOf", ())):
        if "$ref" in each:
            return dict(defs[each["$ref"].rpartition("/")[2]])
    return node


def _in_words(node: dict[str, Any], defs: dict[str, Any]) -> str:
    if "description" in node and "$ref" not in node:
        return str(node["description"])
    if "anyOf" in node:
        parts = dict.fromkeys(_in_words(each, defs) for each in node["anyOf"])
        return ", or ".join(part for part in parts if part)
    if "enum" in node or "const" in node:
        return " | ".join(map(str, node.get("enum") or [node["const"]]))
    kind = node.get("type")
    if kind in ("integer", "number"):
        limits = {
            "minimum": "of at least", "exclusiveMinimum": "above", "maximum": "of at most",
            "exclusiveMaximum": "below",
        }  # fmt: skip
        given = [f"{words} {node[name]:g}" for name, words in limits.items() if name in node]
        noun = {"integer": "a whole number", "number": "a number"}[kind]
        return f"{noun} {' and '.join(given)}".strip()
    words = {
        "boolean": "true | false", "string": "text", "null": "null", "array": "a list",
        "object": "keys",
    }  # fmt: skip
    return "keys" if "$ref" in node else words.get(str(kind), "")


def commands_page() -> str:
    """Every command with its examples and all its keys."""
    from pets.commands import load_command

    parts = [
        "# Commands",
        "`pets COMMAND key=value ...`; `pets COMMAND --help` shows the same in a terminal. A key "
        "with a dot belongs to a section, whose keys may come from a [config group](groups.md).",
    ]
    for command, line in list_commands().items():
        file = CONF / f"{command}.yaml"
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        footer = settings["hydra"]["help"]["footer"].splitlines()
        examples = "\n".join(row for row in footer if not row.startswith("--hydra-help"))
        schema = load_command(command).SCHEMA.model_json_schema()
        title = f"## pets {command}\n\n{line[:1].upper()}{line[1:]}."
        parts += [title, f"```\n{examples}\n```"]
        parts += [_takes(settings, "groups.md"), _table(keys_of(file), schema)]
    return "\n\n".join(part for part in parts if part) + "\n"


def groups_page() -> str:
    """Every option of every config group with all its keys."""
    parts = [
        "# Config groups",
        "An option is a file in `conf/`: `model=resnet34` takes the keys of "
        "`conf/model/resnet34.yaml`. The first table of a group has all its keys, with the "
        "defaults; the others have what an option changes.",
    ]
    for group in groups():
        files = sorted((CONF / group).glob("*.yaml"))
        package = _PACKAGES.get(group, group.replace("/", "."))
        parts.append(f"## {group} {{ #{_anchor(group)} }}")
        for file in sorted(files, key=lambda file: file.stem not in ("base", "default")):
            text = file.read_text(encoding="utf-8")
            prefix = "" if text.startswith("# @package _global_") else f"{package}."
            if file.stem != "base":
                parts.append(f"### `{group}={file.stem}` {{ #{_anchor(group)}-{file.stem} }}")
            parts += [_paragraphs(about(file)), _takes(yaml.safe_load(text) or {})]
            parts.append(_table(keys_of(file), _schema_of(group, file.stem), prefix))
    return "\n\n".join(part for part in parts if part) + "\n"


def groups() -> list[str]:
    """The config groups from which users choose, in alphabetical order."""
    folders = {file.parent.relative_to(CONF).as_posix() for file in CONF.rglob("*.yaml")}
    return sorted(folder for folder in folders if folder != "." and folder not in _NOT_CHOSEN)


def _schema_of(group: str, option: str) -> dict[str, Any]:
    if (group, option) == ("hydra/launcher", "slurm"):
        slurm = SlurmSettings.model_json_schema()
        nested = {"hydra": {"properties": {"launcher": slurm}}}
        return {"properties": nested, "$defs": slurm.get("$defs", {})}
    model = CompareConfig if group == "external_photos" else TrainConfig
    return model.model_json_schema()


def _takes(settings: dict[str, Any], page: str = "") -> str:
    """What a defaults list takes of other groups, with links to them."""
    pairs = [item for item in settings.get("defaults", ()) if isinstance(item, dict)]
    links = list[str]()
    for key, option in (pair for item in pairs for pair in item.items()):
        name = key.removeprefix("override ").removeprefix("optional ").lstrip("/")
        group = name.partition("@")[0]
        if group in groups():
            shown = f"{group}={option}" if option else group
            links.append(f"[`{shown}`]({page}#{_anchor(group)})")
    return f"Takes {', '.join(dict.fromkeys(links))}." if links else ""


def _anchor(group: str) -> str:
    return group.replace("/", "-")


def _paragraphs(text: str) -> str:
    """A comment as HTML, with the commands in it as code."""
    prose, code = list[str](), list[str]()
    for line in text.splitlines():
        goes_on = code and code[-1].endswith("\\")
        (code if line.startswith("  pets ") or goes_on else prose).append(line.strip())
    paragraph = f"<p>{_inline(' '.join(prose))}</p>" if prose else ""
    return f"{paragraph}\n\n" + "```\n" + "\n".join(code) + "\n```" if code else paragraph


def _table(keys: list[Key], schema: dict[str, Any], prefix: str = "") -> str:
    """HTML, since a comment may have any sign that Markdown takes for its own."""
    if not keys:
        return ""
    rows = []
    for key in keys:
        name = prefix + key.name
        values = _inline(expected(schema, name))
        values = f"<em>{values}</em>" if values else ""
        meaning = "<br>".join(part for part in (_inline(key.comment), values) if part)
        cells = (f"<code>{escape(name)}</code>", f"<code>{escape(key.value)}</code>", meaning)
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = "<thead><tr><th>key</th><th>default</th><th>meaning, <em>values</em></th></tr></thead>"
    table = "\n".join(["<table>", head, "<tbody>", *rows, "</tbody>", "</table>"])
    return f'<div class="keys">\n{table}\n</div>'


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference."""
    from mkdocs.structure.files import File

    for name, text in (("commands", commands_page()), ("groups", groups_page())):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files
