"""The photos of `source`: which ones, in which order, from where."""

import io
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from PIL import Image

from pets.cli.arguments import to_overrides
from pets.data.diagnostics import Diagnostics
from pets.data.discovery import find_photos
from pets.data.images import UnreadableImage, open_rgb
from pets.errors import DataError
from pets.prediction.remote import is_remote, open_remote
from pets.prediction.sources import find_source
from tests.conftest import composed

TREE = (
    "b/2.jpg", "b/10.PNG", "b/.hidden.jpg", "b/notes.md", "b/deep/er/1.jpg", "a.jpg",
    "b.jpg", ".secret/1.jpg", "c[1]/x.jpg",
)  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in TREE:
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), "red").save(file, "PNG")
    (tmp_path / "photos/b/loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/gone.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "photos/pipe.jpg")
    return tmp_path


def found(source: str) -> list[str]:
    return [file.removeprefix("photos/") for file in find_source(source).files]


def test_a_folder_is_walked_in_the_order_of_its_names(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [
        ".secret/1.jpg", "a.jpg", "b/.hidden.jpg", "b/10.PNG", "b/2.jpg", "b/deep/er/1.jpg",
        "b.jpg", "c[1]/x.jpg", "gone.jpg",
    ]  # fmt: skip
    assert found("photos") == found("photos/") == expected
    monkeypatch.chdir(tree / "photos")
    assert find_source(".").files == expected


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("photos/*.jpg", ["a.jpg", "b.jpg", "gone.jpg", "pipe.jpg"]),
        ("photos/**/*.jpg", ["a.jpg", "b/2.jpg", "b/deep/er/1.jpg", "b.jpg", "c[1]/x.jpg",
                             "gone.jpg", "pipe.jpg"]),
        ("photos/**/**/er/**/*.jpg", ["b/deep/er/1.jpg"]),
        ("photos/b/**", ["b/10.PNG", "b/2.jpg", "b/deep/er/1.jpg", "b/notes.md"]),
        ("photos/b/.*.jpg", ["b/.hidden.jpg"]),
        ("photos/b/loop/[ab].jpg", ["b/loop/a.jpg", "b/loop/b.jpg"]),
        ("photos/?/loop/a.jpg", ["b/loop/a.jpg"]),
        ("photos/c[1]", ["c[1]/x.jpg"]),  # a folder of this name comes first
    ],
)  # fmt: skip
def test_globs(tree: Path, glob: str, expected: list[str]) -> None:
    assert found(glob) == [name for name in expected if name != "pipe.jpg"]
    whole = f"{tree}/{glob}"
    assert find_source(whole).files == [f"{tree}/{file}" for file in find_source(glob).files]
    (word,) = to_overrides("predict", [f"source={glob}"])
    assert composed("run=x", word, name="predict").source == glob


@pytest.mark.parametrize(
    "name", ["a b.jpg", "it's=1.jpg", "(1),{2}.jpg", "x;y&z.jpg", "日.jpg", "12", "a,b"]
)
def test_a_photo_of_any_name_can_be_given(tmp_path: Path, name: str) -> None:
    args = to_overrides("predict", ["run=x", f"source={name}", f"out={name}/", "--cfg", "job"])
    assert args[:2] == ["--cfg", "job"]  # Hydra takes flags in front, not among overrides
    config = composed(*args[2:], name="predict")
    assert (config.source, config.out) == (name, f"{name}/")
    for word in ("out=null", "source='a b'", "out=${run}/p.csv", "run=a b"):
        assert to_overrides("predict", [word]) == [word]
    assert to_overrides("predict", ["-m", "source=a,b"]) == ["-m", "source=a,b"]


def test_lists(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "a.jpg\r\n\nphotos/b.jpg\nmemory://x/y.jpg\n"
    (tree / "photos/list.txt").write_bytes(lines.encode("utf-8-sig"))
    source = find_source("photos/list.txt")
    assert source.name == "list"
    assert source.files == ["photos/a.jpg", "photos/b.jpg", "memory://x/y.jpg"]
    # Lines are file names, without comments or quoting.
    (tree / "odd.txt").write_bytes(b"#1.jpg\n b.jpg \n" + "ü.jpg".encode("latin-1"))
    assert find_source("odd.txt").files == ["#1.jpg", " b.jpg ", "\udcfc.jpg"]
    (tree / "nul.txt").write_bytes(b"a.jpg\0b.jpg\0")
    with pytest.raises(DataError, match=r"source=nul\.txt: has NUL bytes; .*without -print0"):
        find_source("nul.txt")
    (tree / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match="the list is empty"):
        find_source("empty.txt")

    def given(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    given(b"photos/a.jpg\n\nphotos/b.jpg")
    source = find_source("-")
    assert source.files == (["photos/a.jpg", "photos/b.jpg"])
    given(b"\n")
    with pytest.raises(DataError, match="source=-: the list is empty"):
        find_source("-")
    monkeypatch.setenv("RANK", "1")
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "1"), ("MASTER_ADDR", "h"),
                        ("MASTER_PORT", "1")):  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=r"source=-: only one of 2 processes .* \.txt file"):
        find_source("-")


@pytest.fixture
def memory() -> Iterator[str]:
    files = fsspec.filesystem("memory")
    for name in ("2.jpg", "1/a.jpg", "1/notes.md"):
        files.pipe(f"/pets-tests/{name}", png())
    yield "memory://pets-tests"
    files.rm("/pets-tests", recursive=True)


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (2, 3), (1, 2, 3)).save(content, "PNG")
    return content.getvalue()


def test_remote_sources_are_walked_and_read_like_local_ones(tmp_path: Path, memory: str) -> None:
    archive = tmp_path / "my.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as into:
        for name in ("cats/2.jpg", "cats/1/a.jpg", "cats/1/notes.md", "cats/1/cut.png"):
            into.writestr(name, png()[:45] if "cut" in name else png())
    inside = f"zip://cats::{archive}"
    for source, expected in (
        (memory, [f"{memory}/1/a.jpg", f"{memory}/2.jpg"]),
        (f"{memory}/", [f"{memory}/1/a.jpg", f"{memory}/2.jpg"]),
        (f"{memory}/**/*.jpg", [f"{memory}/1/a.jpg", f"{memory}/2.jpg"]),
        (f"{memory}/2.jpg", [f"{memory}/2.jpg"]),
        (inside, [f"zip://cats/{n}::{archive}" for n in ("1/a.jpg", "1/cut.png", "2.jpg")]),
        (f"zip://*/?.jpg::{archive}", [f"zip://cats/2.jpg::{archive}"]),
    ):
        photos = find_source(source).files
        assert photos == expected
        assert open_rgb(photos[0], open_remote).getpixel((1, 1)) == (1, 2, 3)
    assert find_source(inside).name == "cats"
    assert find_source(f"zip://::{archive}").name == "my"
    with pytest.raises(UnreadableImage, match=r"cut\.png::.*my\.zip: cannot be read as an image"):
        open_rgb(f"zip://cats/1/cut.png::{archive}", open_remote)
    with pytest.raises(UnreadableImage, match=r"memory://pets-tests/no\.jpg: no such photo"):
        open_rgb(f"{memory}/no.jpg", open_remote)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("nowhere", r"source=nowhere: no such photo, folder or list"),
        ("no/*.jpg", r"source=no/\*\.jpg: no file matches"),
        ("memory://no/such.jpg", r"source=memory://no/such\.jpg: no such photo"),
        ("strange://x/y.jpg", r"strange://x/y\.jpg: cannot be read \(.*not known: strange"),
        ("zip://x.jpg::no.zip", r"zip://x\.jpg::no\.zip: cannot be read \(No such file"),
    ],
)
def test_invalid_sources_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=line):
        find_source(source)


def test_non_regular_files_with_photo_names_are_skipped_and_counted(tree: Path) -> None:
    """A photo in a folder with such a name is found."""
    (tree / "photos/null.jpg").symlink_to("/dev/null")
    (tree / "photos/loop.jpg").symlink_to("loop.jpg")
    (tree / "photos/folder.jpg").mkdir()
    (tree / "photos/folder.jpg/z.jpg").write_bytes(png())
    source = find_source("photos")
    names = [name.removeprefix("photos/") for name in source.files]
    assert "folder.jpg/z.jpg" in names
    assert "loop.jpg" in names  # its row says that it cannot be read
    assert not {"pipe.jpg", "null.jpg"} & set(names)
    left_out = "1 .md, 2 no regular file"
    assert source.left_out_summary == left_out
    pipes = find_source("photos/*p*.jpg")
    assert "photos/pipe.jpg" not in pipes.files
    assert pipes.left_out_summary == "1 no regular file"
    for name in ("photos/pipe.jpg", "photos/null.jpg"):
        with pytest.raises(DataError, match=rf"^source={name}: is not a regular file but a pipe, "):
            find_source(name)


def test_an_unreadable_folder_is_listed_instead_of_its_photos(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it gets a row with an error."""
    scandir = os.scandir

    def closed(folder: str) -> Any:
        if folder == "photos/b":
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    assert find_source("photos").files[:3] == ["photos/.secret/1.jpg", "photos/a.jpg", "photos/b"]
    with pytest.raises(UnreadableImage, match=r"^photos: cannot be read \(Is a directory\)$"):
        open_rgb("photos")


def test_a_protocol_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(DataError, match=r"gs://bucket/photos: the package that reads it .*gcsfs"):
        find_source("gs://bucket/photos")


def test_a_zip_file_is_a_folder_and_what_is_left_out_is_counted(tree: Path) -> None:
    for name in ("photos/notes.TXT", "photos/b/plain", "photos/b/._1.jpg", "photos/.DS_Store"):
        (tree / name).write_bytes(b"x")
    source = find_source("photos")
    assert source.left_out == {"": 1, ".txt": 1, ".md": 1, "no regular file": 1}
    assert "photos/b/._1.jpg" not in source.files
    assert source.left_out_summary == "1 no suffix, 1 .md, 1 .txt, 1 no regular file"
    with zipfile.ZipFile(tree / "my.ZIP", "w") as into:
        for name in ("cats/1.jpg", "cats/1.txt", "__MACOSX/cats/._1.jpg"):
            into.writestr(name, png())
    source = find_source("my.ZIP")
    assert (source.files, source.name) == (["zip://cats/1.jpg::my.ZIP"], "my")
    assert source.left_out_summary == "1 .txt"
    assert open_rgb(source.files[0], open_remote).size == (2, 3)
    (tree / "bad.zip").write_bytes(b"PK no zip")
    with pytest.raises(DataError, match=r"bad\.zip: cannot be read \(BadZipFile"):
        find_source("bad.zip")
    with zipfile.ZipFile(tree / "empty.zip", "w"):
        pass
    with pytest.raises(DataError, match=r"^source=empty\.zip: holds no images$"):
        find_source("empty.zip")


def test_links_to_folders_are_followed_once_and_system_folders_are_not(tree: Path) -> None:
    """Same rules as for training data."""
    for name in ("away/x.jpg", "away/deep/y.jpg", "photos/@eaDir/t.jpg", "photos/run/bad.jpg"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(png())
    for name in ("status.json", "config.yaml"):
        (tree / "photos/run" / name).write_text("x")
    before = found("photos")
    assert not {"@eaDir/t.jpg", "run/bad.jpg"} & set(before)
    (tree / "photos/linked").symlink_to(tree / "away")
    (tree / "away/back").symlink_to(tree / "photos")
    (tree / "away/again").symlink_to(tree / "away/deep")
    (tree / "photos/a_link_up").symlink_to(tree)
    (tree / "photos/no_suffix").symlink_to("nowhere")
    now = found("photos")
    assert [name for name in now if name not in before] == ["linked/deep/y.jpg", "linked/x.jpg"]
    assert len(now) == len(set(now)) == len(before) + 2
    left_out = "1 .md, 1 broken links, 1 folders of the system, 1 folders that pets wrote"
    assert find_source("photos").left_out_summary == f"{left_out}, 1 no regular file"


def test_a_link_to_the_parent_of_a_linked_folder_is_followed(tmp_path: Path) -> None:
    """As for training data: only the linked folder itself was read already."""
    for name in ("bird", "cat", "dog"):
        (tmp_path / "store" / name).mkdir(parents=True)
        (tmp_path / "store" / name / "1.jpg").write_bytes(png())
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/bird").symlink_to(tmp_path / "store/bird")
    (tmp_path / "photos/zall").symlink_to(tmp_path / "store")
    names = ["bird/1.jpg", "zall/cat/1.jpg", "zall/dog/1.jpg"]
    diagnostics = Diagnostics()
    assert find_photos(tmp_path / "photos", ".", diagnostics) == names
    assert find_source(str(tmp_path / "photos")).files == [f"{tmp_path}/photos/{n}" for n in names]


def test_local_names_with_the_signs_of_addresses(tree: Path) -> None:
    """`::` chains addresses for fsspec; where such a file or folder is there, it is a name."""
    names = [
        "C++::std/a.jpg",
        "a:b/c.jpg",
        "s3:/bucket/d.jpg",
        "shots/10::22::31.jpg",
        "zip::x.jpg",
    ]
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(png())
        assert find_source(name).files == [name]
        assert open_rgb(name, open_remote if is_remote(name) else None).size == (2, 3)
    assert find_source("C++::std").files == find_source("C++::std/*.jpg").files == [names[0]]
    assert find_source("shots").files == find_source("shots/10::*.jpg").files == [names[3]]
    (tree / "shots/list.txt").write_text("10::22::31.jpg\nshots/10::22::31.jpg\n")
    assert find_source("shots/list.txt").files == [names[3]] * 2
    assert is_remote("s3://bucket/e.jpg")
    assert is_remote("zip://*/*.jpg::photos.zip")
    assert is_remote("simplecache::memory://x.jpg")
    with pytest.raises(DataError, match=r"source=shots/9::1\.jpg: no such photo, folder or list"):
        find_source("shots/9::1.jpg")
