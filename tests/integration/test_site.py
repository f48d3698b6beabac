"""The documentation as a site: built without a warning, read without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import need
from tests.integration.browser import CHROMIUM
from tests.shown import TOP

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need(find_spec("mkdocs") is not None, "MkDocs is not installed (the extra docs)")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    result = subprocess.run(build, cwd=TOP, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


class Resources(HTMLParser):
    """What a page loads: everything but links that a reader clicks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "a":
            self.found += [v for k, v in attrs if k in ("src", "href", "srcset", "data") and v]


def loaded(site: Path) -> Iterator[tuple[Path, str]]:
    for file in site.rglob("*.html"):
        parser = Resources()
        parser.feed(file.read_text())
        yield from ((file, address) for address in parser.found)
    for file in site.rglob("*.css"):
        addresses = re.findall(r"(?:url\(|@import )['\"]?([^'\")]+)", file.read_text())
        yield from ((file, address) for address in addresses)


@pytest.mark.core
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    resources = list(loaded(site))
    assert len(resources) > 100
    for file, address in resources:
        assert not re.match(r"(https?:)?//", address), f"{file.name}: {address}"


@pytest.mark.core
def test_the_site_has_the_reference_and_the_measurements(site: Path) -> None:
    python = (site / "python.html").read_text()
    assert all(
        name in python for name in ("lr_find", "plot_top_losses", "most_confused", "SplitMetric")
    )
    assert "plan.stages.&lt;stage&gt;.lr" in (site / "reference/groups.html").read_text()
    assert "bench/compare.py" in (site / "bench/RESULTS.html").read_text()
    assert "never runs code" in (site / "SECURITY.html").read_text()


def test_it_is_read_and_searched_as_files(site: Path) -> None:
    need(CHROMIUM is not None, "there is no chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    asked, errors = list[str](), list[str]()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((site / "index.html").as_uri())
        page.click(".md-search__input")
        page.type(".md-search__input", "perceptual hash")
        page.wait_for_selector(".md-search-result__link")
        links = page.locator(".md-search-result__link").all()
        found = [link.get_attribute("href") or "" for link in links]
        browser.close()
    assert any("/verify.html" in link for link in found), found
    here = site.as_uri()
    assert all(url.startswith((here, "data:", "blob:", "about:")) for url in asked), asked
    assert not errors
