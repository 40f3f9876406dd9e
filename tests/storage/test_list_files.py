"""Lists on the disk answer as those in memory did, mapped or copied, and can be added to when copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from photoseek.errors import DamageError
from photoseek.storage.faissfile import new_flat
from photoseek.storage.ivf import centroids_of, train_lists
from photoseek.storage.list_files import (
    LISTS_FILE,
    ROWS_FILE,
    SHAPES_FILE,
    SIZES_FILE,
    has_lists,
    open_lists,
    read_shapes,
    write_lists,
)

ROWS = 1500


def unit(rows: int, dim: int, seed: int) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def built(vectors: np.ndarray) -> Any:
    flat = new_flat(vectors.shape[1])
    flat.add(vectors[:ROWS])
    index = train_lists(flat)
    index.add(vectors)
    return index


def shapes_of(index: Any) -> np.ndarray:
    """Some, of the right size."""
    nlist, axes = centroids_of(index)[0].shape
    return np.arange(nlist * (axes + 1), dtype=np.float32).reshape(nlist, axes + 1)


def written(vectors: np.ndarray, folder: Path) -> None:
    index = built(vectors)
    write_lists(index, shapes_of(index), folder)


def found(index: Any, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    faiss.downcast_index(index.index).nprobe = 7
    scores, positions = index.search(queries, 30)
    return scores, positions


@pytest.mark.parametrize("dim", [16, 7], ids=["even", "odd"])
@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "copied"])
def test_written_lists_answer_as_before(tmp_path: Path, dim: int, mapped: bool) -> None:
    index, queries = built(unit(ROWS, dim, 1)), unit(40, dim, 2)
    scores, positions = found(index, queries)
    write_lists(index, shapes_of(index), tmp_path)
    assert has_lists(tmp_path)
    assert index.ntotal == 0
    read = open_lists(tmp_path, mapped=mapped)
    assert read.ntotal == ROWS
    assert faiss.downcast_index(read.index).precomputed_table.size() == 0, "memory for distances, which nobody asks for"
    assert np.array_equal(read_shapes(tmp_path, read), shapes_of(index))
    again = found(read, queries)
    assert np.array_equal(again[0], scores)
    assert np.array_equal(np.sort(again[1]), np.sort(positions)), "equal scores may change places"


def test_copied_lists_can_be_added_to(tmp_path: Path) -> None:
    vectors, queries = unit(ROWS + 333, 16, 3), unit(40, 16, 4)
    whole = found(built(vectors), queries)
    written(vectors[:ROWS], tmp_path)
    index = open_lists(tmp_path, mapped=False)
    index.add(vectors[ROWS:])
    assert index.ntotal == ROWS + 333
    assert np.array_equal(found(index, queries)[0], whole[0])


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _negative(path: Path) -> None:
    sizes = np.load(path)
    sizes[:2] = -1, sizes[0] + sizes[1] + 1
    np.save(path, sizes)


def _fewer(path: Path) -> None:
    np.save(path, np.load(path)[1:])


@pytest.mark.parametrize(
    ("name", "damage"), [(ROWS_FILE, _cut), (SIZES_FILE, _negative), (SIZES_FILE, _fewer), (LISTS_FILE, _cut)]
)
def test_files_that_do_not_fit_are_damage(tmp_path: Path, name: str, damage: Any) -> None:
    """Mapped all the same they would end the process."""
    written(unit(ROWS, 16, 5), tmp_path)
    damage(tmp_path / name)
    with pytest.raises(DamageError, match="damaged"):
        open_lists(tmp_path, mapped=True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda shapes: shapes[:0],
        lambda shapes: shapes[:, 0],
        lambda shapes: shapes[1:],
        lambda shapes: shapes.astype(np.float64),
        lambda shapes: shapes[:, 1:],
        lambda shapes: np.hstack([shapes, shapes[:, :1]]),
    ],
    ids=["none", "flat", "too few", "double", "too few axes", "too many axes"],
)
def test_shapes_that_do_not_fit_are_damage(tmp_path: Path, damage: Callable[[np.ndarray], np.ndarray]) -> None:
    written(unit(ROWS, 16, 5), tmp_path)
    np.save(tmp_path / SHAPES_FILE, damage(np.load(tmp_path / SHAPES_FILE)))
    with pytest.raises(DamageError, match=SHAPES_FILE):
        read_shapes(tmp_path, open_lists(tmp_path, mapped=True))


@pytest.mark.parametrize("name", [LISTS_FILE, ROWS_FILE, SIZES_FILE])
def test_a_file_that_is_gone_is_said_to_be(tmp_path: Path, name: str) -> None:
    written(unit(ROWS, 16, 6), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError):
        open_lists(tmp_path, mapped=True)
