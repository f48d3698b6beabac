"""The page of `pets serve` in a real browser: by mouse, by keyboard, on a phone, in the dark."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.integration.browser import CONTRASTS, opened
from tests.integration.serving import Served, served

BAD = "error: Failed to load resource: the server responded with a status of 400 (Bad Request)"


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(trained, tmp_path_factory.mktemp("page"), "threshold=0.9", "examples=5") as result:
        yield result


@pytest.fixture(scope="module")
def files(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A photo, no photo, and a photo that is wider than high."""
    folder = tmp_path_factory.mktemp("chosen")
    first, second = sorted((drawn / "images").glob("*.jpg"))[:2]
    (folder / "one.jpg").write_bytes(first.read_bytes())
    (folder / "bad.jpg").write_text("<b>no photo</b>")
    Image.open(second).resize((150, 96)).save(folder / "wide.png")
    return [folder / name for name in ("one.jpg", "bad.jpg", "wide.png")]


def answered(page: Any, count: int) -> None:
    from playwright.sync_api import expect

    expect(page.locator(".result:not(.waiting)")).to_have_count(count, timeout=30_000)
    expect(page.locator(".result.waiting")).to_have_count(0)


def drop(page: Any, files: list[Path]) -> None:
    contents = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]
    page.evaluate(
        """(files) => {
      const dropped = new DataTransfer();
      for (const [name, content] of files) {
        const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
        dropped.items.add(new File([bytes], name));
      }
      const send = (type) => document.body.dispatchEvent(
        new DragEvent(type, { dataTransfer: dropped, bubbles: true, cancelable: true }));
      send("dragenter");
      if (!document.body.classList.contains("over")) throw new Error("nothing is shown");
      send("drop");
    }""",
        contents,
    )


def test_photos_are_dropped_and_a_bad_one_among_them(server: Served, files: list[Path]) -> None:
    content = files[0].read_bytes()
    answer = server.client.post("/api/predict", files={"file": content}).json()["results"][0]
    with opened(server.url, expected=[BAD, BAD]) as page:
        drop(page, files)
        answered(page, 3)
        card = page.locator(".result", has_text="one.jpg")
        shown = card.locator("li span").all_inner_texts()
        assert shown == [row["name"].replace("_", " ") for row in answer["predictions"]]
        # In the order they were chosen in.
        paths = page.locator(".result .path").all_inner_texts()
        assert [path.split(" · ")[0] for path in paths] == ["one.jpg", "bad.jpg", "wide.png"]
        shares = [float(text.split("\u00a0")[0]) for text in card.locator("li b").all_inner_texts()]
        assert shares == pytest.approx(
            [100 * row["probability"] for row in answer["predictions"]], abs=0.051
        )
        # The bars are as long as their shares.
        widths = card.locator("li i").evaluate_all(
            "(bars) => bars.map((b) => parseFloat(getComputedStyle(b, '::before').width)"
            " / b.clientWidth * 100)"
        )
        assert widths == pytest.approx([max(share, 0) for share in shares], abs=1.2)
        sure = answer["predictions"][0]["probability"] >= 0.9
        assert ("Not sure" in card.locator("h3").inner_text()) == (not sure)

        bad = page.locator(".result.bad")
        assert bad.locator("h3").inner_text() == "Cannot be named"
        assert (
            bad.locator(".note")
            .inner_text()
            .startswith("cannot be read as an image (not a known format); expected JPEG")
        )
        assert bad.locator("b").count() == 0  # what a name or file says is text
        output = page.locator("#announcements").inner_text()
        assert answer["predictions"][0]["name"].replace("_", " ") in output
        assert "Cannot be named: bad.jpg" in output

        # Those that come later stand above.
        drop(page, files[::-1][:2])
        answered(page, 5)
        paths = page.locator(".result .path").all_inner_texts()
        assert [path.split(" · ")[0] for path in paths] == [
            "wide.png", "bad.jpg", "one.jpg", "bad.jpg", "wide.png",
        ]  # fmt: skip
        bad.first.get_by_role("button", name="Remove bad.jpg").click()
        page.locator(".result").first.get_by_role("button", name="Remove wide.png").click()

        bad.get_by_role("button", name="Remove bad.jpg").click()
        assert page.locator(".result").count() == 2
        page.get_by_role("button", name="Clear").click()
        assert page.locator(".result").count() == 0
        assert page.locator("#none").is_visible()


def test_grad_cam_lies_over_what_the_model_sees(server: Served, files: list[Path]) -> None:
    answer = server.client.post(
        "/api/predict?gradcam=true", files={"file": files[2].read_bytes()}
    ).json()["results"][0]
    with opened(server.url) as page:
        page.locator("#pick").set_input_files(files[2])
        answered(page, 1)
        canvas = page.locator(".result canvas")
        assert not canvas.is_visible()
        page.get_by_role("switch", name="Where it looked").check()
        assert canvas.is_visible()
        assert page.locator("#legend").is_visible()
        photo, seen = (page.locator(f".result {what}").bounding_box() for what in ("img", "canvas"))
        assert photo["width"] / photo["height"] == pytest.approx(150 / 96, rel=0.02)
        box = answer["seen"]
        for side, whole in (("width", "width"), ("height", "height")):
            assert seen[side] / photo[whole] == pytest.approx(box[side], abs=0.01)
        assert (seen["x"] - photo["x"]) / photo["width"] == pytest.approx(box["left"], abs=0.01)
        assert (seen["y"] - photo["y"]) / photo["height"] == pytest.approx(box["top"], abs=0.01)
        # As strong as the answer says, at each place.
        strengths = canvas.evaluate(
            "(c) => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
            ".filter((_, i) => i % 4 === 3).map((a) => a / 190)"
        )
        assert strengths == pytest.approx(answer["gradcam"]["values"], abs=0.01)
        page.get_by_role("switch").uncheck()
        assert not canvas.is_visible()


def test_everything_works_by_keyboard(server: Served, files: list[Path]) -> None:
    with opened(server.url) as page:
        page.locator("#examples button").nth(4).wait_for()
        seen = []
        for _ in range(30):
            page.keyboard.press("Tab")
            name = page.evaluate(
                "(document.activeElement.id || document.activeElement.className"
                " || document.activeElement.firstElementChild?.alt || '').trim()"
            )
            if name in seen:
                break
            seen.append(name)
            # What has the focus shows it: itself or the button that it lies over.
            outline = page.evaluate(
                "[document.activeElement, document.activeElement.parentElement]"
                ".map((e) => parseFloat(getComputedStyle(e).outlineWidth) *"
                " (getComputedStyle(e).outlineStyle !== 'none'))"
            )
            assert max(outline) >= 1, name
        assert seen[:2] == ["skip", "pick"]
        assert sum(name.startswith("Try a photo of ") for name in seen) == 5
        assert "gradcam" in seen

        # An example by Enter, Grad-CAM by Space, removed by Enter; the focus is never lost.
        page.locator("#examples button").first.focus()
        page.keyboard.press("Enter")
        answered(page, 1)
        assert "an example of" in page.locator(".result .path").inner_text()
        page.locator("#gradcam").focus()
        page.keyboard.press("Space")
        assert page.locator(".result canvas").is_visible()
        page.locator(".result .remove").focus()
        page.keyboard.press("Enter")
        assert page.locator(".result").count() == 0
        assert page.evaluate("document.activeElement.id") == "pick"

        # A picture from the clipboard.
        page.evaluate(
            """(content) => {
          const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
          const pasted = new DataTransfer();
          pasted.items.add(new File([bytes], "image.png", { type: "image/png" }));
          document.dispatchEvent(
            new ClipboardEvent("paste", { clipboardData: pasted, bubbles: true }));
        }""",
            base64.b64encode(files[2].read_bytes()).decode(),
        )
        answered(page, 1)
        assert "image.png" in page.locator(".result .path").inner_text()


def test_what_a_screen_reader_finds(server: Served, files: list[Path]) -> None:
    with opened(server.url) as page:
        page.locator("#pick").set_input_files(files[0])
        answered(page, 1)
        for picture in page.locator("img:visible").all():
            assert picture.get_attribute("alt")
        for role, name in (("switch", "Where it looked"), ("log", ""), ("heading", "Results")):
            assert page.get_by_role(role, name=name).count() >= 1
        assert page.get_by_label("Choose photos").count() == 1
        # Every button and field has a name of its own.
        names = page.locator("button:visible, input:visible").evaluate_all(
            "(all) => all.map((e) => e.getAttribute('aria-label') || e.textContent.trim()"
            " || e.querySelector('img')?.alt || e.labels?.[0]?.textContent.trim())"
        )
        assert all(names)
        levels = page.locator("h1, h2, h3").evaluate_all("(all) => all.map((h) => h.tagName)")
        assert levels == ["H1", "H2", "H2", "H3"]
        assert page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_text_can_be_read(server: Served, files: list[Path], width: int, scheme: str) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2, AA), and nothing beyond the page's sides."""
    phone = width == 390
    with opened(server.url, width, scheme, phone, expected=[BAD]) as page:
        page.locator("#pick").set_input_files(files)
        answered(page, 3)
        page.locator("#gradcam").check()
        result = page.evaluate(CONTRASTS)
        assert len(result) > 30
        assert min(result)[0] >= 4.5, min(result)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        # A phone has a camera.
        assert page.get_by_text("Take a photo").is_visible() == phone
        assert page.locator("#camera").get_attribute("capture") == "environment"
        assert page.locator("#pick").get_attribute("accept").startswith("image/jpeg,image/png")
