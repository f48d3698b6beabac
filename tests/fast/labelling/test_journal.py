"""The record of decisions: read back whole, after a kill in the middle of a line, too."""

import json
import os
from pathlib import Path

import pytest

from pets.errors import RunError
from pets.labelling.journal import Journal, Measured

CLASSES = ["cat", "dog"]


def begun(folder: Path) -> Journal:
    journal = Journal(folder / "labels.jsonl", CLASSES)
    journal.append("aa", "a.jpg", "label", "dog", "tab", "k1")
    journal.measure(Measured(1, 3, 10))
    journal.append("bb", "ä/b.jpg", "exclude", tab="tab", key="k2")
    journal.append("bb", "ä/b.jpg", "undo", tab="tab", key="k3", undoes=2)
    return journal


def test_what_was_written_is_read(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    again = Journal(journal.file, CLASSES)
    assert again.entries == journal.entries
    assert [(e.number, e.photo, e.action, e.label, e.undoes) for e in again.entries] == [
        (1, "aa", "label", "dog", 0), (2, "bb", "exclude", "", 0), (3, "bb", "undo", "", 2),
    ]  # fmt: skip
    assert again.measured == [Measured(1, 3, 10)]
    assert again.append("cc", "c.jpg", "skip").number == 4
    assert len(journal.file.read_text().splitlines()) == 6


@pytest.mark.parametrize("cut", [1, 20, 70])
def test_a_line_that_was_cut_off_is_removed_and_no_other(
    cut: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = begun(tmp_path)
    os.truncate(journal.file, journal.file.stat().st_size - cut)
    again = Journal(journal.file, CLASSES)
    assert again.entries == journal.entries[:2]
    assert "its last line was cut off" in caplog.text
    again.append("cc", "c.jpg", "label", "cat")
    assert Journal(journal.file, CLASSES).entries == again.entries


def test_a_file_that_was_cut_off_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text('{"pets lab')
    assert begun(tmp_path).entries == Journal(tmp_path / "labels.jsonl", CLASSES).entries


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begun(tmp_path)
    before = journal.file.read_bytes()

    def no_space(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        journal.append("cc", "c.jpg", "label", "cat")
    assert journal.file.read_bytes() == before
    assert len(journal.entries) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1, 2", "line 3 is damaged; take the file from a copy, or delete the line"),
        ('{"number": 2}', "line 3 is damaged"),
        ("[" * 100_000, "line 3 is damaged"),
        ("same", "line 3 is out of order"),
        ("bird", "line 3 is damaged"),
        ('{"labels": 1, "wrong": 5, "photos": 4}', "line 3 is damaged"),
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_lost(
    line: str, message: str, tmp_path: Path
) -> None:
    journal = begun(tmp_path)
    lines = journal.file.read_text().splitlines()
    named = json.loads(lines[1])
    given = {"same": lines[1], "bird": json.dumps({**named, "number": 2, "label": "bird"})}
    lines[2] = given.get(line, line)
    journal.file.write_text("\n".join(lines) + "\n")
    before = journal.file.read_bytes()
    with pytest.raises(RunError, match=message):
        Journal(journal.file, CLASSES)
    assert journal.file.read_bytes() == before


def test_a_deleted_line_is_no_damage(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    lines = journal.file.read_text().splitlines()
    del lines[1]
    journal.file.write_text("\n".join(lines) + "\n")
    assert Journal(journal.file, CLASSES).entries == journal.entries[1:]


def test_labels_of_other_classes_are_refused(tmp_path: Path) -> None:
    file = begun(tmp_path).file
    with pytest.raises(RunError, match=r"are of other classes than the run's \(bird, dog\); give"):
        Journal(file, ["bird", "cat"])
    file.write_text("a table\n")
    with pytest.raises(RunError, match="is not a record of pets label; give another out="):
        Journal(file, CLASSES)
    file.write_text('{"pets label": 9, "classes": []}\n')
    with pytest.raises(RunError, match="has format 9, this version of pets reads 1"):
        Journal(file, CLASSES)


def test_a_file_of_somebody_elses_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text("no newline at its end")
    with pytest.raises(RunError, match="is not a record of pets label"):
        Journal(tmp_path / "labels.jsonl", CLASSES)
    assert (tmp_path / "labels.jsonl").read_text() == "no newline at its end"
    Journal(tmp_path / "none.jsonl", CLASSES)
    assert not (tmp_path / "none.jsonl").exists()
