"""Decisions, undo, several tabs, the next photos, and the table that `data` takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pets.data.collect import collect_photos
from pets.data.photos import Photo
from pets.labelling.items import NEW, Item
from pets.labelling.journal import Journal
from pets.labelling.learn import HELPFUL, NEAR, SUSPECTS, UNLABELLED, UNSURE, Learner
from pets.labelling.pool import Pool
from pets.labelling.session import Conflict, Session
from tests.conftest import train_config

CLASSES = ["cat", "dog"]
# Photos on a circle: cats around 0 degrees, dogs around 90; one cat is called a dog.
PHOTOS = [
    ("elsewhere/1", "cat", "train", 0), ("elsewhere/2", "dog", "train", 90),
    ("cat/1.png", "cat", "train", 3), ("cat/2.png", "cat", "train", 5),
    ("dog/1.png", "dog", "train", 88), ("dog/2.png", "dog", "train", 85),
    ("dog/cat.png", "dog", "train", 1),
    ("cat/v.png", "cat", "valid", 8), ("dog/v.png", "dog", "valid", 82),
    ("=new/1.png", "", NEW, 45), ("=new/2.png", "", NEW, 80), ("=new/3.png", "", NEW, 12),
]  # fmt: skip


def item(path: str, label: str, split: str) -> Item:
    copies = () if path.startswith("elsewhere") else (Photo(path, label, split),)
    return Item(path.encode().hex(), Path(path), label, split, copies)


def pool(root: Path = Path()) -> Pool:
    angles = np.radians([angle for *_, angle in PHOTOS])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    items = [item(path, label, split) for path, label, split, _ in PHOTOS]
    return Pool(root, CLASSES, items, features, [[2, 3], [6, 7]])


class Tabs:
    """A session, and keys for its decisions."""

    def __init__(self, folder: Path, photos: Pool) -> None:
        self.folder, self.photos, self.keys = folder, photos, 0
        self.open()

    def open(self) -> None:
        """As a server that was killed and started anew."""
        journal = Journal(self.folder / "labels.jsonl", CLASSES)
        self.session = Session(self.photos, journal, self.folder / "labels.csv")
        self.learner = Learner(self.photos, 0)
        self.session.publish(self.learner.fit(self.session.known, self.session.suspects))

    def say(
        self, row: int, action: Any, label: str = "", tab: str = "one", version: int = 0
    ) -> Any:
        self.keys += 1
        return self.session.decide(row, action, label, tab, f"key{self.keys}", version)

    def undo(self, tab: str = "one") -> Any:
        self.keys += 1
        return self.session.undo(tab, f"key{self.keys}")

    def state(self) -> list[Any]:
        session = self.session
        names = ("labels", "decided", "excluded", "skipped", "versions")
        return [getattr(session, name).tolist() for name in names]


@pytest.fixture
def tabs(tmp_path: Path) -> Tabs:
    return Tabs(tmp_path, pool())


def test_a_killed_server_loses_nothing(tabs: Tabs) -> None:
    tabs.say(9, "label", "dog")
    tabs.say(6, "label", "cat")
    tabs.say(4, "exclude")
    tabs.say(10, "skip")
    tabs.say(9, "label", "cat")
    tabs.undo()
    state = tabs.state()
    assert state[0][9] == 1
    assert state[0][6] == 0
    assert [row for row, flag in enumerate(state[1]) if flag] == [4, 6, 9]
    assert [row for row, flag in enumerate(state[2]) if flag] == [4]
    assert state[3][10] == 4
    assert (state[4][9], state[4][6], state[4][0]) == (6, 2, 0)
    tabs.open()
    assert tabs.state() == state


def test_undo_takes_back_one_decision_of_a_tab_after_another(tabs: Tabs) -> None:
    before = tabs.state()[:4]
    tabs.say(9, "label", "dog")
    tabs.say(6, "label", "cat", tab="two")
    tabs.say(10, "skip")
    tabs.say(4, "exclude")
    assert [tabs.undo().entry.photo for _ in range(3)] == [
        tabs.photos.items[row].content for row in (4, 10, 9)
    ]
    with pytest.raises(Conflict, match="there is nothing to undo in this tab"):
        tabs.undo()
    assert tabs.session.decided.nonzero()[0].tolist() == [6]
    tabs.open()
    with pytest.raises(Conflict):
        tabs.undo()
    tabs.undo("two")
    assert tabs.state()[:4] == before


def test_the_last_tab_wins_and_both_are_told(tabs: Tabs) -> None:
    first = tabs.say(9, "label", "dog", tab="one")
    assert first.unseen is None
    second = tabs.say(9, "label", "cat", tab="two", version=0)
    assert second.unseen == first.entry
    assert tabs.session.labels[9] == 0
    with pytest.raises(Conflict, match="another tab has decided about it since; not undone"):
        tabs.undo("one")
    # It has seen what the other said.
    assert tabs.say(9, "label", "dog", tab="one", version=2).unseen is None
    assert tabs.session.labels[9] == 1


def test_a_decision_that_is_sent_again_counts_once(tabs: Tabs) -> None:
    first = tabs.session.decide(9, "label", "dog", "one", "same", 0)
    assert tabs.session.decide(9, "label", "dog", "one", "same", 0) == first
    tabs.open()  # the answer was lost with the server
    assert tabs.session.decide(9, "label", "dog", "one", "same", 0).entry == first.entry
    tabs.session.undo("one", "back")
    assert tabs.session.undo("one", "back").entry.undoes == 1
    assert len(tabs.session.journal.entries) == 2


def test_only_classes_of_the_run_are_labels(tabs: Tabs) -> None:
    for action, label in (("label", "bird"), ("label", ""), ("exclude", "cat")):
        with pytest.raises(Conflict, match="expected a class of the run"):
            tabs.say(9, action, label)
    assert tabs.session.journal.entries == []


def test_orders_hold_what_is_undecided_and_shown(tabs: Tabs) -> None:
    session = tabs.session
    assert session.order(UNLABELLED).tolist() == [9, 10, 11]
    assert session.order(UNSURE).tolist() == [11, 9, 10]  # the wrong label is next to row 11
    assert session.order(NEAR).tolist() == [6, 7, 2, 3]  # a group with two labels first
    assert {0, 1}.isdisjoint(row for name in session.fit.orders for row in session.order(name))
    tabs.say(9, "skip")
    assert session.order(UNSURE)[-1] == 9
    tabs.say(10, "label", "dog")
    assert session.order(UNLABELLED).tolist() == [11, 9]
    tabs.say(11, "skip")
    assert session.order(UNLABELLED).tolist() == [9, 11]  # in the order of skipping


def test_tabs_get_different_photos_while_there_are_others(tabs: Tabs) -> None:
    first = tabs.session.next(UNLABELLED, "one", 1)
    second = tabs.session.next(UNLABELLED, "two", 1)
    assert (first, second) == ([9], [10])
    assert tabs.session.next(UNLABELLED, "one", 3, first) == [11, 10]
    # Those that another tab has come last.
    assert tabs.session.next(UNLABELLED, "three", 3) == [9, 10, 11]


def test_the_suspect_is_found_and_a_correction_moves_the_error(tabs: Tabs) -> None:
    session, learner = tabs.session, tabs.learner
    suspects, odds = learner.suspects(session.known, session.fit)
    assert suspects.tolist() == [6]
    # The head has learned the wrong label; heads that have not give it less.
    session.odds = odds
    assert session.probabilities(6)[1] < session.fit.probabilities[6, 1]
    assert session.probabilities(9) == pytest.approx(session.fit.probabilities[9])
    fit = learner.fit(session.known, np.array([6]))
    assert fit.orders[SUSPECTS].tolist() == [6]
    assert set(fit.orders[HELPFUL][:2].tolist()) == {6, 9}
    assert (fit.wrong, fit.photos) == (0, 2)
    tabs.say(7, "label", "dog")  # a wrong label for a validation photo
    assert learner.fit(session.known, session.suspects).wrong == 1
    tabs.say(7, "exclude")
    assert learner.fit(session.known, session.suspects).photos == 1
    session.publish(fit)
    session.publish(fit)
    assert [point.labels for point in session.journal.measured] == [0]  # the same as at the start


def test_the_head_never_learns_from_validation_photos(tabs: Tabs) -> None:
    before = tabs.session.fit.probabilities
    tabs.say(7, "label", "dog")
    tabs.say(8, "exclude")
    after = tabs.learner.fit(tabs.session.known, tabs.session.suspects).probabilities
    assert after == pytest.approx(before)
    tabs.say(9, "label", "dog")
    after = tabs.learner.fit(tabs.session.known, tabs.session.suspects).probabilities
    assert after != pytest.approx(before, abs=1e-3)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The photos of the pool that are shown, and the table of some decisions about them."""
    photos = pool(tmp_path / "photos")
    for number, one in enumerate(photos.items):
        for copy in one.copies:
            file = photos.root / copy.path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
    (tmp_path / "session").mkdir()
    tabs = Tabs(tmp_path / "session", photos)
    tabs.say(6, "label", "cat")  # corrected
    tabs.say(2, "label", "cat")  # confirmed
    tabs.say(5, "exclude")
    tabs.say(9, "label", "dog")  # new
    tabs.say(10, "label", "cat")
    tabs.say(11, "exclude")
    tabs.say(3, "skip")
    tabs.session.save(tabs.session.lines())
    return tmp_path / "session/labels.csv"


def test_the_table_has_a_row_for_each_decision(written: Path) -> None:
    assert written.read_text().splitlines() == [
        "path,split,given,label,proposed",
        "'=new/1.png,train,,dog,keep",
        "'=new/2.png,train,,cat,keep",
        "'=new/3.png,train,,,exclude",
        "cat/1.png,train,cat,cat,keep",
        "dog/2.png,train,dog,dog,exclude",
        "dog/cat.png,train,dog,cat,keep",
    ]


def test_data_relabel_and_exclude_take_the_table(
    written: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    root = written.parents[1] / "photos"
    (root / "=new").rename(root.parent / "new")
    same = ("data=folder", f"data.root={root}", "data.split=random")
    before = {p.path: p.label for p in collect_photos(train_config(*same).data).rows}
    both = (f"data.relabel={written}", f"data.exclude={written}")
    after = {p.path: p.label for p in collect_photos(train_config(*same, *both).data).rows}
    assert before["dog/cat.png"] == "dog"
    assert after == {k: v for k, v in before.items() if k != "dog/2.png"} | {"dog/cat.png": "cat"}
    line = "left out 3 photos that had no label before (=new/1.png, =new/2.png, =new/3.png); "
    assert line + "data=table" in caplog.text
    assert "changed 1 labels" in caplog.text


def test_data_table_takes_the_table(written: Path) -> None:
    root = written.parents[1] / "photos"
    data = train_config(
        "data=table", f"data.root={root}", f"data.table={written}", f"data.exclude={written}",
        "data.valid_pct=0.5",
    ).data  # fmt: skip
    assert {photo.path: photo.label for photo in collect_photos(data).rows} == {
        "=new/1.png": "dog", "=new/2.png": "cat", "cat/1.png": "cat", "dog/cat.png": "cat",
    }  # fmt: skip
