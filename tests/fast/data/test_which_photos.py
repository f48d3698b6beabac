"""Which photos a folder, a list or a table selects, and how the others are reported."""

import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from pets.config import DataConfig, VerifyConfig
from pets.config.validation import typed
from pets.data.collect import collect_photos
from pets.data.name_matching import PhotoNames
from pets.data.photos import Photos
from pets.errors import ConfigError, DataError
from pets.verify.verification import verify
from tests.conftest import composed, train_config

NFC, NFD = (unicodedata.normalize(form, "bébé") for form in ("NFC", "NFD"))
Made = Callable[..., Path]


@pytest.fixture
def made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Made:
    """Makes the given number of distinct photos in each folder: `a__b=3` or {"a/b": 3}."""
    caplog.set_level(logging.INFO)
    count = 0

    def make(folders: dict[str, int]) -> Path:
        nonlocal count
        for folder, photos in folders.items():
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            for n in range(photos):
                count += 1
                colour = (count % 256, count * 91 % 256, count * 37 % 256)
                Image.new("RGB", (8, 6), colour).save(tmp_path / folder / f"{n}.jpg")
        return tmp_path

    return make


def config(root: Path, *args: str, kind: str = "folder") -> DataConfig:
    return train_config(f"data={kind}", f"data.root={root}", *args).data


def collected(root: Path, *args: str, kind: str = "folder") -> Photos:
    return collect_photos(config(root, *args, kind=kind))


def labels(photos: Photos) -> dict[str, int]:
    return dict(Counter(photo.label for photo in photos.rows))


def sizes(photos: Photos) -> list[int]:
    return [len(photos.of(split)) for split in ("train", "valid", "test")]


def pets_in(*folders: str, each: int = 4) -> dict[str, int]:
    return {f"{folder}/{label}": each for folder in folders for label in ("cat", "dog")}


def mistake(root: Path, *args: str, kind: str = "folder") -> str:
    with pytest.raises((DataError, ConfigError)) as caught:
        collected(root, *args, kind=kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [("train", "eval", "holdout"), ("Train", "DEV", "TESTING"), ("training", "val", "test"),
     ("trainval", "validation", "holdout"), ("train", "valid", "test")],
)  # fmt: skip
def test_names_of_split_folders(made: Made, train: str, valid: str, test: str) -> None:
    root = made(pets_in(train) | pets_in(valid, each=2) | pets_in(test, each=3))
    photos = collected(root)
    assert sizes(photos) == [8, 4, 6]
    assert labels(photos) == {"cat": 9, "dog": 9}


def test_a_folder_with_the_classes_of_train_has_to_be_named(made: Made) -> None:
    root = made(pets_in("train", "checks"))
    line = mistake(root)
    assert line.startswith(f"data.split=auto: 8 photos of {root / 'checks'} lie in no train, valid")
    assert '"data.split_folders={unused: checks}"' in line
    assert sizes(collected(root, "data.split_folders={valid: checks}")) == [8, 8, 0]
    assert sizes(collected(root, "data.split_folders={unused: checks}")) == [6, 2, 0]
    assert labels(collected(root, "data.split=random")) == {"cat": 8, "dog": 8}
    args = ["data=folder", f"data.root={root}", "near=null"]
    result = verify(typed(VerifyConfig, composed(*args, name="verify")))
    outside = [f for f in result.findings if f.kind == "no split"]
    assert [(f.severity, len(f.photos), f.exclude) for f in outside] == [("error", 8, frozenset())]


def test_two_folders_of_one_split(made: Made) -> None:
    root = made(pets_in("train", "val", "valid"))
    assert "val and valid in" in (line := mistake(root))
    assert '"data.split_folders={valid: [val, valid]}"' in line
    assert sizes(collected(root, "data.split_folders={valid: [val, valid]}")) == [8, 16, 0]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ("data.split_folders={vald: x}", r"expected \{train: <folder>, valid: <folder>\}, a list"),
        (
            "data.split_folders={valid: x, test: x}",
            "x is named twice; expected one split per folder",
        ),
        ("data.split_folders={valid: a/b}", "a/b is not a folder name"),
        ("data.split_folders={valid: gone}", "has no folder gone; it has cat, dog"),
        ("data.class_folder=second", "expected 'first' or 'last'"),
    ],
)
def test_invalid_split_folders_are_one_line(made: Made, args: str, line: str) -> None:
    root = made({"cat": 4, "dog": 4})
    assert re.search(line, mistake(root, args))


def test_train_alone_and_a_class_called_train(made: Made) -> None:
    root = made({f"alone/{name}": 10 for name in pets_in("train")})
    photos = collected(root / "alone")
    assert (sizes(photos), labels(photos)) == ([16, 4, 0], {"cat": 10, "dog": 10})
    root = made({"vehicles/train": 4, "vehicles/bus": 4})
    assert labels(collected(root / "vehicles")) == {"bus": 4, "train": 4}


def test_photos_without_a_class_folder(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    root = made(pets_in("train", "valid", "sample/train") | {"test": 5, "test1": 3})
    photos = collected(root)
    assert (sizes(photos), photos.classes) == ([8, 8, 0], ["cat", "dog"])
    for folder, count in (("test", 5), ("test1", 3), ("sample", 8)):
        assert f"left out {count} photos of {root / folder}" in caplog.text
    made({"train": 2})
    assert "no label folder around 2 of 26 photos: train/0.jpg, train/1.jpg" in mistake(root)
    args = ["data=folder", f"data.root={root}", "near=null"]
    result = verify(typed(VerifyConfig, composed(*args, name="verify")))
    proposed = {path for f in result.findings if f.kind == "unlabelled" for path in f.exclude}
    assert proposed == {"train/0.jpg", "train/1.jpg"}


def test_a_flat_folder_without_labels_is_told_what_to_do(made: Made) -> None:
    line = mistake(made({".": 3}))
    assert "no label folder around 3 of 3 photos: 0.jpg, 1.jpg, 2.jpg; expected a folder" in line
    assert "data.label_from=filename " in line
    assert "\"data.label_regex='^(.+)_\\d+'\"; for a table: data=table data.table=<file>" in line


def test_the_class_is_the_first_folder(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    root = made({"cat": 4, "dog": 4, "cat/crops": 3})
    assert labels(collected(root)) == {"cat": 7, "dog": 4}
    assert "3 photos are in folders inside a class's folder" in caplog.text
    assert labels(collected(root, "data.class_folder=last")) == {"cat": 4, "crops": 3, "dog": 4}


@pytest.mark.parametrize(
    ("folders", "fix"),
    [
        (pets_in("test_set", "training_set"),
         'if the first are splits, "data.split_folders={train: <folder>, test: <folder>}"'),
        (pets_in("photos"), "data.class_folder=first (photos)"),
        ({"cats/Birman": 4, "dogs/pug": 4}, "data.class_folder=last (Birman, pug)"),
    ],
)  # fmt: skip
def test_class_folder_is_required_if_all_photos_are_nested(
    made: Made, folders: dict[str, int], fix: str
) -> None:
    assert fix in mistake(made(folders))


def test_links_are_followed_once(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    root = made({"photos/cat": 4, "photos/dog": 4, "store/bird": 4})
    links = {
        "bird": root / "store/bird", "kitten": root / "photos/cat", "dog/loop": root / "photos",
        "up": root, "self": Path("self"),
    }  # fmt: skip
    for link, target in links.items():
        (root / "photos" / link).symlink_to(target)
    assert labels(collected(root / "photos")) == {"bird": 4, "cat": 4, "dog": 4}
    assert "are read already, or to a parent: dog/loop, kitten, up" in caplog.text


def test_folders_of_the_system_and_of_pets(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    system = ("cat/@eaDir/0.jpg", "$RECYCLE.BIN/S-1", "__MACOSX/cat", "lost+found", "#recycle",
              "System Volume Information")  # fmt: skip
    root = made({"cat": 4, "dog": 4, ".trash": 1, "mine/look": 4, "mine/run/lr_finder": 1}
                | dict.fromkeys(system, 2))  # fmt: skip
    for file in ("look/look.log", "run/status.json", "run/config.yaml"):
        (root / "mine" / file).touch()
    photos = collected(root)
    assert labels(photos) == {"cat": 4, "dog": 4}
    assert "left out 6 folders of the system: #recycle, $RECYCLE.BIN, System Volume" in caplog.text
    assert "left out 2 folders that pets wrote: mine/look, mine/run" in caplog.text
    assert "left out 1 hidden files or folders: .trash" in caplog.text


def test_non_regular_files_with_photo_names_are_left_out(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    root = made({"cat": 4, "dog": 4})
    os.mkfifo(root / "cat/pipe.jpg")
    (root / "cat/folder.jpg").mkdir()
    (root / "dog/device.jpg").symlink_to("/dev/zero")
    assert labels(collected(root)) == {"cat": 4, "dog": 4}
    line = "left out 3 files named like photos that are not regular files: cat/folder.jpg, cat/pipe"
    assert line in caplog.text


def oxford(root: Path, breeds: tuple[str, str], line: str, newline: str = "\n") -> Path:
    (root / "images").mkdir()
    (root / "annotations").mkdir()
    names = [f"{breed}_{n}" for breed in breeds for n in range(8)]
    for name in names:
        Image.new("RGB", (8, 6)).save(root / f"images/{name}.jpg")
    for file, which in (("trainval", names[::2]), ("test", names[1::2])):
        text = newline.join(["# a comment", *(line.format(name) for name in which)])
        (root / f"annotations/{file}.txt").write_bytes(("\ufeff" + text).encode())
    return root


@pytest.mark.parametrize("breeds", [("St.Bernard", "pug"), ("Maine Coon", "pug"), ("a 1", "a")])
@pytest.mark.parametrize(
    "line", ["{}", "{} 1 1 1", "{}.jpg", "{}.jpg 1", "images/{}.jpg", "./images/{}", "{}\tx y"]
)
def test_lists_match_photos_in_any_spelling(
    tmp_path: Path, breeds: tuple[str, str], line: str
) -> None:
    root = oxford(tmp_path, breeds, line, "\r\n")
    photos = collected(root, "data.split=official", kind="oxford_pets")
    assert [len(photos.of(s)) for s in ("test",)] == [8]
    assert {p.path for p in photos.of("test")} == {
        f"images/{breed}_{n}.jpg" for breed in breeds for n in (1, 3, 5, 7)
    }


@pytest.mark.parametrize(
    ("photos", "lines", "expected"),
    [
        # A missing photo, never the one whose name begins the same.
        ("pug_0.jpg pug_1.jpg", "pug_0 (2).jpg\npug_1.jpg", "pug_1 !pug_0 (2).jpg"),
        ("pug_0.jpg pug_1.jpg", "pug_0 (2).jpg\npug_1 (2).jpg",
         "!pug_0 (2).jpg !pug_1 (2).jpg"),
        ("pug_0.jpg pug_1.jpg", "pug_0 (2)\npug_1 (2)", "!pug_0 (2) !pug_1 (2)"),
        ("pug_0.jpg pug_1.jpg", "pug_0 copy\npug_1", "pug_1 !pug_0 copy"),
        ("pug_0.jpg pug_1.jpg", "pug_0,2.jpg\npug_1.jpg", "pug_1 !pug_0,2.jpg"),
        ("pug_0.jpg pug_1.jpg", "pug_0 1 1\npug_2 1 1", "pug_0 !pug_2"),
        ("dog.jpg dog_1.jpg", "dog 2 1\ndog_1 1 1", "dog dog_1"),
        # Columns.
        ("pug_0.jpg pug_1.jpg", "pug_0, 1\npug_1, 2", "pug_0 pug_1"),
        ("pug_0.jpg pug_1.jpg", "pug_0.jpg;a b;c\npug_1.jpg;d;e", "pug_0 pug_1"),
        ("pug_0.jpg pug_1.jpg", "pug_0 a\npug_1 b c", "pug_0 pug_1"),
        ("pug_0.jpg pug_1.jpg", "pug_0.jpg m/0.png\npug_1.jpg m/1.png", "pug_0 pug_1"),
        ("pug_0.jpg pug_1.jpg", "#pug_0 1\npug_1 1", "pug_1"),
        ("a b_0.jpg a.jpg", "a b_0 1 1 1\na 1 1 1", "a b_0 a"),
        ("#1.jpg b.jpg", "#1.jpg\nb.jpg", "#1 b"),
    ],
)  # fmt: skip
def test_a_line_names_its_photo_or_none(
    tmp_path: Path, photos: str, lines: str, expected: str
) -> None:
    paths = [f"{name}.jpg" for name in photos.split(".jpg")[:-1]]
    paths = [path.strip() for path in paths]
    (tmp_path / "list.txt").write_text(lines)
    matches = PhotoNames(paths).match_lines(tmp_path / "list.txt")
    stems = [path.removesuffix(".jpg") for path in matches.photos.values()]
    assert " ".join([*stems, *(f"!{name}" for name in matches.missing)]) == expected


def test_an_ambiguous_name_is_an_error(made: Made, tmp_path: Path) -> None:
    root = made({"images/cat": 4, "images/dog": 4})
    (root / "list.txt").write_text("cat/1.jpg\ncat/2\nimages/dog/1.jpg\ndog/2\ndog/2.jpg\n")
    args = ["data.images=images", "data.photo_list=list.txt", "data.split=random"]
    assert sorted(photo.path for photo in collected(root, *args).rows) == [
        "images/cat/1.jpg", "images/cat/2.jpg", "images/dog/1.jpg", "images/dog/2.jpg",
    ]  # fmt: skip
    (root / "list.txt").write_text("1\n2\n")
    assert (
        "1 may be images/cat/1.jpg or images/dog/1.jpg; give the whole path (2 such names)"
        in mistake(root, *args)
    )
    (root / "images/cat/1.png").write_bytes((root / "images/cat/1.jpg").read_bytes())
    (root / "list.txt").write_text("cat/1 1 1\ndog/1 1 1\n")
    assert "cat/1 may be images/cat/1.jpg or images/cat/1.png" in mistake(root, *args)
    (root / "list.txt").write_bytes("cat/1.jpg\n".encode("utf-16"))
    assert "list.txt: is not UTF-8 text" in mistake(root, *args)


def table(root: Path, text: str, encoding: str = "utf-8") -> None:
    (root / "labels.csv").write_text(text, encoding=encoding)


ROWS = "".join(f"img/{n}.jpg,{'dog' if n % 2 else 'cat'}\n" for n in range(8))


@pytest.mark.parametrize(
    "spelled", ["img/0.jpg", "./img/0.jpg", "img//0.jpg", "x/../img/0.jpg", "img\\0.jpg",
                "img/0", "0", " img/0.jpg ", "{root}/img/0.jpg"],
)  # fmt: skip
def test_a_photo_named_twice_in_a_table(made: Made, spelled: str) -> None:
    root = made({"img": 8})
    spelled = spelled.format(root=root)
    table(root, f"path,label\n{ROWS}{spelled},dog\n")
    line = mistake(root, kind="table")
    assert "names 1 photos twice: img/0.jpg; img/0.jpg is in rows 1 and 9" in line


@pytest.mark.parametrize("path", ["../away/0.jpg", "/etc/hostname", "img/../../away/0.jpg"])
def test_a_table_names_nothing_outside_the_root(made: Made, path: str) -> None:
    root = made({"photos/img": 8, "away": 1}) / "photos"
    table(root, f"path,label\n{ROWS}{path},dog\n")
    line = f"names 1 of 9 photos that are not below {root}: {path}"
    assert line in mistake(root, kind="table")


@pytest.mark.parametrize("images", [".", "img"])
def test_ids_without_suffix(made: Made, images: str) -> None:
    root = made({"img": 8})
    table(root, "path,label\n" + ROWS.replace("img/", "").replace(".jpg", ""))
    photos = collected(root, f"data.images={images}", kind="table")
    assert [(p.path, p.label) for p in photos.rows][:2] == [
        ("img/0.jpg", "cat"),
        ("img/1.jpg", "dog"),
    ]
    made({"img/more": 1})
    if images == "img":  # a path as of there
        assert len(collected(root, "data.images=img", kind="table").rows) == 8
    else:
        line = "0 may be img/0.jpg or img/more/0.jpg; give the whole path"
        assert line in mistake(root, kind="table")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (f"path;label\n{ROWS.replace(',', ';')}", "utf-8"),
        (f"path\tlabel\n{ROWS.replace(',', chr(9))}", "utf-8"),
        (f"path, label\n{ROWS.replace(',', ', ')}", "utf-8"),
        (f"path ,label ,,\n{ROWS}", "utf-8"),
        (f"path,label\r\n{ROWS}", "utf-8-sig"),
    ],
    ids=["semicolons", "tabs", "blanks", "blanks in front of commas", "bom"],
)
def test_tables_of_spreadsheets(made: Made, text: str, encoding: str) -> None:
    root = made({"img": 8})
    table(root, text, encoding)
    assert labels(collected(root, kind="table")) == {"cat": 4, "dog": 4}


@pytest.mark.parametrize(
    ("text", "encoding", "line"),
    [
        (f"path,label\n{ROWS.replace('dog', 'épagneul')}", "latin-1", "save it as CSV in UTF-8"),
        (f"path,label\n{ROWS}", "utf-16", "save it as CSV in UTF-8"),
        (ROWS, "utf-8", "has no column path; its first line names img/0.jpg, cat"),
        (f"path,label\n{ROWS.replace('dog', 'dog,1')}", "utf-8", "line 3 has more cells"),
        (
            "path,label\n" + ROWS.replace("\n", ",x\n"),
            "utf-8",
            "line 2 has more cells than the first",
        ),
        (f"path,label\n{ROWS.replace('dog', '  ')}", "utf-8", "no label for 4 of 8 photos"),
        (f"path,label\n{ROWS.replace('dog', 'cat')}", "utf-8", "one label only (cat)"),
        ("path,label\n", "utf-8", "has no rows"),
        (
            f"path,label,label \n{ROWS.replace('dog', 'dog,cat')}",
            "utf-8",
            "labels.csv: has several columns label; give each column its own name",
        ),
    ],
)
def test_tables_that_cannot_be_used(made: Made, text: str, encoding: str, line: str) -> None:
    root = made({"img": 8})
    table(root, text, encoding)
    assert line in mistake(root, kind="table")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2] * 4, {"1": 4, "2": 4}),
        ([1, None, *[1, 2] * 3], {"1": 4, "2": 3}),
        (pd.Categorical(["a", None, *["a", "b"] * 3]), {"a": 4, "b": 3}),
        ([b"a", b"b"] * 4, {"a": 4, "b": 4}),
        (["01", "1"] * 4, {"01": 4, "1": 4}),
    ],
    ids=["numbers", "missing", "categories", "bytes", "zeros"],
)
def test_labels_of_parquet(made: Made, values: Any, expected: dict[str, int]) -> None:
    root = made({"img": 8})
    frame = pd.DataFrame({"path": [f"img/{n}.jpg" for n in range(8)], "label": values})
    frame.to_parquet(root / "t.parquet")
    args = ["data.table=t.parquet", "data.on_unlabelled=skip"]
    assert labels(collected(root, *args, kind="table")) == expected


def test_a_column_of_splits(made: Made) -> None:
    root = made({"img": 8})
    names = ["Train", "TRAINING", "val", "eval", "TEST ", "holdout", "train", "train"]
    rows = [f"{row},{name}\n" for row, name in zip(ROWS.splitlines(), names, strict=True)]
    args = ["data.split=column", "data.split_column=part"]
    table(root, "path,label,part\n" + "".join(rows))
    assert sizes(collected(root, *args, kind="table")) == [4, 2, 2]
    table(root, "path,label,part\n" + "".join(rows).replace(",val\n", ",\n"))
    assert "expected train, valid or test, found an empty cell for 1 photos: img/2.jpg" in mistake(
        root, *args, kind="table"
    )


def test_accents_match_however_they_are_encoded(made: Made, tmp_path: Path) -> None:
    root = made({f"photos/{NFD}": 4, "photos/dog": 4}) / "photos"
    rows = "".join(f"{NFC}/{n}.jpg,b\ndog/{n}.jpg,d\n" for n in range(4))
    table(root, f"path,label\n{rows}")
    assert labels(collected(root, kind="table")) == {"b": 4, "d": 4}
    (root / "list.txt").write_text(f"{NFC}/1.jpg\n{NFC}/2\ndog/1.jpg\ndog/2.jpg\n")
    assert len(collected(root, "data.photo_list=list.txt").rows) == 4
    file = tmp_path / "rows.csv"
    file.write_text("path,label\ndog/2.jpg,dog\ndog/2.jpg,dog\n")
    assert "names photos twice: dog/2.jpg; expected one" in mistake(root, f"data.relabel={file}")


@pytest.mark.parametrize(
    "pair", [("Cat", "cat"), (NFC, NFD), ("cat.", "cat"), ("c\u200bat", "cat"), ("01", "1"),
             ("Maine_Coon", "maine coon")],
)  # fmt: skip
def test_classes_that_look_the_same(
    made: Made, caplog: pytest.LogCaptureFixture, pair: tuple[str, str]
) -> None:
    root = made({pair[0]: 4, pair[1]: 3, "dog": 4})
    assert len(collected(root).classes) == 3
    first, second = sorted(zip(pair, (4, 3), strict=True))
    line = f"{first[0]!a} ({first[1]} photos) and {second[0]!a} ({second[1]} photos)"
    assert f"classes that look the same: {line}" in caplog.text
    args = ["data=folder", f"data.root={root}", "near=null"]
    result = verify(typed(VerifyConfig, composed(*args, name="verify")))
    assert [f.severity for f in result.findings if f.kind == "same class"] == ["warning"]
