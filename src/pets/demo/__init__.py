"""The demo data set: cartoon cats and dogs, drawn by pets itself, so that no download is needed.

Nothing else in pets imports this package: `conf/data/demo.yaml` references
`pets.demo.draw_pets`, which `pets.data.prepare` calls if the folder does not exist yet. It writes
`images/<breed>_<number>.jpg`, with names like those of the Oxford-IIIT Pet data set.

How a picture is made, from the top:

    __init__.py   draw_pets: all pictures into a folder, by several processes
                  draw_pet: one picture, from a breed and a number; light and grain of a photo
    breeds.py     the ten breeds, two pairs of them hard to tell apart; an animal and its pose
    scenes.py     backgrounds
    bodies.py, heads.py, faces.py, coats.py   the parts of an animal
    shapes.py, canvas.py                      outlines, and drawing them in perspective

Every picture depends only on the seed, the breed and its number. A change of any drawing changes
the data set, and with it every number that was measured on it.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pets.demo.bodies import draw_body
from pets.demo.breeds import BREEDS, Breed, Pet, born, feel
from pets.demo.canvas import SUPERSAMPLE, Brush, Canvas
from pets.demo.heads import draw_head
from pets.demo.scenes import backdrop
from pets.system.orphans import end_with_maker

__all__ = ["BREEDS", "Breed", "draw_pet", "draw_pets"]

README = """\
# Drawn pets

{count} cartoon photos of {breeds} invented breeds of cats and dogs, drawn by the project `pets`
(`pets.demo`), so that it can be tried without a download. There is nothing real in them.

Drawn with seed={seed}, per_breed={per_breed}, size={size} (pixels a side). File names follow the
Oxford-IIIT Pet data set: `<breed>_<number>.jpg`, cats capitalised, dogs in lower case.
"""


def draw_pets(root: Path, per_breed: int = 80, size: int = 288, seed: int = 0) -> None:
    """Draw `per_breed` pictures of every breed as `root/images/<breed>_<number>.jpg`.

    `root` appears only when it is complete.

    Args:
        root: must not exist.
        per_breed: pictures of each breed.
        size: pixels a side.
        seed: the same seed gives the same files.

    Raises:
        FileExistsError: `root` exists already.
    """
    root = Path(root)
    if root.exists():
        raise FileExistsError(f"{root} exists already")
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        (draft / "images").mkdir()
        _draw_all(draft / "images", per_breed, size, seed)
        count, breeds = per_breed * len(BREEDS), len(BREEDS)
        note = README.format(count=count, breeds=breeds, seed=seed, per_breed=per_breed, size=size)
        (draft / "README.md").write_text(note, encoding="utf-8")
        draft.chmod(0o755)  # mkdtemp makes folders that only their owner may read
        draft.replace(root)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _draw_all(folder: Path, per_breed: int, size: int, seed: int) -> None:
    """Draw every picture into `folder`, on all cores if there are enough pictures."""
    tasks = [(breed, number) for breed in range(len(BREEDS)) for number in range(1, per_breed + 1)]
    save = partial(_save, folder=folder, size=size, seed=seed)
    bar = partial(tqdm, total=len(tasks), desc="Drawing pets", unit="picture", disable=None)
    if len(tasks) <= 100:
        for task in bar(tasks):
            save(task)
        return
    with ProcessPoolExecutor(initializer=end_with_maker) as pool:
        for _ in bar(pool.map(save, tasks, chunksize=8)):
            pass


def _save(task: tuple[int, int], folder: Path, size: int, seed: int) -> None:
    breed, number = task
    image = draw_pet(breed, number, size, seed)
    image.save(folder / f"{BREEDS[breed].name}_{number}.jpg", quality=88)


def draw_pet(breed: int, number: int, size: int = 288, seed: int = 0) -> Image.Image:
    """Draw picture `number` of the breed `BREEDS[breed]`, `size` pixels a side.

    Each picture has its own random stream, so it does not depend on pictures drawn before.
    """
    rng = np.random.default_rng([seed, breed, number])
    pet = born(BREEDS[breed], rng)
    return _finish(_draw_animal(pet, rng, size), rng, size)


def _draw_animal(pet: Pet, rng: np.random.Generator, size: int) -> Image.Image:
    """Draw `pet` in a random pose and place, at `SUPERSAMPLE` times `size` pixels."""
    mood = feel(rng)
    side = size * SUPERSAMPLE
    canvas = Canvas(backdrop(rng, size, mood.ground))
    body = Brush(canvas, (mood.x * side, mood.y * side), mood.unit * side, roll=mood.roll)
    nod = (0.12 * math.sin(mood.yaw), -0.1 * math.sin(mood.pitch))
    x, y = body.place(np.array([nod]))[0]
    head = replace(
        body,
        origin=(float(x), float(y)),
        roll=mood.roll + mood.tilt,
        yaw=mood.yaw,
        pitch=mood.pitch,
    )
    chest = draw_body(body, pet, mood, rng)
    draw_head(head, pet, mood, chest, rng)
    return canvas.image


def _finish(image: Image.Image, rng: np.random.Generator, size: int) -> Image.Image:
    """Scale the drawing down and give it the light, the vignette and the grain of a photo."""
    small = image.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=1.5)
    pixels = np.asarray(small, dtype=np.float32)
    warmth = rng.normal(0.0, 0.04)
    light = rng.uniform(0.9, 1.14) * np.array([1 + warmth, 1.0, 1 - 1.3 * warmth])
    across = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    distance = across[:, None] ** 2 + across[None, :] ** 2
    edges = 1.0 - rng.uniform(0.0, 0.12) * distance
    sideways, downwards = rng.uniform(-0.1, 0.1), rng.uniform(-0.06, 0.06)
    slope = 1.0 + sideways * across[None, :] + downwards * across[:, None]
    pixels = pixels * (edges * slope)[..., None] * light.astype(np.float32)
    grain = rng.standard_normal((size, size, 1), dtype=np.float32) * rng.uniform(0.5, 3.0)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
