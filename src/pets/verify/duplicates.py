"""Duplicates by content digest or perceptual hash, as groups of indices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import count

import numpy as np

Words = np.ndarray  # (n, words), uint64: a perceptual hash a row


def groups_of(values: Sequence[Hashable]) -> list[list[int]]:
    """Groups of two or more indices with the same value."""
    groups = defaultdict(list)
    for index, value in enumerate(values):
        groups[value].append(index)
    return [group for group in groups.values() if len(group) > 1]


def look_alike(hashes: Words, mirrored: Words, limit: int) -> list[list[int]]:
    """Groups of two or more indices whose hashes differ in at most `limit` bits, mirrored or not.

    Chains are one group: a photo like a second one, and that like a third.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    photos = len(hashes)
    if photos < 2:
        return []
    # A node for every photo and one for every different hash; a photo hangs on both of its hashes.
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
    """Pairs (2, m) of different rows that differ in at most `limit` bits; a pair may come again.

    The bits are cut into so many parts that two such rows differ in at most one bit of some part
    (multi-index hashing; Norouzi, Punjani, Fleet, CVPR 2012). Only rows that agree on a part but
    for one bit of it are compared, all such at once.
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
            # Half of the bits tell nearly all of them apart.
            near = index[bits_apart(word[index], word[index + step]) <= limit]
            pair = np.stack([order[near], order[near + step]])
            yield pair[:, bits_apart(words[pair[0]], words[pair[1]]) <= limit]


def _parts(words: Words, parts: int) -> Iterator[np.ndarray]:
    """The bits of every row in so many parts or more, each as a number (n,) with one of its bits
    put out, for every bit."""
    bits = np.unpackbits(words.view(np.uint8), axis=1)
    parts = max(parts, bits.shape[1] // 64)
    for part in range(parts):
        # Neighbours in the hash go together in photos; those of a part are far apart.
        number = np.zeros(len(words), np.uint64)
        for column in bits.T[part::parts]:
            number = (number << np.uint64(1)) | column
        for bit in range(len(bits.T[part::parts])):
            yield number & ~np.uint64(1 << bit)
