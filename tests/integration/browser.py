"""A real Chromium that looks at a page, from disk or a server, and notes all that goes wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import need

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

# For a script that measures contrast (WCAG 2): a CSS colour as red, green, blue to 255 and alpha;
# the relative luminance of one.
COLOURS = """
const rgba = (text) => {
  const n = text.match(/[\\d.]+/g).map(Number);
  const scale = text.startsWith("color(") ? 255 : 1;
  return [n[0] * scale, n[1] * scale, n[2] * scale, n[3] ?? 1];
};
const light = (c) => c.slice(0, 3).map((v) => v / 255).map(
  (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
"""

# The contrast of every text on the page with what is behind it, and the text.
CONTRASTS = (
    "() => {"
    + COLOURS
    + """
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const behind = (e) => {
    if (!e) return [255, 255, 255];
    return over(rgba(getComputedStyle(e).backgroundColor), behind(e.parentElement));
  };
  const texts = [...document.querySelectorAll("body *")].filter((e) =>
    e.checkVisibility() && !e.closest(".unseen, .skip, noscript") &&
    [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
  return texts.map((e) => {
    const both = [light(behind(e)), light(rgba(getComputedStyle(e).color))];
    const [a, b] = both.sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.textContent.trim()];
  });
}"""
)


# What sticks out of the page or of its own box: the page if it is wider than the window, boxes that
# have to be scrolled sideways, and cells whose text is cut off.
CUT_OFF = """() => [
  ...(document.documentElement.scrollWidth > innerWidth ? ["the page"] : []),
  ...[...document.querySelectorAll(".scroll, .tall")].filter((e) => e.scrollWidth > e.clientWidth)
    .map((e) => `${e.getAttribute("aria-label")}: ${e.textContent.trim().slice(0, 40)}`),
  ...[...document.querySelectorAll(".sortable th, .sortable td, p, h1, h2, figcaption, li")].filter(
    (e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1 && e.clientWidth
  ).map((e) => e.textContent.trim()),
]"""


@contextmanager
def opened(
    page_at: Path | str,
    width: int = 1280,
    scheme: str = "light",
    phone: bool = False,
    expected: Sequence[str] = (),
    ignored: str | None = None,
) -> Iterator[Any]:
    """The page of a file or an address at a width, light or dark. Fails on any console message but
    the `expected` ones and those with the text `ignored`, any error, any request to elsewhere."""
    need(CHROMIUM is not None, "there is no chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    address = page_at.as_uri() if isinstance(page_at, Path) else page_at
    site = address.partition("?")[0]

    def note_request(request: Any) -> None:
        own = request.url == address or (
            isinstance(page_at, str) and request.url.startswith((site, f"blob:{site}"))
        )
        if not request.url.startswith("data:") and not own:
            complaints.append(f"asked for {request.url}")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            has_touch=phone,
            is_mobile=phone,
        )
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", note_request)
        page.goto(address)
        try:
            yield page
        finally:
            browser.close()
    left = [c for c in complaints if ignored is None or ignored not in c]
    assert left == list(expected), left
