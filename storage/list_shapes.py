"""Where the vectors of each inverted list lie, and by that how near to a query the best of them may be.

Of two lists whose vectors' means are equally near, the one whose vectors differ more holds the better ones. So a list's
nearness to a query is the inner product with its mean and a share of its spread. For the same recall with words a
quarter fewer rows are scanned than by the mean alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SPREAD_SHARE = 0.3
"""Of a list's spread, that much is added to its nearness. Measured with words on 1,000,000 vectors: 0 scans 26,400 rows
for recall@10 0.993, 0.1 scans 23,600, 0.3 scans 20,300, 0.5 scans 25,900; centroids instead of means scan 27,200."""
TOP_LISTS = 12
"""The mean of so many nearest lists says how near the best vectors of a query may be. The nearest one alone says it
badly: for the same recall with words a search then scans a third more rows. From 5 to 20 do nearly alike."""
NEVER_NEAR = -9.0
"""The nearness of empty lists."""
ROWS_AT_ONCE = 4096


def list_shapes(
    rows: NDArray[np.float16], of_rows: NDArray[np.int64], nlist: int, axes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What `nearness_of` reads: the lists' means along some axes, and last the share of their spread.

    Args:
        rows: unit vectors (n, dim), read once, in order.
        of_rows: (n,): the list in which each of them stands.
        axes: (k, dim), orthonormal.
    Returns:
        (nlist, k + 1).
    """
    sums = np.zeros((nlist, rows.shape[1]), dtype=np.float32)
    for first in range(0, len(rows), ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        add_by_list(sums, rows[part].astype(np.float32), of_rows[part])
    sizes = np.bincount(of_rows, minlength=nlist)
    means = sums / np.maximum(sizes, 1)[:, None]
    # The mean square of unit vectors is 1.
    spreads = np.sqrt(np.maximum(1 - np.einsum("ld,ld->l", means, means), 0))
    bonus = np.where(sizes > 0, SPREAD_SHARE * spreads, NEVER_NEAR)
    return np.hstack([means @ axes.T, bonus[:, None]]).astype(np.float32)


def add_by_list(sums: NDArray[np.float32], rows: NDArray[np.float32], of_rows: NDArray[np.int64]) -> None:
    """Add to the sums (nlist, n) of all lists the rows (m, n) that stand in them."""
    order = np.argsort(of_rows, kind="stable")
    numbers, starts = np.unique(of_rows[order], return_index=True)
    sums[numbers] += np.add.reduceat(rows[order], starts, axis=0)


def nearness_of(shapes: NDArray[np.float32], along: NDArray[np.float32]) -> NDArray[np.float32]:
    """How near each list is to a query along the same axes, (k,): (nlist,)."""
    return np.asarray(shapes @ np.append(along, np.float32(1)))


def top_nearness(nearness: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the highest along the last axis, from which a search measures how far lists are probed."""
    count = min(TOP_LISTS, nearness.shape[-1])
    top = np.partition(nearness, -count, axis=-1)[..., -count:]
    return np.asarray(top.mean(axis=-1, dtype=np.float32))


def within(nearness: NDArray[np.float32], below: float) -> NDArray[np.bool_]:
    """Which lists are at most so far below the nearest ones, along the last axis."""
    return np.asarray(nearness >= top_nearness(nearness)[..., None] - below)
