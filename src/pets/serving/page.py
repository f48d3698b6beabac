"""The page's files, as the server keeps them."""

from __future__ import annotations

from pets.report.template import own

_PACKAGE = "pets.serving"

# Path and name.
PAGE = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}


def page_file(name: str) -> tuple[bytes, str]:
    """Content and type. The style begins with the one that all pages share."""
    text = own(_PACKAGE, name)
    if name == "page.css":
        text = own("pets.report", name) + text
    kind = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
    return text.encode(), kind[name.rpartition(".")[2]]
