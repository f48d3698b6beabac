"""Files at the top of the repository as pages of the site. MkDocs calls what begins with `on_`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

TOP = Path(__file__).resolve().parents[1]
INCLUDED = (
    "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md",
    "bench/RESULTS.md",
)  # fmt: skip


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the included files."""
    from mkdocs.structure.files import File

    for name in INCLUDED:
        text = (TOP / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files at the top of the repository lead to their pages."""
    return linked(markdown, page.file.src_uri)


def linked(markdown: str, page: str) -> str:
    """Rewrite links of a page as it lies in the repository to links of the site.

    What is no page is named without a link: the repository's address is not known here.
    """

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match.groups()
        here = (TOP / page if page in INCLUDED else TOP / "docs" / page).parent
        there = (here / target).resolve()
        if there.suffix != ".md" or not there.is_relative_to(TOP):
            return match[0] if there.is_relative_to(TOP / "docs") else text
        name = there.relative_to(TOP).as_posix()
        if name not in INCLUDED and not name.startswith("docs/"):
            return text
        up = "../" * page.count("/")
        return f"[{text}]({up}{name.removeprefix('docs/')}{anchor or ''})"

    # Images and addresses stay as they are.
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)", link, markdown)
