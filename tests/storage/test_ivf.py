"""Lists are the same wherever nearest centroids are found; a stand-in plays the GPUs."""

from __future__ import annotations

import logging

import faiss
import numpy as np
import pytest

from photoseek.storage.faissfile import new_flat
from photoseek.storage.ivf import IvfBuilder

DIM = 16


class Gpus:
    """Lends copies of indexes, and may be full; counts what was lent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lent: list[faiss.Index] = []
        self.free = 10**9
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
        monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", self._lend, raising=False)

    def _lend(self, index: faiss.Index) -> faiss.Index:
        if len(self.lent) >= self.free:
            raise RuntimeError("Error in cudaMalloc: out of memory\nmore of it")
        self.lent.append(faiss.clone_index(index))
        return self.lent[-1]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    return Gpus(monkeypatch)


@pytest.fixture
def vectors() -> np.ndarray:
    made = np.random.default_rng(0).normal(size=(2000, DIM)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def built(vectors: np.ndarray) -> bytes:
    """Inverted lists of all vectors, added in two parts, as they are written to a file."""
    flat = new_flat(DIM)
    flat.add(vectors)
    builder = IvfBuilder()
    index = builder.train(flat)
    for part in (slice(0, 1500), slice(1500, 2000)):
        builder.add(index, vectors[part])
    assert index.ntotal == 2000
    assert type(faiss.downcast_index(faiss.downcast_index(index.index).quantizer)) is faiss.IndexFlatIP
    return faiss.serialize_index(index).tobytes()


def test_gpus_train_and_fill_the_same_index(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    here = built(vectors)
    gpus = Gpus(monkeypatch)
    assert built(vectors) == here
    assert len(gpus.lent) == 3, "k-means, and each part that was added"
    assert gpus.lent[1].ntotal == gpus.lent[2].ntotal > 0


@pytest.mark.parametrize("free", [0, 1, 2])
def test_gpus_that_are_full_cost_time_only(
    vectors: np.ndarray, gpus: Gpus, free: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus.free = free
    with caplog.at_level(logging.WARNING):
        found = built(vectors)
    assert caplog.text.count("FAISS goes on without GPUs: Error in cudaMalloc: out of memory") == 1
    assert "more of it" not in caplog.text
    monkeypatch.undo()
    assert found == built(vectors)
