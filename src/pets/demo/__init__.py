"""The demo data set: cartoon cats and dogs, drawn by pets itself, so that no download is needed.

Nothing else in pets imports this room, and you can leave it alone: `conf/data/demo.yaml` names
`pets.demo.draw_pets`, which `pets.data.prepare` calls if the folder does not exist yet. It writes
`images/<breed>_<number>.jpg`, with names like those of the Oxford-IIIT Pet data set.

How a picture is made, from the top:

    __init__.py   draw_pets: all pictures into a folder, by several processes
    pictures.py   draw_pet: one picture, from a breed and a number; light and grain of a photo
    breeds.py     the ten breeds, two pairs of them hard to tell apart, and a random individual
    moods.py      pose, mood and position of an animal
    scenes.py     backgrounds
    bodies.py, heads.py, faces.py, coats.py   the parts of an animal
    shapes.py, canvas.py                      outlines, and drawing them in perspective

Every picture depends only on the seed, the breed and its number. A change of any drawing changes
the data set, and with it every number that was measured on it.
"""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pets.demo.breeds import BREEDS, Breed
from pets.demo.pictures import draw_pet
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
        note = README.format(
            count=per_breed * len(BREEDS),
            breeds=len(BREEDS),
            seed=seed,
            per_breed=per_breed,
            size=size,
        )
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
