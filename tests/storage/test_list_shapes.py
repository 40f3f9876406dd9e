"""How near a list is: by the mean of its vectors and their spread, along the axes that matter."""

from __future__ import annotations

import faiss
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from photoseek.storage.faissfile import flat_rows, new_flat
from photoseek.storage.ivf import ENERGY_KEPT, centroids_of, lists_of, positions_in, rotation_of, train_lists
from photoseek.storage.list_shapes import NEVER_NEAR, SPREAD_SHARE, TOP_LISTS, list_shapes, nearness_of, top_nearness
from photoseek.storage.lists import Lists, Reach
from photoseek.storage.tuning import EVERY_LIST, tune


def unit(rows: int, dim: int, seed: int, spread: float = 1.0) -> np.ndarray:
    """Vectors around one direction; the smaller the spread, the nearer to it. Later axes count less."""
    random = np.random.default_rng(seed)
    made = random.normal(size=(1, dim)) + spread * random.normal(size=(rows, dim)) * 0.9 ** np.arange(dim)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def filled(vectors: np.ndarray) -> tuple[faiss.IndexScalarQuantizer, faiss.IndexPreTransform]:
    """The vectors in a flat index, and in lists trained on it."""
    flat = new_flat(vectors.shape[1])
    flat.add(vectors)
    index = train_lists(flat)
    index.add(vectors)
    return flat, index


def shapes_of(flat: faiss.IndexScalarQuantizer, index: faiss.IndexPreTransform) -> np.ndarray:
    centroids, axes = centroids_of(index)
    return list_shapes(flat_rows(flat), lists_of(index), len(centroids), axes)


@given(
    dim=st.integers(2, 24), nlist=st.integers(1, 12), rows=st.integers(1, 300), seed=st.integers(0, 99), data=st.data()
)
@settings(max_examples=40, deadline=None)
def test_nearness_is_the_product_with_the_mean_and_a_share_of_the_spread(
    dim: int, nlist: int, rows: int, seed: int, data: st.DataObject
) -> None:
    vectors = unit(rows, dim, seed).astype(np.float16)
    of_rows = np.array(data.draw(st.lists(st.integers(0, nlist - 1), min_size=rows, max_size=rows)), dtype=np.int64)
    query = unit(1, dim, seed + 1)[0]
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0].astype(np.float32)
    shapes = list_shapes(vectors, of_rows, nlist, axes)
    found = nearness_of(shapes, axes @ query)
    for number in range(nlist):
        held = vectors[of_rows == number].astype(np.float64)
        if not len(held):
            assert found[number] <= NEVER_NEAR + 1
            continue
        mean = held.mean(axis=0)
        spread = np.sqrt(((held - mean) ** 2).sum(axis=1).mean())
        expected = mean @ query + SPREAD_SHARE * spread
        assert abs(found[number] - expected) < 0.01


@given(nlist=st.integers(1, 60), queries=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_reach_starts_from_the_nearest_lists_of_a_query(nlist: int, queries: int, seed: int) -> None:
    nearness = np.random.default_rng(seed).normal(size=(queries, nlist)).astype(np.float32)
    tops = top_nearness(nearness)
    for row, top in zip(nearness, tops, strict=True):
        assert abs(top - np.sort(row)[-TOP_LISTS:].mean()) < 1e-5
        assert top_nearness(row) == top
        assert (row >= top).any(), "a reach of 0 still probes a list"


def test_axes_along_which_lists_hardly_differ_are_left_out() -> None:
    vectors = unit(4000, 32, 1)
    flat, index = filled(vectors)
    centroids, axes = centroids_of(index)
    assert np.allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-5)
    assert len(axes) < 32
    held = np.square(vectors @ axes.T).sum(axis=1).mean()
    assert ENERGY_KEPT - 0.02 < held < ENERGY_KEPT + 0.02
    ivf = faiss.downcast_index(index.index)
    of_rows = lists_of(index)
    assert all((of_rows[positions_in(ivf, number)] == number).all() for number in range(ivf.nlist))
    distances = np.square((vectors @ axes.T)[:, None] - centroids[None]).sum(axis=2)
    assert np.allclose(distances[np.arange(4000), of_rows], distances.min(axis=1), atol=1e-5), "the nearest centroid"
    shapes = list_shapes(flat_rows(flat), of_rows, ivf.nlist, axes)
    means = np.stack([vectors[of_rows == number].mean(axis=0) for number in range(ivf.nlist)])
    assert np.abs(centroids - means @ axes.T).max() < 0.1
    for query in unit(20, 32, 2):
        near = nearness_of(shapes, axes @ query) - shapes[:, -1]
        assert np.abs(near - means @ query).max() < np.sqrt(1 - ENERGY_KEPT)


@given(dim=st.integers(1, 40), rows=st.integers(40, 77), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_products_with_a_query_stay_as_they_are(dim: int, rows: int, seed: int) -> None:
    vectors, query = unit(rows, dim, seed), unit(1, dim, seed + 1)[0]
    flat = new_flat(dim)
    flat.add(vectors)
    index = train_lists(flat)
    rotation = rotation_of(index)
    assert np.allclose((vectors @ rotation.T) @ (rotation @ query), vectors @ query, atol=1e-4)


def test_every_list_finds_what_an_exact_search_finds() -> None:
    vectors, queries = unit(3000, 32, 3), unit(60, 32, 4)
    flat, index = filled(vectors)
    shapes = shapes_of(flat, index)
    lists = Lists(index, shapes, Reach(EVERY_LIST, 3000, EVERY_LIST))
    for query in queries:
        assert np.array_equal(np.sort(lists.nearest(query, 3000, None)), np.arange(3000))
    tuned = tune(index, shapes, flat, queries)
    assert tuned.recall >= 0.99


def test_scores_by_codes_are_near_the_exact_ones() -> None:
    """Lists, their scores and the codes of what is left fit each other."""
    vectors = unit(5000, 32, 5)
    flat, index = filled(vectors)
    shapes = shapes_of(flat, index)
    lists = Lists(index, shapes, Reach(EVERY_LIST, 5000, EVERY_LIST))
    every = np.arange(len(shapes))
    for query in unit(10, 32, 6):
        positions, scores = lists.probe(query, 5000, every, None)
        exact = vectors[positions] @ query
        assert np.abs(scores - exact).mean() < 0.25 * exact.std()
