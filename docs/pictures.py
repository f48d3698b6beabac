"""Make the pictures of README and docs anew: `make pictures`.

Those of drawn pets show runs that are trained here, in some ten minutes on two cores. Those of real
photos (`REAL`) need a folder of them in Oxford's layout, `make pictures REAL=folder`; without it
they stay as they are. What was trained is used again: remove build/pictures to begin anew. Numbers
in the text beside a picture are not changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from pets.demo import BREEDS, draw_pets
from tests.integration.browser import opened
from tests.integration.serving import served

DOCS = Path(__file__).resolve().parent
WORK = DOCS.parent / "build/pictures"
DRAWN = WORK / "drawn"
REAL = ("race.png", "curve.png", "not_sure.png")
MAKERS: dict[str, Callable[..., None]] = {}  # by the picture's name; they get the file to write
# Of docs/compare.md.
RELEASED = (
    "data.size=128", "plan.stages.head.epochs=2", "plan.stages.body.epochs=3",
    "model/head=batch_norm", "seed=2",
)  # fmt: skip
CANDIDATE = ("data.size=128", "plan=frozen4", "plan.stages.head.epochs=1", "seed=3")


def main() -> None:
    """Make the pictures that are named, or all that can be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", choices=[*MAKERS, []])
    parser.add_argument("--real", type=Path, help="a folder of photos in Oxford's layout")
    asked = parser.parse_args()
    os.environ["PETS_CACHE"] = str(WORK / "cache")  # looks at these test photos alone are counted
    WORK.mkdir(parents=True, exist_ok=True)
    for name in asked.names or MAKERS:
        if name not in REAL:
            MAKERS[name](DOCS / name)
        elif asked.real:
            MAKERS[name](DOCS / name, asked.real.resolve())
        print(DOCS / name if asked.real or name not in REAL else f"{name}: needs --real")


def picture(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return lambda make: MAKERS.setdefault(name, make)


def pets(name: str, *args: str) -> Path:
    """Run a command in a folder of its own below `WORK`, unless that was done; return it."""
    folder, made = WORK / name, WORK / f"{name}.part"
    if not folder.exists():
        drawn_pets()
        shutil.rmtree(made, ignore_errors=True)
        command = [sys.executable, "-m", "pets", *args, f"hydra.run.dir={made.name}"]
        code = subprocess.run(command, cwd=WORK, check=False).returncode
        if code not in (0, 3):  # pets compare: 3 if the new run is worse
            raise SystemExit(f"{name}: ended with {code}")
        made.rename(folder)
    return folder


def trained(name: str = "demo", *args: str) -> Path:
    return pets(name, "train", "experiment=quickstart", "data.root=drawn", *args)


def drawn_pets() -> Path:
    if not DRAWN.exists():
        draw_pets(DRAWN)
    return DRAWN / "images"


def shot(page: Any, out: Path, first: str = "body", last: str = "body", most: int = 2000) -> None:
    """From the top of one element to the end of another, as wide as the window, `most` high."""
    top, end = (page.locator(place).first.bounding_box() for place in (first, last))
    start = max(top["y"] - 20, 0)
    height = min(end["y"] + end["height"] + 10 - start, most)
    clip = {"x": 0, "y": start, "width": page.viewport_size["width"], "height": height}
    page.screenshot(path=out, type="jpeg", quality=85, full_page=True, clip=clip)


@picture("demo-pets.jpg")
def demo_pets(out: Path) -> None:
    sheet = Image.new("RGB", (1000, 400))
    for place, breed in enumerate(BREEDS):
        photo = Image.open(drawn_pets() / f"{breed.name}_1.jpg").resize((200, 200))
        sheet.paste(photo, (place % 5 * 200, place // 5 * 200))
    sheet.save(out, quality=88)


@picture("report-confusions.jpg")
def confusions(out: Path) -> None:
    with opened(trained() / "report.html", 1180) as page:
        shot(page, out, "#matrix h2", "#pairs .card")


@picture("report-top-losses.jpg")
def top_losses(out: Path) -> None:
    with opened(trained() / "report.html", 1180, "dark") as page:
        shot(page, out, "#losses h2", "#losses .card:nth-child(6)")


@picture("compare.jpg")
def comparison(out: Path) -> None:
    runs = [trained("released", *RELEASED).name, trained("candidate", *CANDIDATE).name]
    with opened(pets("compare", "compare", *runs) / "compare.html", 1100) as page:
        shot(page, out, "header", "#lost .card:nth-child(2)")


@picture("lr-finder.png")
def lr_finder(out: Path) -> None:
    folder = pets("finder", "find-lr", "data.root=drawn", "model=efficientnet_lite0")
    (made,) = (folder / "lr_finder").glob("*.png")
    shutil.copy(made, out)


def unlabelled() -> dict[str, str]:
    """Other drawn pets in `new`, and their breeds, which neither name nor order tells."""
    if not (WORK / "others").exists():
        draw_pets(WORK / "others", per_breed=8, seed=1)
    (WORK / "new").mkdir(exist_ok=True)
    breeds = {}
    files = sorted((WORK / "others/images").iterdir(), key=lambda file: file.stem[::-1])
    for number, file in enumerate(files):
        name = f"IMG_{number:04}.jpg"
        shutil.copy(file, WORK / "new" / name)
        breeds[name] = file.stem.rpartition("_")[0].replace("_", " ")
    return breeds


@picture("serve.jpg")
def serve_page(out: Path) -> None:
    with served(trained(), WORK) as server, opened(server.url, 880, "dark") as page:
        page.locator("#pick").set_input_files(WORK / "new" / next(iter(unlabelled())))
        page.locator(".result:not(.waiting)").wait_for()
        page.locator("#gradcam").check()
        shot(page, out)


@picture("label.jpg")
def label_page(out: Path) -> None:
    # 50 photos to learn from.
    run, breeds = trained("few", "data.test_pct=0.74", "data.batch_size=16"), unlabelled()
    shutil.rmtree(WORK / "labels", ignore_errors=True)
    args = ("data.root=new", "out=labels/labels.csv")
    with (
        served(run, WORK, *args, command="label") as server,
        opened(server.url) as page,
    ):
        for _ in range(40):
            page.locator("#classes .best").wait_for()
            breed = page.locator("#classes button", has_text=breeds[page.inner_text("#path")])
            (breed if breed.count() else page.locator("#skip")).click()
            page.wait_for_timeout(700)
        page.wait_for_timeout(3000)  # until the last head was fitted
        page.locator("#about").evaluate("(e) => { e.textContent = 'few · new' }")  # no path
        shot(page, out, most=860)


@picture("race.png")
@picture("curve.png")
def probed(out: Path, real: Path) -> None:
    args = ["data=oxford_pets", f"data.root={real}", "data.valid_pct=0.25"]
    if out.stem == "race":
        names = ",".join(f"efficientnet_lite{size}" for size in range(3))
        args += [f"models=[{names}]", "larger=true"]
    shutil.copy(pets(out.stem, out.stem, *args) / out.name, out)


@picture("not_sure.png")
def not_sure(out: Path, real: Path) -> None:
    script = DOCS.parent / "bench/coverage.py"
    args = (f"--data={real}", f"--other={drawn_pets()}", f"--work={WORK}")
    subprocess.run([sys.executable, str(script), *args], check=True)
    shutil.copy(WORK / out.name, out)


if __name__ == "__main__":
    main()
