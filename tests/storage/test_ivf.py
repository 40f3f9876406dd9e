"""Lists are the same wherever nearest centroids are found; a stand-in plays the GPUs."""

from __future__ import annotations

import logging
import weakref
from typing import Any

import faiss
import numpy as np
import pytest

from photoseek.storage.faissfile import new_flat
from photoseek.storage.ivf import GPU_BYTES, train_lists

DIM = 16


class Gpus:
    """Lend copies of indexes, and may be full; know what was lent and is still there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lent: list[weakref.ref[faiss.Index]] = []
        self.owned: list[Any] = []
        self.set_aside: list[int] = []
        self.are_full = False
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
        monkeypatch.setattr(faiss, "StandardGpuResources", lambda: self, raising=False)
        monkeypatch.setattr(faiss, "index_cpu_to_gpu_multiple_py", self._lend, raising=False)

    def setTempMemory(self, number: int) -> None:
        self.set_aside.append(number)

    def _lend(self, resources: list[Gpus], index: faiss.Index) -> faiss.Index:
        assert len(resources) == 2
        if self.are_full:
            raise RuntimeError("Error in cudaMalloc: out of memory\nmore of it")
        copy = faiss.clone_index(index)
        self.lent.append(weakref.ref(copy))
        self.owned.append(copy.this)
        return copy


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
    index = train_lists(flat)
    for part in (slice(0, 1500), slice(1500, 2000)):
        index.add(vectors[part])
    assert index.ntotal == 2000
    quantizer = faiss.downcast_index(faiss.downcast_index(index.index).quantizer)
    assert type(faiss.downcast_index(quantizer.index)) is faiss.IndexFlatL2
    return faiss.serialize_index(index).tobytes()


def test_gpus_train_the_same_index_and_keep_nothing(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    here = built(vectors)
    gpus = Gpus(monkeypatch)
    assert built(vectors) == here
    assert len(gpus.lent) == 1
    assert gpus.lent[0]() is None
    assert gpus.owned[0].own(), "what no one owns stays in the GPU's memory for good"
    assert gpus.set_aside == [GPU_BYTES, GPU_BYTES]


def test_gpus_that_are_full_cost_time_only(
    vectors: np.ndarray, gpus: Gpus, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus.are_full = True
    with caplog.at_level(logging.WARNING):
        found = built(vectors)
    assert caplog.text.count("FAISS goes on without GPUs: Error in cudaMalloc: out of memory") == 1
    assert "more of it" not in caplog.text
    monkeypatch.undo()
    assert found == built(vectors)
