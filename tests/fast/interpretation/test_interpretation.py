"""fastai's verbs on tables of a few photos, each answer worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow.parquet import read_schema
from sklearn.metrics import precision_recall_fscore_support

from pets.data.photos import Photo
from pets.errors import RunError
from pets.interpretation import Interpretation
from pets.report.charts import order_by_confusion

CATS_AND_DOGS = ["cat", "dog"]
CLASSES = ["dog", "Cat", "bird", "newt", "ant"]  # in no order


def found(labels: list[str], probabilities: object, classes: list[str]) -> Interpretation:
    """The photos 0.jpg, 1.jpg, ... of the validation split."""
    logs = np.log(np.array(probabilities, dtype=float).clip(1e-12))
    photos = [Photo(f"{i}.jpg", label, "valid") for i, label in enumerate(labels)]
    return Interpretation.of_photos(photos, logs, classes)


def cats_and_dogs() -> Interpretation:
    """Right cats 0, 1; wrong cats 2, 3; right dogs 4, 5; wrong dogs 6, 7."""
    cat = [0.7, 0.9, 0.4, 0.1, 0.2, 0.3, 0.6, 0.8]
    return found(["cat"] * 4 + ["dog"] * 4, [(p, 1 - p) for p in cat], CATS_AND_DOGS)


def floats(matrix: object) -> np.ndarray:
    return np.array(matrix, dtype=float)


def beside(order: list[int], one: int, other: int) -> bool:
    return abs(order.index(one) - order.index(other)) == 1


@pytest.mark.parametrize(
    ("label", "right", "wrong"), [("cat", [1, 0], [3, 2]), ("dog", [4, 5], [7, 6])]
)
def test_most_correct_and_most_incorrect_are_of_the_label_alone(
    label: str, right: list[int], wrong: list[int]
) -> None:
    it = cats_and_dogs()
    assert it.most_correct(label).index.tolist() == right
    assert it.most_incorrect(label).index.tolist() == wrong
    # Without brackets `&` binds before `==`, and photos of the other class come in.
    preds, y, k = it.predictions, it.labels, it.classes.index(label)
    for is_correct, ours in ((True, right), (False, wrong)):
        unbracketed = (preds == y) == is_correct & (y == k)
        assert set(np.flatnonzero(unbracketed)) > set(ours)
        assert {it[row].label for row in np.flatnonzero(unbracketed)} == {"cat", "dog"}


def test_most_incorrect_goes_by_the_probability_of_the_label_not_of_the_prediction() -> None:
    it = found(
        ["a", "a", "a", "b"],
        [(0.05, 0.50, 0.45), (0.30, 0.60, 0.10), (0.01, 0.49, 0.50), (0.9, 0.0, 0.1)],
        ["a", "b", "c"],
    )
    assert it.most_incorrect("a").index.tolist() == [2, 0, 1]
    assert it.most_incorrect("a", k=2)["path"].tolist() == ["2.jpg", "0.jpg"]
    assert it.most_incorrect("b")["prediction"].tolist() == ["a"]
    assert it.most_incorrect("c").empty
    assert it.most_correct("a").empty


def test_an_unknown_label_names_the_classes() -> None:
    for verb in (cats_and_dogs().most_correct, cats_and_dogs().most_incorrect):
        with pytest.raises(KeyError, match="hamster: no such class; expected one of cat, dog"):
            verb("hamster")


@pytest.mark.parametrize("matches", [0, 1, 3, 4])
def test_random_photos_are_as_many_as_there_are(matches: int) -> None:
    labels, wrong = ["cat"] * 5, [(0.2, 0.8)] * matches
    it = found(labels, wrong + [(0.7, 0.3)] * (5 - matches), CATS_AND_DOGS)
    assert sorted(it.random_incorrect(4).index) == list(range(matches))
    other = found(labels, [(p, 1 - p) for p, _ in it.probabilities], ["dog", "cat"])
    assert sorted(other.random_correct(4).index) == list(range(matches))


def test_random_photos_are_the_same_for_the_same_seed_alone() -> None:
    it = found(["cat"] * 12, [(0.9, 0.1)] * 6 + [(0.1, 0.9)] * 6, CATS_AND_DOGS)
    for choose, among in ((it.random_correct, range(6)), (it.random_incorrect, range(6, 12))):
        picks = [choose(4, seed).index.tolist() for seed in range(5)]
        assert picks == [choose(4, seed).index.tolist() for seed in range(5)]
        assert len({tuple(pick) for pick in picks}) == 5
        for pick in picks:
            assert len(set(pick)) == 4
            assert set(pick) <= set(among)


def test_most_uncertain_is_the_smallest_lead_of_the_first_class_over_the_second() -> None:
    probabilities = np.array([(0.51, 0.25, 0.24), (0.40, 0.21, 0.39), (0.90, 0.06, 0.04)])
    it = found(["a"] * 3, probabilities, ["a", "b", "c"])
    assert it.most_uncertain(3).index.tolist() == [1, 0, 2]
    assert it.table["margin"].tolist() == pytest.approx([0.26, 0.01, 0.84])
    # The distance from a half, of two classes only, takes another photo for the most uncertain.
    for p in (probabilities.max(1), probabilities[:, 1]):
        assert np.abs(p - 0.5).argsort().tolist() == [0, 1, 2]
    assert cats_and_dogs().most_uncertain(2).index.tolist() == [2, 6]


def test_top_losses_and_equal_ones_in_the_tables_order() -> None:
    it = found(["cat"] * 6, [(p, 1 - p) for p in (0.5, 0.9, 0.1, 0.5, 0.1, 0.5)], CATS_AND_DOGS)
    assert it.top_losses().index.tolist() == [2, 4, 0, 3, 5, 1]
    assert it.top_losses(4).index.tolist() == [2, 4, 0, 3]
    assert it.top_losses(1)["loss"].tolist() == pytest.approx([np.log(10)])
    assert it.top_losses(0).empty


def test_entropy_is_0_for_the_sure_and_the_log_of_the_classes_for_a_guess() -> None:
    sure = found(["b"], np.eye(3)[[1]], list("abc")).table
    assert sure[["entropy", "margin"]].to_numpy().tolist() == [pytest.approx([0, 1], abs=1e-9)]
    for classes in (2, 3, 37):
        names = [str(i) for i in range(classes)]
        guess = found(["0"], np.full((1, classes), 1 / classes), names).table
        assert guess["entropy"][0] == pytest.approx(np.log(classes))
        assert guess["margin"][0] == pytest.approx(0)
    some = found(["a"], [(0.5, 0.25, 0.25)], list("abc")).table
    assert some["entropy"][0] == pytest.approx(1.5 * np.log(2))


def test_a_row_by_its_number_and_the_accuracy() -> None:
    it = cats_and_dogs()
    assert len(it) == 8
    assert it.accuracy == 0.5
    assert it.correct.tolist() == [True, True, False, False, True, True, False, False]
    one = it[3]
    assert (one.path, one.label, one.prediction) == ("3.jpg", "cat", "dog")
    assert (one.loss, one.p_label, one.p_prediction) == pytest.approx((np.log(10), 0.1, 0.9))


def test_the_confusion_matrix_counts_and_its_shares_have_no_nan() -> None:
    it = found(list("aaaac"), np.eye(3)[[0, 0, 1, 2, 1]], list("abc"))
    assert it.confusion_matrix().to_numpy().tolist() == [[2, 1, 1], [0, 0, 0], [0, 1, 0]]
    assert it.confusion_matrix().loc["a", "c"] == 1
    shares = it.confusion_matrix(normalize=True)
    assert shares.to_numpy().tolist() == [[0.5, 0.25, 0.25], [0, 0, 0], [0, 1, 0]]
    assert not it.of("test").confusion_matrix(normalize=True).to_numpy().any()


def test_most_confused_is_sorted_filtered_and_off_the_diagonal() -> None:
    taken = "ab" + 3 * "ac" + 2 * "bc" + 3 * "ca" + "aabbcc"
    predictions = [list("abc").index(name) for name in taken[1::2]]
    it = found(list(taken[::2]), np.eye(3)[predictions], list("abc"))
    pairs = [("a", "c", 3), ("c", "a", 3), ("b", "c", 2), ("a", "b", 1)]
    assert it.most_confused() == it.most_confused(0) == pairs
    assert it.most_confused(min_val=2) == pairs[:3]
    assert it.most_confused(4) == []
    assert it.confused("b", "c")["path"].tolist() == ["4.jpg", "5.jpg"]


def test_confused_classes_stand_side_by_side() -> None:
    matrix = 10 * np.eye(7)
    matrix[0, 4] = matrix[6, 2] = matrix[2, 6] = 4
    matrix[4, 1] = 2
    order = order_by_confusion(matrix)
    assert sorted(order) == list(range(7))
    for pair in ((0, 4), (4, 1), (2, 6)):
        assert beside(order, *pair)
    # Those that are never confused.
    assert order[5:] == [3, 5]


def test_confusions_count_as_shares_of_a_classs_photos() -> None:
    # Class 0 has two sides: they go to those of which two in three photos are taken for it, not to
    # the one of which thirty in three hundred are.
    matrix = floats([[900, 0, 0, 0], [2, 1, 0, 0], [2, 0, 1, 0], [30, 0, 0, 270]])
    order = order_by_confusion(matrix)
    assert beside(order, 0, 1)
    assert beside(order, 0, 2)


@pytest.mark.parametrize("classes", [0, 1, 2, 3, 5])
def test_the_order_of_classes_that_are_never_confused_stays(classes: int) -> None:
    assert order_by_confusion(3 * np.eye(classes)) == list(range(classes))


def test_the_order_of_two_classes() -> None:
    assert order_by_confusion(floats([[3, 1], [0, 4]])) == [0, 1]
    assert order_by_confusion(floats([[0, 3], [3, 0]])) == [0, 1]
    assert order_by_confusion(floats([[3, 0, 0], [0, 2, 1], [0, 0, 3]])) == [1, 2, 0]


def test_the_order_of_a_thousand_classes() -> None:
    matrix = 10 * np.eye(1000)
    for one in range(400):
        matrix[one, one + 500] = 1 + one % 3
    order = order_by_confusion(matrix)
    assert sorted(order) == list(range(1000))
    assert all(beside(order, one, one + 500) for one in range(400))
    assert order[800:] == [*range(400, 500), *range(900, 1000)]


def test_the_classification_report_is_scikit_learns() -> None:
    labels, predictions = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2], [0, 0, 1, 2, 1, 1, 0, 2, 2, 0, 1, 1]
    it = found([CLASSES[i] for i in labels], 0.8 * np.eye(5)[predictions] + 0.04, CLASSES)
    report = it.classification_report()
    precision, recall, f1, photos = precision_recall_fscore_support(
        labels, predictions, labels=range(5), zero_division=np.nan
    )
    theirs = {"photos": photos, "recall": recall, "precision": precision, "f1": f1}
    for name, values in theirs.items():
        np.testing.assert_allclose(report[name], values, err_msg=name)
    right, wrong = -np.log(0.84), -np.log(0.04)
    losses = [(2 * right + 2 * wrong) / 4, (2 * right + wrong) / 3, (2 * right + 3 * wrong) / 5]
    assert report["loss"][:3].tolist() == pytest.approx(losses)
    assert report.index.tolist() == CLASSES


def test_what_is_undefined_in_the_classification_report_is_nan() -> None:
    # No photo is a bird, one is taken for it; a cat is never predicted; neither for the newt.
    it = found(["dog", "dog", "Cat"], np.eye(4)[[0, 2, 0]], CLASSES[:4])
    report = it.classification_report()
    undefined = report.isna()
    assert undefined.loc["dog"].tolist() == [False] * 5
    assert undefined.loc["Cat", "precision"]
    assert report.loc["Cat", ["photos", "recall", "f1"]].tolist() == [1, 0, 0]
    assert undefined.loc["bird", ["recall", "loss"]].all()
    assert report.loc["bird", ["photos", "precision", "f1"]].tolist() == [0, 0, 0]
    assert undefined.loc["newt"].tolist() == [False, True, True, True, True]


def two_splits() -> Interpretation:
    """Four photos of classes that are in no alphabetical order."""
    probabilities = [(0.7, 0.2, 0.1), (0.1, 0.6, 0.3), (0.3, 0.5, 0.2), (1e-9, 0.5, 0.5 - 1e-9)]
    photos = [
        Photo("d.jpg", "dog", "valid"), Photo("c ü.jpg", "Cat", "test"),
        Photo("b.jpg", "bird", "valid"), Photo("a.jpg", "dog", "test"),
    ]  # fmt: skip
    return Interpretation.of_photos(photos, np.log(probabilities), CLASSES[:3])


def test_one_split_alone_has_row_numbers_of_its_own() -> None:
    both = two_splits()
    test = both.of("test")
    assert test.table["path"].tolist() == ["c ü.jpg", "a.jpg"]
    assert test.table.index.tolist() == [0, 1]
    assert test.classes == both.classes
    assert test.log_probabilities.tolist() == both.log_probabilities[[1, 3]].tolist()
    assert test.top_losses(1)["path"].tolist() == ["a.jpg"]
    assert test.accuracy == 0.5
    assert len(both.of("train")) == 0
    assert both.of("train").random_incorrect().empty
    assert both.of("train").confusion_matrix().to_numpy().sum() == 0


def test_predictions_come_back_as_they_were_written(tmp_path: Path) -> None:
    file, it = tmp_path / "new" / "predictions.parquet", two_splits()
    it.save(file, run="outputs/run", views=2)
    again = Interpretation.load(file)
    assert again.classes == ["dog", "Cat", "bird"]
    np.testing.assert_allclose(again.log_probabilities, it.log_probabilities, rtol=1e-6)
    pd.testing.assert_frame_equal(again.table, it.table, check_dtype=False, rtol=1e-6)
    about = {"classes": again.classes, "run": "outputs/run", "views": 2}
    assert json.loads(read_schema(file).metadata[b"pets"]) == about
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert again.predictions.tolist() == it.predictions.tolist() == [0, 1, 1, 1]
    assert again[3].loss == pytest.approx(-np.log(1e-9))
    assert again.most_confused() == it.most_confused()
    assert Interpretation.load(file, "test").table["path"].tolist() == ["c ü.jpg", "a.jpg"]
    # Other tools find the lists under their names.
    column = pd.read_parquet(file)["probabilities"]
    np.testing.assert_allclose(np.stack(column), it.probabilities, rtol=1e-5)


def test_predictions_are_written_over_older_ones(tmp_path: Path) -> None:
    file = tmp_path / "predictions.parquet"
    cats_and_dogs().save(file)
    two_splits().save(file)
    assert len(Interpretation.load(file)) == 4


def test_no_photos_are_a_table_too(tmp_path: Path) -> None:
    file = tmp_path / "predictions.parquet"
    two_splits().of("train").save(file)
    none = Interpretation.load(file)
    assert len(none) == 0
    assert none.log_probabilities.shape == (0, 3)
    assert none.top_losses().empty


def test_files_that_are_no_predictions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("path,label\na.jpg,cat\n")
    (tmp_path / "empty.parquet").touch()
    two_splits().table.to_parquet(tmp_path / "else.parquet")
    two_splits().save(tmp_path / "cut.parquet")
    whole = (tmp_path / "cut.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "empty", "else", "cut", "missing"):
        file = tmp_path / f"{name}.parquet"
        with pytest.raises(
            RunError, match="is not a predictions table of pets interpret"
        ) as caught:
            Interpretation.load(file)
        assert str(caught.value).startswith(f"{file}: ")
        assert "\n" not in str(caught.value)
