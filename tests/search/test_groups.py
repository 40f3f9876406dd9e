"""Groups of a whole library, as numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from photoseek.search.groups import by_similarity, distances_km, firsts, sharing, stars
from photoseek.storage.neighbours import close_pairs

Edges = list[tuple[int, int]]
edges = st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)).filter(lambda pair: pair[0] != pair[1]), max_size=60)


def grouped(pairs: Edges, count: int = 30) -> list[list[int]]:
    left, right = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    return stars(count, left, right)


@given(edges)
def test_stars_are_a_partition_around_centres(pairs: Edges) -> None:
    """Nothing twice; every member is paired with its centre, and no two centres with each other."""
    groups = grouped(pairs)
    paired = {frozenset(pair) for pair in pairs}
    members = [member for group in groups for member in group]
    assert len(members) == len(set(members))
    assert all(frozenset((group[0], member)) in paired for group in groups for member in group[1:])
    assert all(group == sorted(group) and len(group) > 1 for group in groups)
    joined = {member for group in groups for member in group[1:]}
    centres = [node for node in range(30) if node not in joined]
    assert not any(frozenset((a, b)) in paired for a in centres for b in centres if a < b)


@given(edges, st.randoms(use_true_random=False))
def test_the_order_and_direction_of_pairs_do_not_matter(pairs: Edges, random: st.random.Random) -> None:  # type: ignore[name-defined]
    turned = [pair[::-1] if random.random() < 0.5 else pair for pair in pairs]
    random.shuffle(turned)
    assert grouped(turned + pairs) == grouped(pairs)


@given(st.integers(1, 30), edges)
def test_worse_things_never_change_the_groups_of_better_ones(count: int, pairs: Edges) -> None:
    part = grouped([pair for pair in pairs if max(pair) < count], count)
    whole = [[member for member in group if member < count] for group in grouped(pairs)]
    assert [group for group in whole if len(group) > 1] == part


def test_a_long_chain_falls_into_many_groups() -> None:
    assert grouped([(n, n + 1) for n in range(29)]) == [[0, 1], *[[n, n + 1] for n in range(2, 30, 2)]]


def test_sharing_and_firsts_keep_the_order_given() -> None:
    keys = np.array([7, 5, 7, 5, 9, 7])
    order = np.array([5, 3, 0, 4, 1, 2])
    assert firsts(keys, order).tolist() == [5, 3, 4]
    assert [group.tolist() for group in sharing(keys, order)] == [[3, 1], [5, 0, 2]]
    assert sharing(keys[:0], order[:0]) == []


def test_similarity_clusters_hold_everything_once() -> None:
    groups = [np.array([4, 1]), np.array([0, 3, 2])]
    assert [part.tolist() for part in by_similarity(np.array([4, 0, 6, 1, 3, 2, 5]), groups)] == [
        [0, 3, 2],
        [4, 1],
        [6],
        [5],
    ]


def test_distances_are_those_on_the_globe() -> None:
    venice = np.array([45.4375, 12.3358])
    found = distances_km(venice, np.array([[45.4375, 12.3358], [41.8933, 12.4829], [-45.4375, -167.6642]]))
    np.testing.assert_allclose(found, [0, 394, 20015], atol=2)


@given(st.lists(st.integers(0, 2**63 - 1).map(lambda mark: mark & 0x7FF0000000000FFF), max_size=40), st.integers(0, 12))
def test_close_pairs_are_all_pairs_that_are_close(marks: list[int], most_bits: int) -> None:
    fingerprints = np.array(marks, dtype=np.uint64)
    found: list[tuple[int, int]] = []
    for _done, left, right in close_pairs(fingerprints, most_bits):
        found += zip(left.tolist(), right.tolist(), strict=True)
    expected = [
        (a, b)
        for a in range(len(marks))
        for b in range(a + 1, len(marks))
        if marks[a] and marks[b] and (marks[a] ^ marks[b]).bit_count() <= most_bits
    ]
    assert sorted(found) == expected
