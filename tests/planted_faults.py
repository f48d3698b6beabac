"""Drawn pets in train/, valid/ and test/ folders, with one of every fault planted among them."""

from __future__ import annotations

import io
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from pets.demo import draw_pets

PER_BREED = 16
SPLITS = (["train"] * 12) + ["valid"] * 2 + ["test"] * 2


class Planted:
    """The folder, and what must be found in it: kind -> groups of paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.expected: dict[str, set[frozenset[str]]] = defaultdict(set)
        self._unused = self._draw()

    def expect(self, kind: str, *paths: Path) -> None:
        self.expected[kind].add(frozenset(p.relative_to(self.root).as_posix() for p in paths))

    def training_photo(self) -> Path:
        """One that nothing has been done to yet."""
        return next(self._unused)

    def _draw(self) -> Iterator[Path]:
        drawn = self.root.parent / "drawn"
        draw_pets(drawn, per_breed=PER_BREED, size=96, seed=0)
        for file in sorted((drawn / "images").glob("*.jpg")):
            breed, _, number = file.stem.rpartition("_")
            place = self.root / SPLITS[int(number) - 1] / breed
            place.mkdir(parents=True, exist_ok=True)
            file.rename(place / file.name)
        shutil.rmtree(drawn)
        # A breed after the other, so that none loses many.
        return iter(sorted(self.root.glob("train/*/*.jpg"), key=lambda f: (f.stem[-2:], f)))


def jpeg(image: Image.Image, **options: int) -> bytes:
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", **options)
    return stream.getvalue()


def plant(root: Path) -> Planted:
    """Every fault once, those of the published data set as often as there."""
    folder = Planted(root)
    _twelve(folder)
    _unreadable(folder)
    _colours(folder)
    _sizes(folder)
    _copies(folder)
    _classes_and_splits(folder)
    _others(folder)
    return folder


def _twelve(folder: Planted) -> None:
    """Four PNG and six GIF behind .jpg, and two JPEGs that decoders read with a complaint."""
    for kind in ["PNG"] * 4 + ["GIF"] * 6:
        file = folder.training_photo()
        image = Image.open(file).convert("RGB")
        image.save(file, kind)
        folder.expect("wrong suffix", file)
    added, lost = folder.training_photo(), folder.training_photo()
    content = added.read_bytes()
    added.write_bytes(content[:-2] + bytes(240) + content[-2:])
    content = lost.read_bytes()
    lost.write_bytes(content[: len(content) * 3 // 4] + content[-2:])
    folder.expect("damaged", added)
    folder.expect("damaged", lost)


def _unreadable(folder: Planted) -> None:
    text, empty, cut, bomb = (folder.training_photo() for _ in range(4))
    text.write_text("<html>404</html>")
    empty.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    Image.new("1", (20_000, 6_000)).save(bomb, "PNG")
    for file in (text, empty, cut, bomb):
        folder.expect("unreadable", file)


def _colours(folder: Planted) -> None:
    def changed(kind: str, image: Image.Image, file: Path, form: str, **options: object) -> None:
        file.unlink()
        file = file.with_suffix(f".{form}")
        image.save(file, **options)
        folder.expect(kind, file)

    def opened(mode: str) -> tuple[Path, Image.Image]:
        file = folder.training_photo()
        return file, Image.open(file).convert(mode)

    file, image = opened("L")
    changed("grey", image, file, "jpg")
    file, image = opened("CMYK")
    changed("CMYK", image, file, "jpg")
    file, image = opened("RGBA")
    image.putpixel((0, 0), (0, 0, 0, 0))
    changed("alpha", image, file, "png")
    file, image = opened("RGBA")  # all opaque: no fault
    file.unlink()
    image.save(file.with_suffix(".png"))
    file, image = opened("RGB")
    changed("animation", image, file, "gif", save_all=True, append_images=[image.rotate(90)])
    file = folder.training_photo()
    Image.new("RGB", (96, 96), "teal").save(file)
    folder.expect("blank", file)


def _sizes(folder: Planted) -> None:
    for kind, size in [
        ("small", (70, 96)), ("tiny", (24, 24)), ("huge", (1_200, 900)), ("elongated", (400, 96)),
    ]:  # fmt: skip
        file = folder.training_photo()
        file.write_bytes(jpeg(Image.open(file).resize(size), quality=92))
        folder.expect(kind, file)


def _copies(folder: Planted) -> None:
    first = folder.training_photo()
    copy = first.with_name("zz_copy.jpg")
    shutil.copy(first, copy)
    folder.expect("duplicates", first, copy)

    source = folder.training_photo()
    leak = folder.root / "test" / source.parent.name / "leak.jpg"
    shutil.copy(source, leak)
    folder.expect("leak", source, leak)

    source = folder.training_photo()
    other = next(p for p in sorted(source.parent.parent.iterdir()) if p != source.parent)
    shutil.copy(source, other / "conflict.jpg")
    folder.expect("conflict", source, other / "conflict.jpg")

    source = folder.training_photo()
    image = Image.open(source)
    turned, pale = source.with_name("zz_mirrored.jpg"), source.with_name("aa_pale.jpg")
    turned.write_bytes(jpeg(ImageOps.mirror(image), quality=60))
    smaller = ImageEnhance.Brightness(image).enhance(1.1).resize((86, 86))
    pale.write_bytes(jpeg(smaller, quality=60))
    folder.expect("near duplicates", source, turned, pale)

    source = folder.training_photo()
    leak = folder.root / "valid" / source.parent.name / "near_leak.jpg"
    leak.write_bytes(jpeg(Image.open(source).resize((82, 82))))
    folder.expect("near leak", source, leak)

    source = folder.training_photo()
    other = next(p for p in sorted(source.parent.parent.iterdir()) if p != source.parent)
    (other / "near_conflict.jpg").write_bytes(jpeg(Image.open(source), quality=25))
    folder.expect("near conflict", source, other / "near_conflict.jpg")


def _classes_and_splits(folder: Planted) -> None:
    rare = [folder.training_photo() for _ in range(3)]
    place = folder.root / "train/rare"
    place.mkdir()
    folder.expect("tiny class", *(file.rename(place / file.name) for file in rare))
    folder.expected["absent class"] = {frozenset()}  # of valid and test: rare

    bare = folder.root / "no_label.jpg"
    folder.training_photo().rename(bare)
    folder.expect("unlabelled", bare)
    (folder.root / "spare/dogs").mkdir(parents=True)
    spare = folder.root / "spare/dogs/1.jpg"
    folder.training_photo().rename(spare)
    folder.expect("no split", spare)


def _others(folder: Planted) -> None:
    notes, thumbs = folder.root / "notes.txt", folder.root / "train/Thumbs.db"
    notes.write_text("not a photo")
    thumbs.write_bytes(b"\xd0\xcf\x11\xe0")
    strange = folder.root / "train/photo.dat"
    folder.training_photo().rename(strange)
    hidden = folder.root / "train/.hidden.jpg"
    folder.training_photo().rename(hidden)
    folder.expect("not a photo", notes, thumbs, strange)
    folder.expect("not a photo", hidden)
    folder.expect("left out", strange)
    link = folder.root / "train/nowhere.jpg"
    link.symlink_to("gone.jpg")
    folder.expect("missing", link)
