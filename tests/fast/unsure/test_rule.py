"""The rule of a run: what it says of photos, and how it is kept."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pets.errors import ConfigError
from pets.export.promise import write_promise
from pets.unsure.calibration import Calibration, HeldOut, raw_distances
from pets.unsure.novelty import fit_typical
from pets.unsure.rule import Unsure

CLASSES = ["Birman", "Ragdoll", "beagle"]
GROUPS: list[str | None] = ["cat", "cat", "dog"]
ABOUT = {"format": "1", "weights": "w", "photos": "p"}


def rule() -> Unsure:
    """From 30 % on a class is in a set; features are typical at (1, 0)."""
    return Unsure(
        CLASSES, GROUPS, [0.3, 0.3, 0.3], limit=2.0, center=[1.0, 0.0], directions=[[0.0, 1.0]],
        variances=[0.25], means=[[0.0], [0.0], [0.1]], rest=0.5,
    )  # fmt: skip


def calibration(photos: int = 100, test: int = 40) -> Calibration:
    random = np.random.default_rng(0)

    def held_out(count: int) -> HeldOut:
        labels = random.integers(0, 3, count)
        logits = random.normal(size=(count, 3))
        logits[np.arange(count), labels] += 2
        scaled = np.exp(logits)
        probabilities = (scaled / scaled.sum(1, keepdims=True)).astype(np.float32)
        return HeldOut(probabilities, labels, random.random(count).astype(np.float32))

    typical = fit_typical(random.random((60, 10)), np.arange(60) % 3, 3, most=4)
    return Calibration(CLASSES, GROUPS, typical, held_out(photos), held_out(test))


def test_a_photo_is_judged_by_its_set_its_group_and_its_distance() -> None:
    probabilities = [[0.6, 0.2, 0.2], [0.4, 0.5, 0.1], [0.4, 0.1, 0.5], [0.6, 0.2, 0.2]]
    judged = rule()(probabilities, [0.1, 0.2, 0.3, 1.5])
    assert judged == [
        {"set": ["Birman"], "superclass": "cat", "none_of_these": 0.1, "unsure": False},
        {"set": ["Ragdoll", "Birman"], "superclass": "cat", "none_of_these": 0.2, "unsure": True},
        {"set": ["beagle", "Birman"], "superclass": None, "none_of_these": 0.3, "unsure": True},
        {"set": ["Birman"], "superclass": "cat", "none_of_these": 1.5, "unsure": True},
    ]
    assert [Unsure.in_words(one) for one in judged] == [
        "", "cat, unsure which: Ragdoll or Birman", "unsure: beagle or Birman", "none of these",
    ]  # fmt: skip


def test_classes_without_groups_have_none_in_common() -> None:
    found = rule()
    found.superclasses = [None, None, None]
    (judged,) = found([[0.4, 0.5, 0.1]], [0.2])
    assert judged["superclass"] is None
    assert Unsure.in_words(judged) == "unsure: Ragdoll or Birman"


def test_a_large_set_is_named_in_part() -> None:
    judged = {"set": list("abcdefg"), "superclass": None, "none_of_these": 0.1, "unsure": True}
    assert Unsure.in_words(judged) == "unsure: a or b or c or d or e or 2 more"


def test_the_distance_is_in_units_of_the_limit() -> None:
    # Normalised (0, 1) lies at (-1, 1) from the center: 1 along the direction, 1 across.
    along = min(1.0, 0.9**2) / 0.25
    assert rule().distances([[0.0, 3.0]])[0] == pytest.approx((along + 1.0 / 0.5) / 2)
    assert rule().distances([[7.0, 0.0]])[0] == pytest.approx(0)


def test_what_is_kept_gives_the_same_promise(tmp_path: Path) -> None:
    kept, file = calibration(), tmp_path / "unsure/last.safetensors"
    kept.save(file, ABOUT)
    read = Calibration.load(file, ABOUT, CLASSES, GROUPS)
    assert read is not None
    ours, theirs = kept.promise(0.9, 0.1), read.promise(0.9, 0.1)
    assert ours.key == theirs.key
    assert ours.summary == theirs.summary
    assert ours.reached is not None
    assert (ours.on_test, ours.reached.photos, ours.reached.promised) == (True, 40, 0.9)
    features = np.random.default_rng(1).random((5, 10))
    assert (raw_distances(kept.typical, features) == raw_distances(read.typical, features)).all()


def test_what_is_of_other_weights_or_damaged_is_fitted_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "unsure/last.safetensors"
    assert Calibration.load(file, ABOUT, CLASSES, GROUPS) is None
    calibration().save(file, ABOUT)
    assert Calibration.load(file, ABOUT | {"weights": "x"}, CLASSES, GROUPS) is None
    assert "of other weights or photos; it is fitted again" in caplog.text
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    assert Calibration.load(file, ABOUT, CLASSES, GROUPS) is None
    assert "damaged" in caplog.text
    nan = calibration()
    nan.valid.probabilities[3, 1] = np.nan
    nan.save(file, ABOUT)
    assert Calibration.load(file, ABOUT, CLASSES, GROUPS) is None
    assert "probabilities has the wrong shape or numbers" in caplog.text
    nan = calibration()
    nan.typical.center[2] = np.nan
    nan.save(file, ABOUT)
    assert Calibration.load(file, ABOUT, CLASSES, GROUPS) is None
    assert "center has the wrong shape or numbers" in caplog.text


def test_the_promise_is_measured_by_halves_without_test_photos() -> None:
    promise = calibration(test=0).promise(0.9, 0.1)
    assert promise.reached is not None
    assert (promise.on_test, promise.reached.photos, promise.alarms) == (False, 50, None)
    assert "validation photos, by halves" in promise.summary
    few = calibration(photos=20, test=0).promise(0.95, 0.05)
    assert few.reached is None
    assert few.summary == "sets: too few photos to measure what they reach"


def test_what_test_photos_miss_by_more_than_chance_is_said() -> None:
    """40 test photos and 100 of validation: two deviations of a share of 0.1 are 0.112."""
    kept = calibration().promise(0.9, 0.1)
    assert kept.reached is not None
    assert kept.reached.deviation(0.1) == pytest.approx((0.09 * (1 / 40 + 1 / 102)) ** 0.5)
    assert replace(kept, alarms=8).broken == ""
    assert replace(kept, alarms=9).broken == "false_alarms=0.1"
    few = replace(kept, reached=replace(kept.reached, covered=30), alarms=10)
    assert few.broken == "coverage=0.9 and false_alarms=0.1"
    assert replace(few, on_test=False).broken == ""


def test_too_few_photos_for_a_promise_are_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        calibration(photos=10).promise(0.95, 0.2)
    assert str(caught.value) == (
        "coverage=0.95: the run has 10 validation photos, which can promise at most 0.909; "
        "expected a lower one, or a run with 19 validation photos or more (data.valid_pct)"
    )
    with pytest.raises(ConfigError, match=r"^false_alarms=0.01: the run has 10 .* less than 0.091"):
        calibration(photos=10).promise(0.9, 0.01)
    with pytest.raises(ConfigError, match=r"^false_alarms=1e-20: the run has .* a higher"):
        calibration(photos=10).promise(0.9, 1e-20)


@pytest.mark.parametrize("photos", [13, 20, 998])
def test_what_a_line_proposes_can_be_promised(photos: int) -> None:
    """The proposed numbers are rounded to the side where they hold."""
    with pytest.raises(ConfigError) as caught:
        calibration(photos).promise(0.99999, 0.5)
    most = float(str(caught.value).split("at most ")[1].split(";")[0])
    with pytest.raises(ConfigError) as caught:
        calibration(photos).promise(0.5, 0.00001)
    least = float(str(caught.value).split("less than ")[1].split(";")[0])
    assert calibration(photos).promise(most, least).coverage == most
    with pytest.raises(ConfigError):
        calibration(photos).promise(most + 0.001, least)


def test_an_exports_files_give_the_same_rule(tmp_path: Path) -> None:
    promise = calibration().promise(0.9, 0.1)
    write_promise(tmp_path, promise)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "unsure.json", "unsure.npz", "unsure.py",
    ]  # fmt: skip
    read = Unsure.load(tmp_path)
    assert read is not None
    random = np.random.default_rng(2)
    probabilities, features = random.dirichlet(np.ones(3), 50), random.random((50, 10))
    far = promise.rule.distances(features)
    assert np.allclose(read.distances(features), far, rtol=1e-6)
    assert read(probabilities, far) == promise.rule(probabilities, far)
    assert Unsure.load(tmp_path / "elsewhere") is None
