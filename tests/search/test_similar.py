"""The rule that says which photos are one moment, and folding by it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoseek.search.similar import (
    MEASURED,
    MOMENT_S,
    TILE,
    UNMEASURED,
    Shots,
    differing_bits,
    fold_similar,
    near,
    rule_for,
    seconds,
)

pytestmark = pytest.mark.slow

RULE = MEASURED["builtin"]
NOBODY_KNOWS = float("nan")


def shots(
    angles: list[float], marks: list[int], taken: list[float] | None = None, cameras: list[int] | None = None
) -> Shots:
    """Photos whose vectors lie at these angles (degrees) in a plane."""
    turned = np.radians(angles)
    return Shots(
        np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32).reshape(-1, 2),
        np.array(marks, dtype=np.uint64),
        np.array(taken if taken is not None else [NOBODY_KNOWS] * len(angles), dtype=np.float64),
        np.array(cameras if cameras is not None else [0] * len(angles), dtype=np.int64),
    )


def pair(cosine: float, bits: int, *, seconds: float = NOBODY_KNOWS, cameras: tuple[int, int] = (1, 1)) -> bool:
    """Are two photos near that have this cosine, so many differing bits and so much time between them?"""
    both = shots([0, np.degrees(np.arccos(cosine))], [1 << 62, (1 << 62) | ((1 << bits) - 1)], [0, seconds], [*cameras])
    return bool(near(both.take(np.array([0])), both.take(np.array([1])), RULE)[0])


def test_equal_pictures_are_near_whatever_the_model_says() -> None:
    assert pair(-0.5, 0)
    assert pair(0.1, 6)
    assert not pair(0.1, 7)


@pytest.mark.parametrize(("cosine", "bits"), [(0.76, 12), (0.86, 14), (0.91, 16)])
def test_more_bits_may_differ_where_the_model_agrees(cosine: float, bits: int) -> None:
    assert pair(cosine, bits)
    assert not pair(cosine, bits + 1)
    assert not pair(cosine - 0.05, bits)


def test_two_dogs_on_grass_are_not_one_moment() -> None:
    assert not pair(0.97, 28)
    assert not pair(0.97, 28, seconds=3600)


def test_photos_of_one_camera_within_seconds_are() -> None:
    assert pair(0.85, 28, seconds=MOMENT_S)
    assert not pair(0.85, 28, seconds=MOMENT_S + 1)
    assert not pair(0.5, 28, seconds=1)
    assert not pair(0.85, 28, seconds=1, cameras=(1, 2))
    assert pair(0.85, 28, seconds=1, cameras=(0, 2)), "a copy that lost its camera"


def test_without_fingerprints_only_very_close_vectors_are_near() -> None:
    both = shots([0, 8], [0, 5])  # cosine 0.990
    assert fold_similar(both, RULE) == [[0, 1]]
    assert fold_similar(shots([0, 12], [0, 5]), RULE) == [[0], [1]]


def test_two_missing_fingerprints_are_not_equal_ones() -> None:
    assert fold_similar(shots([0, 90], [0, 0]), RULE) == [[0], [1]]


def test_a_space_that_was_not_measured_is_judged_by_pictures_alone() -> None:
    assert rule_for("somebody/elses-model") == UNMEASURED
    assert rule_for("builtin") == RULE
    assert fold_similar(shots([0, 0, 90], [7, 1 << 40 | 0xFFFFFFF, 6]), UNMEASURED) == [[0, 2], [1]]


def test_a_chain_does_not_become_one_group() -> None:
    """Each is near the next, and only to that: a walk along a beach."""
    steps = 30
    marks = [(1 << 62) | ((1 << 2 * step) - 1) for step in range(steps)]
    groups = fold_similar(shots([0.0] * steps, marks), RULE)
    assert len(groups) > 3
    assert all(differing_bits(np.uint64(marks[g[0]]), np.uint64(marks[m])) <= 16 for g in groups for m in g)


def test_seconds_count_from_1970_in_local_time() -> None:
    assert seconds("1970-01-02T00:00:01.5") == 86401.5
    assert seconds("1919-05-04T05:59:26") < 0
    assert np.isnan(seconds(None))


@st.composite
def some_shots(draw: st.DrawFn) -> Shots:
    """Photos with few different places to be, so that many are near each other."""
    size = draw(st.integers(0, 25))
    many = {"min_size": size, "max_size": size}
    return shots(
        draw(st.lists(st.sampled_from([0.0, 10.0, 25.0, 50.0, 100.0]), **many)),
        draw(st.lists(st.sampled_from([0, 1, 3, 0x3FF, 0x3FFF, 0xFFFFFFFF]), **many)),
        draw(st.lists(st.sampled_from([NOBODY_KNOWS, 0.0, 7.0, 14.0]), **many)),
        draw(st.lists(st.integers(0, 2), **many)),
    )


@given(some_shots())
def test_every_photo_is_in_one_group_with_a_best_that_it_is_near_to(photos: Shots) -> None:
    groups = fold_similar(photos, RULE)
    assert sorted(place for group in groups for place in group) == list(range(len(photos)))
    bests = [group[0] for group in groups]
    assert bests == sorted(bests)
    for group in groups:
        assert group == sorted(group)
        best = photos.take(np.array(group[:1]))
        assert near(best, photos.take(np.array(group[1:], dtype=np.int64)), RULE).all()
    for number, first in enumerate(bests):
        earlier = photos.take(np.array(bests[:number], dtype=np.int64))
        assert not near(photos.take(np.array([first])), earlier, RULE).any(), "it should have joined an earlier one"


def test_folding_hundreds_is_folding_one_after_the_other() -> None:
    """More than one tile: the same as comparing each photo with every best before it."""
    rng = np.random.default_rng(0)
    count = 2 * TILE + 50
    photos = shots(
        rng.uniform(0, 360, count).tolist(),
        rng.choice([0, 1, 0xFF, 0xFFFFFF, 0xFFFFFF << 30], count).tolist(),
        rng.uniform(0, 2000, count).tolist(),
    )
    expected: list[list[int]] = []
    for place in range(count):
        bests = photos.take(np.array([group[0] for group in expected], dtype=np.int64))
        joined = np.flatnonzero(near(photos.take(np.array([place])), bests, RULE))
        expected[joined[0]].append(place) if len(joined) else expected.append([place])
    assert fold_similar(photos, RULE) == expected
    assert len(expected) > 5


@given(some_shots(), st.integers(0, 25))
def test_a_longer_list_begins_like_a_shorter_one(photos: Shots, shorter: int) -> None:
    part = fold_similar(photos.take(np.arange(min(shorter, len(photos)))), RULE)
    whole = fold_similar(photos, RULE)
    assert [group[0] for group in whole][: len(part)] == [group[0] for group in part]
    assert all(long[: len(short)] == short for short, long in zip(part, whole, strict=False))


@given(some_shots())
def test_being_near_goes_both_ways(photos: Shots) -> None:
    if len(photos) > 1:
        left, right = photos.take(np.arange(len(photos) - 1)), photos.take(np.arange(1, len(photos)))
        assert (near(left, right, RULE) == near(right, left, RULE)).all()


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_differing_bits_are_those_of_the_exclusive_or(left: int, right: int) -> None:
    found = differing_bits(np.array([left], dtype=np.uint64), np.array([right], dtype=np.uint64))
    assert found.tolist() == [(left ^ right).bit_count()]
