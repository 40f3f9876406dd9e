"""Fingerprints that differ in few bits, among all of a library."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

BITS = 64
ROWS_AT_ONCE = 4096

Places = NDArray[np.int64]


def close_pairs(fingerprints: NDArray[np.uint64], most_bits: int) -> Iterator[tuple[int, Places, Places]]:
    """All pairs of places whose fingerprints differ in at most so many bits; places with 0 are in none.

    Exact: every fingerprint is compared with every other one, about 2 billion pairs a second and core. Yields how
    many places are done, and the pairs (left < right) whose left one is among the newly done.
    """
    marked = np.flatnonzero(fingerprints)
    codes = np.ascontiguousarray(fingerprints[marked]).view(np.uint8).reshape(-1, BITS // 8)
    # Each pair is looked at once: a block against itself and what comes after it.
    for first in range(0, len(codes), ROWS_AT_ONCE):
        index = faiss.IndexBinaryFlat(BITS)
        index.add(codes[first:])
        block = codes[first : first + ROWS_AT_ONCE]
        limits, _, found = index.range_search(block, most_bits + 1)  # FAISS means "less than"
        rows = np.repeat(np.arange(len(block)), np.diff(limits.astype(np.int64)))
        once = found > rows
        yield first + len(block), marked[first + rows[once]], marked[first + found[once]]
