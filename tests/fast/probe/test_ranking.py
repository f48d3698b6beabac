"""Ranking backbones: a planted tie is called a tie, a planted difference is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pets.comparison.paired import Paired
from pets.probe.features import data_overrides
from pets.probe.race import one_step_larger
from pets.probe.race_result import RaceResult
from pets.probe.ranking import Entrant, Race, verdict
from pets.run_dir import RunDir


def entrant(
    name: str, wrong: list[int] | np.ndarray, speed: float = 100, side: int = 224
) -> Entrant:
    """A backbone that was measured; `wrong` has a photo each."""
    return Entrant(
        name, f"net_{name}", (side, side), tuple(bool(w) for w in wrong), 0.1, 0.2, speed, 13.7,
        "Apache-2.0", (f"model={name}", f"data.size={side}"),
    )  # fmt: skip


def race(*entrants: Entrant, **failures: str) -> Race:
    return Race.of(entrants, failures, 891, 37, "photos")


def first(count: int, photos: int = 100) -> list[int]:
    """The first `count` photos are wrong."""
    return [1] * count + [0] * (photos - count)


def test_an_entrant_is_compared_with_the_best_photo_by_photo() -> None:
    # 3 only the best gets wrong, 12 only the other, 5 both.
    best, other = [1] * 5 + [1] * 3 + [0] * 92, [1] * 5 + [0] * 3 + [1] * 12 + [0] * 80
    two = race(entrant("a", other), entrant("b", best))
    (found,) = two.comparisons
    assert found.paired == Paired(photos=100, both=80, only_old=3, only_new=12)
    assert found.paired.difference == pytest.approx(0.09)
    assert found.p_adjusted == pytest.approx(2 * stats.binom.cdf(3, 15, 0.5))  # 0.035
    assert found.interval == pytest.approx(found.paired.interval)
    assert not found.is_tie
    # Of four entrants the best is chosen, so that each of the six pairs counts.
    four = race(*two.entrants, entrant("c", other), entrant("d", other))
    assert four.pairs == 6
    assert [one.p_adjusted for one in four.comparisons] == pytest.approx([6 * found.p_adjusted] * 3)
    assert all(one.is_tie for one in four.comparisons)
    low, high = four.comparisons[0].interval
    assert (low, high) == pytest.approx(found.paired.interval_at(1 - 0.05 / 6))
    assert low < found.interval[0] < found.interval[1] < high


def test_the_same_predictions_are_a_tie() -> None:
    (found,) = race(entrant("a", first(7)), entrant("b", first(7))).comparisons
    assert (found.paired.difference, found.p_adjusted, found.is_tie) == (0, 1, True)
    assert found.interval[0] == -found.interval[1]


def test_planted_ties_and_differences() -> None:
    """Six backbones of the same true error: all are ties in 95 % of races. One that is 15 points
    worse is no tie in most."""
    rng = np.random.default_rng(0)
    whole, apart = 0, 0
    for _ in range(200):
        hard = rng.random(300)
        same = [entrant(f"m{n}", np.where(rng.random(300) < 0.4, rng.random(300), hard) < 0.12)
                for n in range(6)]  # fmt: skip
        bad = entrant("bad", np.where(rng.random(300) < 0.4, rng.random(300), hard) < 0.27)
        whole += len(race(*same).tied) == 6
        apart += bad not in race(*same, bad).tied
    assert whole >= 190
    assert apart >= 185


def test_the_best_has_the_lowest_error_and_of_equals_the_highest_speed() -> None:
    a, b, c = entrant("a", first(9), 90), entrant("b", first(9), 300), entrant("c", first(2), 10)
    found = race(a, b, c)
    assert [one.name for one in found.entrants] == ["c", "b", "a"]
    assert found.best.interval == pytest.approx(
        tuple(stats.binomtest(2, 100).proportion_ci(method="wilson"))
    )
    # Nine wrong against two, all seven on one side: p = 2 / 2**7, times three for three pairs.
    assert [one.p_adjusted for one in found.comparisons] == pytest.approx([3 * 2 / 2**7] * 2)
    assert [one.name for one in found.pareto_front] == ["c", "b"]


def test_the_sentences_call_ties_ties_and_name_what_is_faster() -> None:
    lite0 = entrant("lite0", first(30, 297), 160)
    lite1, lite2 = entrant("lite1", first(12, 297), 120), entrant("lite2", first(11, 297), 100)
    said = verdict(race(lite0, lite1, lite2))
    assert said[0] == (
        "lite2: 3.7 % validation error on 297 photos (95 % interval 2.1 to 6.5 %), 100 photos a "
        "second."
    )
    assert said[1] == (
        "lite2 and lite1 cannot be told apart on 297 photos; lite1 is 1.2 times as fast."
    )
    assert said[2].startswith("lite2 is better than lite0 by 6.4 points (interval ")
    assert said[3] == "lite0, with 10.1 %, is 1.6 times as fast as lite2."
    assert "Bonferroni's correction for 3 pairs" in said[4]
    lite3 = entrant("lite3", first(13, 297), 60)
    assert verdict(race(lite0, lite1, lite2, lite3))[1] == (
        "lite1, lite3 cannot be told apart from lite2 on 297 photos; lite1 is 1.2 times as fast."
    )
    assert verdict(race(lite1, lite2, lite3))[1] == (
        "None of the other 2 can be told apart from lite2 on 297 photos; lite1 is 1.2 times as "
        "fast."
    )
    alone = verdict(race(lite0, other="it is broken"))
    assert alone[1] == "There is nothing to compare it with: no result of other."
    assert verdict(race(lite0))[1] == "There is nothing to compare it with: it ran alone."


def test_a_backbone_at_two_sizes_is_named_with_its_size() -> None:
    found = race(entrant("a", first(9)), entrant("a", first(3), side=256))
    assert verdict(found)[0].startswith("a at 256 px: 3.0 %")


@pytest.mark.parametrize(
    ("size", "patch", "larger"),
    [
        ((224, 224), (1, 1), (256, 256)),
        ((240, 240), (1, 1), (276, 276)),
        ((260, 260), (1, 1), (300, 300)),
        ((224, 224), (16, 16), (256, 256)),
        ((518, 518), (14, 14), (602, 602)),
        ((64, 96), (1, 1), (72, 112)),
    ],
)
def test_one_step_larger(
    size: tuple[int, int], patch: tuple[int, int], larger: tuple[int, int]
) -> None:
    assert one_step_larger(size, patch) == larger


def test_the_commands_train_the_best_and_a_faster_tie() -> None:
    slow, fast = entrant("slow", first(8), 50), entrant("fast", first(9), 200)
    result = RaceResult(race(slow, fast), ("data=folder", "data.root=my photos"))
    assert result.commands == [
        "pets train data=folder 'data.root=my photos' model=slow data.size=224",
        "pets train data=folder 'data.root=my photos' model=fast data.size=224",
    ]
    alone = RaceResult(race(fast, entrant("slower", first(9), 100)), ())
    assert alone.commands == ["pets train model=fast data.size=224"]


def test_the_commands_have_the_photos_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "overrides.yaml").write_text(
        "[experiment=quickstart, data.root=pets, data.size=96, +data.split_seed=1, seed=3]\n"
    )
    of_run = data_overrides(["data.size=64"], RunDir(tmp_path))
    assert of_run == ("experiment=quickstart", "data.root=pets", "+data.split_seed=1")
    of_run = data_overrides(["data.root=moved"], RunDir(tmp_path))
    assert of_run == ("experiment=quickstart", "data.root=moved", "+data.split_seed=1")
    typed = ["data=folder", "data.size=64", "models=here", "data.root=pets"]
    assert data_overrides(typed, None) == ("data=folder", "data.root=pets")


def test_the_table_has_fractions_and_the_verdict_of_every_row() -> None:
    table = RaceResult(race(entrant("a", first(9), 90), entrant("b", first(30), 300)), ()).table
    assert table.name.tolist() == ["a", "b"]
    assert table.error.tolist() == [0.09, 0.3]
    assert table.tied.tolist() == [True, False]
    assert table.pareto.tolist() == [True, True]
    assert table.difference.tolist() == pytest.approx([0, 0.21])
    assert table.photos_per_second.tolist() == [90, 300]
