"""Nearest photos against brute force; planted labels found, proposed, and put right."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pets.data.tables import relabel
from pets.errors import DataError
from pets.interpretation.suspects import (
    COLUMNS,
    find_suspects,
    held_out_probabilities,
    nearest,
    suspects_table,
    unit_length,
    write_suspects,
)

CLASSES = ["newt", "dog", "ant", "Cat"]


def blobs(*photos: int) -> tuple[np.ndarray, np.ndarray]:
    """Features in clouds far apart, so many photos of each class, and their labels."""
    labels = np.repeat(np.arange(len(photos)), photos)
    noise = np.random.default_rng(0).standard_normal((len(labels), 8))
    return (np.eye(8)[labels] + 0.1 * noise).astype(np.float32), labels


def photo_table(labels: np.ndarray) -> pd.DataFrame:
    names = [f"images/{place}.jpg" for place in range(len(labels))]
    given = [CLASSES[label] for label in labels]
    return pd.DataFrame({"path": names, "split": "train", "label": given, "loss": 0.0})


def test_the_nearest_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    queries, photos = rng.standard_normal((7, 5)), rng.standard_normal((12, 5))
    result = nearest(queries, photos, 4)
    assert result[0].shape == result[1].shape == (7, 4)
    for query, rows, similarity in zip(queries, *result, strict=True):
        cosines = [q @ query / np.linalg.norm(q) / np.linalg.norm(query) for q in photos]
        best = sorted(range(12), key=lambda row: -cosines[row])[:4]
        assert rows.tolist() == best
        assert similarity.tolist() == pytest.approx([cosines[row] for row in best], abs=1e-6)


def test_a_photo_is_never_its_own_neighbour_but_its_twin_is() -> None:
    photos = np.random.default_rng(0).standard_normal((8, 5))
    photos[6] = 3 * photos[2]
    rows, similarity = nearest(photos, photos, 3, itself=np.arange(8))
    assert all(own not in near for own, near in enumerate(rows.tolist()))
    assert (rows[2, 0], rows[6, 0]) == (6, 2)
    assert similarity[2, 0] == pytest.approx(1)
    # Only the first of these is among the photos.
    some = nearest(photos[[2, 3]], photos, 2, itself=np.array([2, -1]))[0]
    assert some[0, 0] == 6
    assert some[1, 0] == 3


def test_fewer_photos_than_neighbours_are_all_there_are() -> None:
    photos = np.random.default_rng(0).standard_normal((3, 5))
    assert nearest(photos[:1], photos, 9)[0].shape == (1, 3)
    others = nearest(photos, photos, 9, itself=np.arange(3))[0]
    assert [sorted(row) for row in others.tolist()] == [[1, 2], [0, 2], [0, 1]]


def test_unit_length_leaves_nothing_at_nothing() -> None:
    assert unit_length(np.array([(3.0, 4.0), (0.0, 0.0)])) == pytest.approx(
        np.array([(0.6, 0.8), (0, 0)])
    )


def test_planted_labels_are_found_and_the_right_ones_proposed() -> None:
    features, truth = blobs(20, 20, 20, 20)
    given = truth.copy()
    given[[3, 25, 47]] = [2, 0, 3]
    probabilities = held_out_probabilities(features, given, 4, seed=0)
    result = find_suspects(given, probabilities)
    assert sorted(result) == [3, 25, 47]
    assert (np.diff(probabilities[result, given[result]]) >= 0).all()

    table = suspects_table(photo_table(given), probabilities, CLASSES, result)
    assert tuple(table.columns) == COLUMNS == (
        "path", "split", "given", "label", "p_given", "p_label",
    )  # fmt: skip
    assert table.index.tolist() == result.tolist()
    assert table["given"].tolist() == [CLASSES[given[row]] for row in result]
    assert table["label"].tolist() == [CLASSES[truth[row]] for row in result]
    assert table["p_given"].tolist() == [probabilities[row, given[row]] for row in result]
    assert table["p_label"].tolist() == [probabilities[row, truth[row]] for row in result]
    assert (table["p_given"] < 0.1).all()
    assert (table["p_label"] > 0.9).all()


def test_clean_labels_far_apart_have_no_suspects() -> None:
    features, labels = blobs(20, 20, 20, 20)
    probabilities = held_out_probabilities(features, labels, 4, seed=0)
    result = find_suspects(labels, probabilities)
    assert len(result) == 0
    table = suspects_table(photo_table(labels), probabilities, CLASSES, result)
    assert tuple(table.columns) == COLUMNS
    assert table.empty


def test_held_out_probabilities_depend_on_the_seed_alone() -> None:
    features, labels = blobs(12, 12, 12)
    result = [held_out_probabilities(features, labels, 3, seed) for seed in (0, 0, 2**40 + 1)]
    assert (result[0] == result[1]).all()
    assert (result[0] != result[2]).any()
    assert result[2].sum(1) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:May not flag all label issues")
def test_a_class_of_one_photo_or_of_none_does_no_harm() -> None:
    features, truth = blobs(20, 1, 0, 20)
    given = truth.copy()
    given[5] = 3
    probabilities = held_out_probabilities(features, given, 4, seed=0)
    assert (probabilities[:, 2] == 0).all()
    # Nobody can say what the one photo of its class is.
    assert probabilities[20, 1] == 0
    result = find_suspects(given, probabilities)
    assert result.tolist() == [5]
    table = suspects_table(photo_table(given), probabilities, CLASSES, result)
    assert table[["path", "given", "label"]].values.tolist() == [["images/5.jpg", "Cat", "newt"]]


def test_where_all_photos_are_of_one_class_none_is_a_suspect() -> None:
    assert len(find_suspects(np.zeros(6, dtype=int), np.full((6, 3), 1 / 3))) == 0
    assert len(find_suspects(np.empty(0, dtype=int), np.empty((0, 3)))) == 0


def test_the_table_of_suspects_puts_the_labels_right(tmp_path: Path) -> None:
    features, truth = blobs(20, 20, 20, 20)
    given = truth.copy()
    given[[3, 25]] = [2, 0]
    probabilities = held_out_probabilities(features, given, 4, seed=0)
    photos = photo_table(given)
    result = find_suspects(given, probabilities)
    write_suspects(
        tmp_path / "suspects.csv", suspects_table(photos, probabilities, CLASSES, result)
    )
    labels = dict(zip(photos["path"], photos["label"], strict=True))
    changed = relabel(labels, tmp_path / "suspects.csv")
    assert list(changed.values()) == [CLASSES[label] for label in truth]
    # A second time they are what they should be, and the table is meant for what they were.
    with pytest.raises(DataError, match="were the labels already corrected"):
        relabel(changed, tmp_path / "suspects.csv")


LABELS = {"a.jpg": "cat", "b.jpg": "dog", "c.jpg": "dog", "d.jpg": "cow", "e.jpg": "NA"}


def corrections(folder: Path, *lines: str) -> Path:
    file = folder / "new labels.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_labels_are_put_in_the_place_of_those_found(tmp_path: Path) -> None:
    file = corrections(tmp_path, "label,path", "dog,a.jpg", "dog,b.jpg", "cat,d.jpg", "NA,c.jpg")
    before = LABELS.copy()
    result = relabel(LABELS, file)
    assert list(result.items()) == [
        ("a.jpg", "dog"), ("b.jpg", "dog"), ("c.jpg", "NA"), ("d.jpg", "cat"), ("e.jpg", "NA"),
    ]  # fmt: skip
    assert before == LABELS


def test_paths_are_found_in_any_spelling(tmp_path: Path) -> None:
    labels = {"x/é.jpg": "cat", "x/b.jpg": "dog"}
    file = corrections(tmp_path, "path,label", "./x/e\u0301.jpg,dog", "x\\b.jpg,cat")
    assert relabel(labels, file) == {"x/é.jpg": "dog", "x/b.jpg": "cat"}
    file = corrections(tmp_path, "path,label", "x/b.jpg,dog", "./x/b.jpg,cat")
    with pytest.raises(DataError, match=r"names photos twice: x/b\.jpg"):
        relabel(labels, file)


def test_what_was_given_is_compared_and_other_columns_are_ignored(tmp_path: Path) -> None:
    file = corrections(
        tmp_path, "path,split,given,label", "a.jpg,train,cat,dog", "d.jpg,,cow,cat", "e.jpg,,NA,NA"
    )
    result = relabel(LABELS, file)
    assert (result["a.jpg"], result["d.jpg"], result["e.jpg"]) == ("dog", "cat", "NA")


def test_a_table_without_rows_changes_nothing(tmp_path: Path) -> None:
    assert relabel(LABELS, corrections(tmp_path, "path,label")) == LABELS


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["path,class", "a.jpg,dog"], "has no column label; its first line names path, class"),
        (["file;label"], "has no column path; its first line names file;label"),
        (["path,label", "a.jpg,dog", "b.jpg,cat", "a.jpg,cat"], "names photos twice: a.jpg"),
        (["path,label", "x.jpg,dog", "a.jpg,cat", "y.jpg,cat"],
         "2 paths match no photo: x.jpg, y.jpg"),
        (["path,label", "a.jpg,dgo"],
         "no photo has such a label: dgo; expected an existing label"),
        (["path,label", "a.jpg,"], "no photo has such a label: an empty one"),
        (["path,label", "a.jpg"], "no photo has such a label: an empty one"),
        (["path,given,label", "a.jpg,cat,dog", "b.jpg,cat,dog", "c.jpg,,cat"],
         "b.jpg is dog, not cat; were the labels already corrected"),
    ],
    ids=["column", "separator", "twice", "path", "label", "empty", "short", "given"],
)  # fmt: skip
def test_tables_that_do_not_fit_are_refused_in_one_line(
    tmp_path: Path, lines: list[str], says: str
) -> None:
    file = corrections(tmp_path, *lines)
    with pytest.raises(DataError, match=says) as caught:
        relabel(LABELS, file)
    assert str(caught.value).startswith(f"data.relabel={file}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.relabel=.*none.csv: no such file"):
        relabel(LABELS, tmp_path / "none.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(
        DataError, match=r"empty.csv: has no column path; its first line names none"
    ):
        relabel(LABELS, tmp_path / "empty.csv")
