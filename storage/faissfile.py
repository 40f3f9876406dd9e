"""FAISS files: written through a Python stream, since FAISS's own writer hides a full disk; read mapped."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np
from numpy.typing import NDArray

from photoseek.errors import DamageError
from photoseek.storage.durable import synced_file


def write_index(index: faiss.Index, path: Path) -> None:
    """Write a new file, durable on return; a full disk raises the system's OSError."""
    with synced_file(path) as stream:
        sink = _Sink(stream)
        try:
            faiss.write_index(index, faiss.PyCallbackIOWriter(sink.write))
        except Exception:
            if sink.error is not None:
                raise sink.error from None
            raise
        if sink.error is not None:
            raise sink.error


class _Sink:
    """Remembers the error that FAISS would replace by one of its own."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._stream.write(data)
        except OSError as error:
            self.error = error
            raise


def open_index(path: Path, *, mapped: bool) -> Any:
    """Read an index; mapped ones must never be added to (FAISS aborts the process).

    Raises:
        FileNotFoundError: there is no such file.
        DamageError: FAISS cannot read it.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    except RuntimeError as error:
        raise DamageError(
            f"{path} is damaged", hint='run "photoseek verify --repair": it is rebuilt from the catalog'
        ) from error


def write_flat(path: Path, dim: int, parts: Iterable[NDArray[np.float16]]) -> int:
    """Write a new flat index, durable on return, with one part of the rows (n, dim) in memory at a time.

    Returns:
        How many rows it has.
    """
    rows = 0
    with synced_file(path) as stream:
        stream.write(_flat_head(dim, 0))
        for part in parts:
            stream.write(part.astype("<f2", copy=False).tobytes())
            rows += len(part)
        stream.seek(0)
        stream.write(_flat_head(dim, rows))
    return rows


def _flat_head(dim: int, rows: int) -> bytes:
    """What stands before the codes in a flat index's file, their number of bytes last."""
    index = new_flat(dim)
    index.ntotal = rows
    without_codes: bytes = faiss.serialize_index(index).tobytes()
    return without_codes[:-8] + struct.pack("<Q", rows * index.code_size)


def new_flat(dim: int) -> faiss.IndexScalarQuantizer:
    """An exact index of float16 vectors, inner product; ids are positions."""
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.train(np.zeros((1, dim), dtype=np.float32))  # float16 has nothing to learn, FAISS asks all the same
    return index


def flat_rows(index: faiss.IndexScalarQuantizer) -> NDArray[np.float16]:
    """The float16 rows (n, dim) of a flat index, without a copy; valid while the index lives."""
    size = index.ntotal * index.d * 2
    if size == 0:
        return np.empty((0, index.d), dtype=np.float16)
    codes: NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.data(), size)
    return codes.view(np.float16).reshape(index.ntotal, index.d)


def score_rows(
    index: faiss.IndexScalarQuantizer, positions: NDArray[np.int64], query: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `count` best of some rows of a flat index for a query (dim,): positions and exact scores.

    By a flat index of these rows alone: FAISS decodes float16 in half of the time that NumPy takes.
    """
    count = min(count, len(positions))
    if count == 0:
        return positions[:0], np.empty(0, dtype=np.float32)
    some = new_flat(index.d)
    some.add_sa_codes(flat_rows(index)[positions].view(np.uint8))
    scores, found = some.search(query[None], count)
    return positions[found[0]], scores[0]
