"""`pets verify` on planted faults and on good photos; its table given to `data.exclude`."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import sqlite3
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from pets.config import VerifyConfig
from pets.config.validation import typed
from pets.demo import draw_pets
from pets.errors import PetsError
from pets.system.installation import install
from pets.verify.verification import Verification, verify
from tests.conftest import composed
from tests.integration.browser import CONTRASTS, opened
from tests.integration.conftest import SMALL, Pets
from tests.planted_faults import Planted, jpeg, plant

# Drawn at 96 pixels; rare, the planted class, has three photos, all others eight or more.
WORDS = ("data=folder", "data.size=80", "huge=1000000", "few=5")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    root = tmp_path_factory.mktemp("planted") / "photos"
    root.mkdir()
    return plant(root)


@pytest.fixture(scope="module")
def said(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where `pets verify` has put its files, and what it said."""
    pets = Pets(tmp_path_factory.mktemp("verified"))
    result = pets("verify", *WORDS, f"data.root={planted.root}", code=3)
    (table,) = pets.folder.glob("outputs/*/verify.csv")
    return table.parent, result.stdout


def verified(root: Path, *args: str) -> Verification:
    return verify(typed(VerifyConfig, composed(f"data.root={root}", *args, name="verify")))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "verify.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def paths(result: Verification, kind: str) -> list[tuple[str, ...]]:
    return [finding.photos for finding in result.findings if finding.kind == kind]


@pytest.mark.core
def test_all_planted_faults_are_found_and_nothing_else(
    planted: Planted, said: tuple[Path, str]
) -> None:
    groups: dict[tuple[str, str], set[str]] = defaultdict(set)
    for place, row in enumerate(rows_of(said[0])):
        # What has no number is a finding by itself, or one sentence about several.
        key = row["group"] or row["what"] if row["kind"] == "not a photo" else row["group"]
        groups[row["kind"], key or str(place)] |= {row["path"]} - {""}
    result = defaultdict(set)
    for (kind, _), members in groups.items():
        result[kind].add(frozenset(members))
    assert result == planted.expected


@pytest.mark.core
def test_the_table_says_what_to_leave_out(planted: Planted, said: tuple[Path, str]) -> None:
    rows = rows_of(said[0])
    out = {(Path(row["path"]).name, row["kind"]) for row in rows if row["proposed"] == "exclude"}
    by_kind = {kind: {name for name, k in out if k == kind} for kind in {k for _, k in out}}
    in_train = [row for row in rows if row["kind"] == "leak" and row["split"] == "train"]
    assert by_kind["leak"] == {Path(row["path"]).name for row in in_train}
    assert by_kind["near leak"].isdisjoint({"near_leak.jpg"})
    assert by_kind["duplicates"] == {"zz_copy.jpg"}
    # The first by name is smaller: the largest stays.
    (large,) = (
        row
        for row in rows
        if row["kind"] == "near duplicates"
        and "_pale" not in row["path"]
        and "_mirrored" not in row["path"]
    )
    assert large["proposed"] == "keep"
    assert by_kind["near duplicates"] == {"zz_mirrored.jpg", "aa_pale.jpg"}
    assert "conflict.jpg" in by_kind["conflict"]
    assert len(by_kind["conflict"]) == len(by_kind["near conflict"]) == 2
    assert len(by_kind["unreadable"]) == 4
    assert set(by_kind) == {
        "unreadable", "unlabelled", "blank", "tiny", "conflict", "leak", "duplicates",
        "near conflict", "near leak", "near duplicates",
    }  # fmt: skip
    whats = Counter(row["what"] for row in rows if row["kind"] == "wrong suffix")
    assert whats == {"a PNG named .jpg": 4, "a GIF named .jpg": 6}
    lost, added = sorted(row["what"] for row in rows if row["kind"] == "damaged")[::-1]
    assert lost == "Corrupt JPEG data: premature end of data segment"
    assert re.fullmatch(r"Corrupt JPEG data: 2\d\d extraneous bytes before marker 0xd9", added)
    mirrored = [row["what"] for row in rows if row["kind"] == "near duplicates"]
    assert all(what.endswith("bits differ), mirrored") for what in mirrored)


@pytest.mark.core
def test_the_screen_counts_kinds_and_names_the_files(said: tuple[Path, str]) -> None:
    folder, args = said
    assert re.search(r"^warning +wrong suffix +10 +10 +\S+\.jpg, \S+\.jpg and 8 more$", args, re.M)
    assert re.search(r"^error +leak +1 +2 +", args, re.M)
    assert "9 errors, 23 warnings, 8 notes" in args
    command = rf"pets train data=\w+ data\..* data\.exclude=outputs/{folder.name}/verify\.csv"
    assert re.search(rf"^next, to leave out 16 photos:\n  {command}$", args, re.M)
    assert (folder / "verify.log").stat().st_size > 0


@pytest.mark.core
def test_a_training_without_the_excluded_photos(
    planted: Planted, said: tuple[Path, str], pets: Pets
) -> None:
    """Before it stops at the first fault; with the table it runs, and nothing grave is left."""
    table = said[0] / "verify.csv"
    everything = sorted(p for p in planted.root.rglob("*") if p.is_file())
    args = [f"data.root={planted.root}", "data=folder"]
    small = [*SMALL[:-2], "plan=frozen4", "plan.stages.head.epochs=1", "callbacks=none"]
    assert "no label folder around 1 of " in pets.one_line("train", *args, *small)
    output = pets("train", *args, *small, f"data.exclude={table}").stdout
    assert f"data.exclude={table}: left out 15 photos (" in output
    used = set(pd.read_csv(pets.runs()[-1] / "photos.csv").path)
    rows = rows_of(said[0])
    excluded = {row["path"] for row in rows if row["proposed"] == "exclude"}
    assert len(excluded) == 16
    assert not used & excluded
    assert {row["path"] for row in rows if row["split"]} - excluded <= used

    again = verified(planted.root, *WORDS, f"data.exclude={table}")
    assert again.of("error") == []
    kinds = {finding.kind for finding in again.of("warning")}
    assert kinds == {
        "missing", "absent class", "tiny class", "damaged", "wrong suffix", "left out", "elongated",
        "no split",
    }  # fmt: skip
    assert sorted(p for p in planted.root.rglob("*") if p.is_file()) == everything


def test_drawn_pets_have_no_fault_and_changed_copies_are_told_from_all_of_them(
    tmp_path: Path, pets: Pets
) -> None:
    """Several hundred pictures of ten breeds, two pairs of which look alike on purpose."""
    draw_pets(tmp_path / "pets", per_breed=30, size=96, seed=0)
    args = ["data=demo", f"data.root={tmp_path / 'pets'}", "data.size=96", "fail_on=warning"]
    assert "300 photos inspected" in (output := pets("verify", *args).stdout)
    assert output.count("nothing found") == 1

    images = tmp_path / "pets/images"
    expected = set()
    for place, file in enumerate(sorted(images.glob("*.jpg"))[::10]):
        image, copy = (
            Image.open(file),
            file.with_stem(f"{file.stem.rpartition('_')[0]}_{900 + place}"),
        )
        w, h = image.size
        changed = [
            jpeg(image, quality=15),
            jpeg(image.resize((w // 2, h // 2)), quality=80),
            jpeg(image.resize((3 * w // 2, h))),
            jpeg(ImageEnhance.Brightness(image).enhance(1.15)),
            jpeg(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), quality=50),
        ][place % 5]
        copy.write_bytes(changed)
        expected.add(frozenset({f"images/{file.name}", f"images/{copy.name}"}))
    result = verified(tmp_path / "pets", "data=demo", "small=1")
    near = [f for f in result.findings if f.kind.startswith("near ")]
    assert {frozenset(finding.photos) for finding in near} == expected
    assert len(result.findings) == len(near) == 30
    without = verified(tmp_path / "pets", "data=demo", "small=1", "near=null")
    assert without.findings == ()


def test_photos_that_no_label_fits_are_still_looked_at(tmp_path: Path, drawn: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for n, file in enumerate(sorted((drawn / "images").glob("*.jpg"))[:4]):
        (images / f"{n}.jpg").write_bytes(file.read_bytes())
    (images / "copy.jpg").write_bytes((images / "0.jpg").read_bytes())
    (images / "broken.jpg").write_bytes(b"nothing")
    result = verified(tmp_path, "data=oxford_pets", "small=1")
    assert paths(result, "unlabelled") == [
        (*(f"images/{n}.jpg" for n in range(4)), "images/broken.jpg", "images/copy.jpg")
    ]
    assert paths(result, "duplicates") == [("images/0.jpg", "images/copy.jpg")]
    assert paths(result, "unreadable") == [("images/broken.jpg",)]
    assert paths(result, "one class") == [()]


def test_faults_of_tables_and_lists(tmp_path: Path, drawn: Path) -> None:
    files = sorted((drawn / "images").glob("*.jpg"))[:24]
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    names = [f"{'cat' if n % 2 else 'dog'}_{n}.jpg" for n in range(24)]
    for file, name in zip(files, names, strict=True):
        (tmp_path / "images" / name).write_bytes(file.read_bytes())
    rows = [f"{name},{name[:3]},train" for name in names[:20]]
    rows += ["gone.jpg,cat,valid", f"{names[0]},dog,test", ",dog,train", f"{names[20]},,test"]
    rows += [f"{names[21]},cat,sometimes", f"{names[22]},bird,test"]
    (tmp_path / "labels.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    args = ["data=table", "data.images=images", "data.split=column", "data.split_column=split"]
    result = verified(tmp_path, *args, "small=1")
    by_kind = {f.kind: f for f in result.findings}
    assert by_kind["missing"].photos == ("gone.jpg", "row 23")
    assert paths(result, "bad row") == [(f"images/{names[0]}",)]
    assert by_kind["unlabelled"].photos == (f"images/{names[20]}",)
    assert by_kind["no split"].photos == (f"images/{names[21]}",)
    absent = [f.what for f in result.findings if f.kind == "absent class"]
    assert absent == [
        "no training photo of bird; every label needs one",
        "valid has no photo of bird",
        "test has no photo of cat, dog",
    ]
    assert by_kind["unused"].photos == (f"images/{names[23]}",)
    assert {f.kind for f in result.of("error")} == {
        "missing", "bad row", "unlabelled", "no split", "absent class",
    }  # fmt: skip

    listed = {"trainval": [*names[:16], "cat_99.jpg"], "test": [names[0], *names[16:22]]}
    for name, of_it in listed.items():
        lines = [f"{Path(name).stem} 1 1 1" for name in of_it]
        (tmp_path / f"annotations/{name}.txt").write_text("\n".join(lines))
    (tmp_path / "images" / names[21]).write_bytes(b"")
    result = verified(tmp_path, "data=oxford_pets", "data.split=official", "small=1")
    assert paths(result, "missing") == [("cat_99",)]
    assert paths(result, "two splits") == [(f"images/{names[0]}",)]
    assert paths(result, "unused") == [(f"images/{names[23]}", f"images/{names[22]}")]
    assert [f.severity for f in result.findings if f.kind == "unreadable"] == ["warning"]


def test_only_new_photos_are_decoded_again(tmp_path: Path, pets: Pets, drawn: Path) -> None:
    # What was written within the last two seconds may still change unseen; it is not kept.
    newest = max(file.stat().st_ctime for file in (drawn / "images").iterdir())
    time.sleep(max(0.0, newest + 2.5 - time.time()))
    args = ["verify", "data=demo", "small=1", f"data.root={drawn}", "fail_on=never"]
    cache = f"cache_dir={tmp_path / 'cache'}"
    pets(*args, cache)
    with contextlib.closing(sqlite3.connect(tmp_path / "cache/memo.sqlite")) as table, table:
        (count,) = table.execute("SELECT count(*) FROM memo").fetchone()
        # Were it asked again, it would say otherwise.
        table.execute("""UPDATE memo SET result='{"problem": "as it was said"}'""")
    assert count == 100
    assert "100  " in (output := pets(*args, cache).stdout)
    assert re.search(r"^error +unreadable +100 +100 ", output, re.M)


@pytest.mark.core
@pytest.mark.parametrize(
    ("fail_on", "fault", "code"),
    [
        ("error", "conflict", 3),
        ("never", "conflict", 0),
        ("error", "png", 0),
        ("warning", "png", 3),
    ],
)
def test_exit_codes(
    tmp_path: Path, pets: Pets, drawn: Path, fail_on: str, fault: str, code: int
) -> None:
    root = tmp_path / "pets"
    (root / "images").mkdir(parents=True)
    for n, file in enumerate(sorted((drawn / "images").glob("S*.jpg"))):
        (root / f"images/{'cat' if n % 2 else 'dog'}_{n}.jpg").write_bytes(file.read_bytes())
    if fault == "conflict":
        (root / "images/cat_77.jpg").write_bytes((root / "images/dog_0.jpg").read_bytes())
    else:
        image = Image.open(root / "images/dog_0.jpg").convert("RGB")
        stream = io.BytesIO()
        image.save(stream, "PNG")
        (root / "images/dog_0.jpg").write_bytes(stream.getvalue())
    args = ["data=oxford_pets", f"data.root={root}", "small=1", "few=1", f"fail_on={fail_on}"]
    pets("verify", *args, code=code)


def test_mistakes_are_one_line(pets: Pets, drawn: Path) -> None:
    assert pets.one_line("verify", f"data.root={drawn}", "data=demo", "near=99") == (
        "near=99: expected bits from 0 to 48, or null for no search"
    )
    assert pets.one_line("verify", "data.root=nowhere").startswith("data.root=nowhere: no such")
    assert pets.one_line("verify", f"data.root={drawn}", "data=oxford_pets", "data.split=official"
                         ).startswith("data.split=official: no ")  # fmt: skip


def test_a_missing_library_is_one_line(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    line = f"comparing photos needs the package imagehash: {install('verify')}"
    with pytest.raises(PetsError, match=re.escape(line)):
        verified(drawn, "data=demo")


def problems(page: Any) -> list[str]:
    """Pictures that are broken or without words, and what sticks out of the window."""
    script = """() => [
      ...[...document.images].filter((i) => !i.naturalWidth || !i.alt).map((i) => i.outerHTML),
      ...(document.documentElement.scrollWidth > innerWidth ? ["wider than the window"] : []),
    ]"""
    return page.evaluate(script)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_shows_the_photos(said: tuple[Path, str], width: int, scheme: str) -> None:
    with opened(said[0] / "verify.html", width, scheme) as page:
        assert problems(page) == []
        assert page.inner_text("h1") == "9 errors, 23 warnings, 8 notes"
        leak = page.locator("#error-leak ~ .groups").first
        assert leak.locator("img").count() == 2
        assert leak.locator(".tag").all_inner_texts() == ["exclude"]
        assert page.locator("#error-unreadable ~ .grid").first.locator(".placeholder").count() == 4
        link = page.locator("table[aria-label=Kinds] a", has_text="near leak")
        assert page.locator(link.get_attribute("href")).inner_text() == "Near leak 1"
        # By the keyboard: the kind found most often comes first.
        button = page.locator("table[aria-label=Kinds] thead button", has_text="found")
        button.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        first = page.locator("table[aria-label=Kinds] tbody tr").first
        assert first.locator("th").inner_text() == "wrong suffix"
        assert "data.exclude=" in page.inner_text("#next pre")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_notes_do_not_drown_errors(said: tuple[Path, str], width: int, scheme: str) -> None:
    with opened(said[0] / "verify.html", width, scheme, width == 390) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        headings = page.locator("h2").all_inner_texts()
        assert headings[:4] == ["Kinds", "Errors 9", "Warnings 23", "Notes 8"]
        severities = page.locator("table[aria-label=Kinds] tbody tr > :nth-child(2)")
        shown = severities.all_inner_texts()
        assert shown == sorted(shown, key=["error", "warning", "note"].index)
        colours = dict(zip(shown, severities.evaluate_all(
            "(all) => all.map((e) => getComputedStyle(e).color)"
        ), strict=True))  # fmt: skip
        assert len(set(colours.values())) == 3
        border = "(e) => getComputedStyle(e).borderLeftWidth"
        assert page.locator("#error").evaluate(border) == "2px"
        assert page.locator("#warning").evaluate(border) == "0px"
        # Errors are seen at once; notes are named, and shown when they are asked for.
        note = page.locator("#note-grey")
        assert page.locator("#error-leak").is_visible()
        assert not note.is_visible()
        assert "grey" in page.inner_text("#note summary")
        page.locator("table[aria-label=Kinds] a", has_text="grey").click()
        assert note.is_visible()
        assert min(page.evaluate(CONTRASTS))[0] >= 4.5
