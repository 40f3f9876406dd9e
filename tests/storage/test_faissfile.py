"""A flat index written part by part is the file that FAISS itself would write."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photoseek.storage.faissfile import flat_rows, new_flat, open_index, write_flat, write_index


@settings(max_examples=30)
@given(dim=st.integers(1, 40), sizes=st.lists(st.integers(0, 30), max_size=5), seed=st.integers(0, 9))
def test_parts_become_the_file_that_faiss_writes(dim: int, sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(size, dim)).astype(np.float16) for size in sizes]
    whole = np.concatenate([np.empty((0, dim), np.float16), *parts])
    index = new_flat(dim)
    index.add(whole.astype(np.float32))
    with TemporaryDirectory() as folder:
        streamed, own = Path(folder) / "streamed.faiss", Path(folder) / "own.faiss"
        assert write_flat(streamed, dim, iter(parts)) == len(whole)
        write_index(index, own)
        assert streamed.read_bytes() == own.read_bytes()
        read = open_index(streamed, mapped=True)
        assert read.ntotal == len(whole)
        assert np.array_equal(flat_rows(read), whole)
        del read  # Windows cannot delete what is mapped


def test_a_file_that_exists_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "vectors.faiss").write_bytes(b"something")
    with pytest.raises(FileExistsError):
        write_flat(tmp_path / "vectors.faiss", 4, [])
    assert (tmp_path / "vectors.faiss").read_bytes() == b"something"
