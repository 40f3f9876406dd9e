"""Pictures as rows of patches, and the positions of a native grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def patchify(pictures: NDArray[np.uint8], patch: int) -> NDArray[np.uint8]:
    """Cut pictures into patches, row by row.

    Args:
        pictures: (batch, height, width, 3); sides are multiples of `patch`.
    Returns:
        (batch, patches, patch * patch * 3), each patch in the order y, x, channel.
    """
    batch, height, width, _ = pictures.shape
    rows, columns = height // patch, width // patch
    grid = pictures.reshape(batch, rows, patch, columns, patch, 3)
    return np.ascontiguousarray(grid.transpose(0, 1, 3, 2, 4, 5)).reshape(batch, rows * columns, -1)


def patch_matrix(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The convolution (width, 3, patch, patch) as a matrix (width, patch * patch * 3) for `patchify`'s rows."""
    return np.ascontiguousarray(kernel.transpose(0, 2, 3, 1)).reshape(kernel.shape[0], -1)


def sincos_positions(rows: int, columns: int, width: int) -> NDArray[np.float32]:
    """2-D sin-cos position embeddings of a native tower, (rows * columns, width).

    A quarter of the width each for sin and cos of the column, then sin and cos of the row, at frequencies
    10000 ** (-i / quarter). Source: apple/ml-aim, aim-v1 layers.py (get_2d_sincos_pos_embed), where the
    column comes first.
    """
    quarter = width // 4
    frequencies = 10000.0 ** (-np.arange(quarter, dtype=np.float64) / quarter)
    row, column = np.divmod(np.arange(rows * columns), columns)
    angles = [np.outer(axis, frequencies) for axis in (column, row)]
    parts = [function(angle) for angle in angles for function in (np.sin, np.cos)]
    return np.concatenate(parts, axis=1).astype(np.float32)
