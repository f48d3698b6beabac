"""Duplicates by content digest or perceptual hash, as groups of indices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import count

import numpy as np

Words = np.ndarray  # (n, words), uint64: one perceptual hash per row


def groups_of(values: Sequence[Hashable]) -> list[list[int]]:
    """Groups of two or more indices with the same value."""
    groups = defaultdict(list)
    for index, value in enumerate(values):
        groups[value].append(index)
    return [group for group in groups.values() if len(group) > 1]


def look_alike(hashes: Words, mirrored: Words, limit: int) -> list[list[int]]:
    """Groups of two or more indices whose hashes differ in at most `limit` bits, mirrored or not.

    Groups are transitive: if a is like b, and b like c, all three are one group.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    photos = len(hashes)
    if photos < 2:
        return []
    # One node per photo and per distinct hash; a photo is linked to both of its hashes.
    hashed, node = np.unique(np.concatenate([hashes, mirrored]), axis=0, return_inverse=True)
    pairs = [np.stack([np.tile(np.arange(photos), 2), photos + node.ravel()])]
    pairs += [photos + pair for pair in near_pairs(hashed, limit)]
    links = np.concatenate(pairs, axis=1)
    nodes = photos + len(hashed)
    graph = coo_array((np.ones(links.shape[1], bool), (links[0], links[1])), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    return groups_of(component[:photos].tolist())


def as_words(hashes: Sequence[str]) -> Words:
    """Hexadecimal hashes as rows of 64-bit words."""
    return np.array([np.frombuffer(bytes.fromhex(text), np.uint64) for text in hashes])


def bits_apart(a: Words, b: Words) -> np.ndarray:
    """In how many bits each row of `a` differs from the same row of `b`."""
    apart = np.bitwise_count(a ^ b)  # a matrix product is the fastest sum over few columns
    return apart @ np.ones(a.shape[-1], np.uint16)


def near_pairs(words: Words, limit: int) -> Iterator[np.ndarray]:
    """Pairs (2, m) of different rows that differ in at most `limit` bits; pairs may repeat.

    The bits are divided into enough parts that two such rows differ in at most one bit of some part
    (multi-index hashing; Norouzi, Punjani, Fleet, CVPR 2012). Only rows that agree on a part except
    for one bit are compared, vectorised.
    """
    half = np.ascontiguousarray(words[:, : words.shape[1] // 2])
    for key in _parts(words, limit // 2 + 1):
        order = np.argsort(key).astype(np.int32)
        key, word = key[order], half[order]
        index = np.arange(len(words), dtype=np.int32)
        for step in count(1):
            index = index[index + step < len(words)]
            index = index[key[index] == key[index + step]]
            if not len(index):
                break
            # Half of the bits rule out nearly all pairs.
            near = index[bits_apart(word[index], word[index + step]) <= limit]
            pair = np.stack([order[near], order[near + step]])
            yield pair[:, bits_apart(words[pair[0]], words[pair[1]]) <= limit]


def _parts(words: Words, parts: int) -> Iterator[np.ndarray]:
    """Yield, for each of at least `parts` parts of the bits and each bit of it, the part of every
    row as a number (n,) with that bit cleared."""
    bits = np.unpackbits(words.view(np.uint8), axis=1)
    parts = max(parts, bits.shape[1] // 64)
    for part in range(parts):
        # Neighbouring bits are correlated in photos; the bits of one part are far apart.
        number = np.zeros(len(words), np.uint64)
        for column in bits.T[part::parts]:
            number = (number << np.uint64(1)) | column
        for bit in range(len(bits.T[part::parts])):
            yield number & ~np.uint64(1 << bit)
