"""Vectors on their way into and out of storage: checked before, float16 inside, float32 outside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

BYTES_PER_NUMBER = 2
LENGTH_TOLERANCE = 1e-3
"""How far a stored vector's length may be from 1; float16 rounding moves it by about 1e-5."""


def check_vectors(vectors: NDArray[np.floating], dim: int) -> None:
    """Refuse what FAISS would store without a word.

    Raises:
        ValueError: not a matrix of width `dim`, not finite, or a row that is no unit vector.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise ValueError(f"expected vectors of shape (n, {dim}), got {vectors.shape}")
    norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
    bad = np.flatnonzero(~(np.abs(norms - 1) <= LENGTH_TOLERANCE))  # NaN compares false, so it is caught
    if bad.size:
        raise ValueError(f"rows {bad[:10].tolist()} are no unit vectors (length {norms[bad[0]]:.4f})")


def to_blob(vector: NDArray[np.floating]) -> bytes:
    """One unit vector as little-endian float16."""
    return vector.astype("<f2").tobytes()


def from_blobs(blobs: Sequence[bytes], dim: int) -> NDArray[np.float16]:
    """Stored vectors, float16 (n, dim)."""
    return np.frombuffer(b"".join(blobs), dtype="<f2").reshape(len(blobs), dim)


def read_blobs(
    connection: sa.Connection, space_id: int, *, after: int, last: int = 2**63 - 1, rows: int = -1
) -> Sequence[tuple[int, bytes]]:
    """(id, vector) of a space's embeddings with ids above `after` up to `last`, ascending; at most `rows`, -1 for all.

    NOT INDEXED, since SQLite would go through all of the space's embeddings by another index than that of the ids.
    """
    statement = (
        "SELECT id, vector FROM embeddings NOT INDEXED WHERE space_id = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?"
    )
    found = connection.exec_driver_sql(statement, (space_id, after, last, rows))
    return [(id, vector) for id, vector in found]
