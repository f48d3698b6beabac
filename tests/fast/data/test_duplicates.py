"""Duplicates by bytes or by appearance, among many photos."""

import numpy as np
import pytest

from pets.data.duplicates import as_words, bits_apart, groups_of, look_alike, near_pairs


def hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 4), dtype=np.uint64)


def flipped(args: np.ndarray, bits: int, seed: int) -> np.ndarray:
    """The row with `count` of its bits changed."""
    changed = np.unpackbits(args.view(np.uint8))
    changed[np.random.default_rng(seed).permutation(256)[:bits]] ^= 1
    return np.packbits(changed).view(np.uint64)


@pytest.mark.parametrize("limit", [0, 1, 7, 24, 32, 48])
def test_near_pairs_are_those_of_comparing_all_with_all(limit: int) -> None:
    args = hashes(400)
    for row in range(100):
        args[399 - row] = flipped(args[row], 1 + row // 2, row)
    result = np.concatenate(list(near_pairs(args, limit)), axis=1)
    apart = bits_apart(args[:, None], args[None])
    expected = {(a, b) for a, b in zip(*np.nonzero(apart <= limit), strict=True) if a < b}
    assert {(min(pair), max(pair)) for pair in result.T.tolist()} == expected
    assert len(expected) == min(2 * limit, 100)


def test_bits_apart_counts_all_of_them() -> None:
    args = as_words(["0123456789abcdef" * 4])
    assert bits_apart(args, ~args).tolist() == [256]


def test_groups_are_chains_also_of_mirrored_and_of_equal_hashes() -> None:
    args = hashes(9)
    mirrored = hashes(9, seed=1)
    args[3] = flipped(args[0], 30, 3)
    args[5] = flipped(args[3], 30, 5)  # like 3; 60 bits from 0
    args[7] = flipped(mirrored[1], 12, 7)  # 1 in the mirror
    args[8] = args[2]
    assert bits_apart(args[:1], args[5:6]) > 32
    groups = look_alike(args, mirrored, 32)
    assert sorted(map(tuple, groups)) == [(0, 3, 5), (1, 7), (2, 8)]
    assert look_alike(args[:1], mirrored[:1], 32) == []


def test_many_equal_pictures_are_one_group() -> None:
    args = np.repeat(hashes(2), 5_000, axis=0)
    groups = look_alike(args, hashes(10_000, seed=1), 32)
    assert [len(group) for group in groups] == [5_000, 5_000]


def test_files_with_the_same_bytes_are_grouped() -> None:
    assert groups_of(["a", "b", "a", "c", "b", "a"]) == [[0, 2, 5], [1, 4]]
