"""A fingerprint of a picture: 63 bits that stay when it is resized, recompressed, brightened, greyed or framed.

A plain frame is cut off, the brightness of the square in the middle is averaged to 32 x 32, and its discrete cosine
transform says in its 63 lowest frequencies (of 8 x 8, without the mean) whether each is positive. Zauner 2010,
"Implementation and Benchmarking of Perceptual Image Hash Functions", compares such hashes. Two pictures are alike
when few bits differ; `search/similar.py` has the limits.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from photoseek.contracts import Picture

SIDE = 32
FREQUENCIES = 8
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""ITU-R BT.601."""
FRAME_SHARE_MAX = 0.12
"""Of the picture's height or width; a plain strip that is wider is a background, not a frame."""
FRAME_TOLERANCE = 0.05
"""How far the brightness within a frame may vary, as a share of the picture's: JPEG makes plain colours uneven.

A share, so that a darker copy is cut as its original is."""

Brightness = NDArray[np.float32]


def fingerprint(picture: Picture) -> int:
    """63 bits of a prepared picture as a number from 1 to 2**63 - 1; 0 is never given, so that it can mean "none"."""
    inner = _middle(_without_frame(picture.astype(np.float32) @ LUMA))
    height, width = inner.shape
    small = _averaging(height) @ inner @ _averaging(width).T  # (SIDE, SIDE)
    low = _cosines() @ small @ _cosines().T  # (FREQUENCIES, FREQUENCIES)
    bits = (low > 0).ravel()
    bits[0] = False  # the mean: it is always positive
    return max(1, int.from_bytes(np.packbits(bits).tobytes(), "big"))


def _without_frame(brightness: Brightness) -> Brightness:
    height, width = brightness.shape
    tolerance = FRAME_TOLERANCE * float(brightness.std())
    top, bottom = _frame_lines(brightness, tolerance), _frame_lines(brightness[::-1], tolerance)
    left, right = _frame_lines(brightness.T, tolerance), _frame_lines(brightness.T[::-1], tolerance)
    return brightness[top : height - bottom, left : width - right]


def _frame_lines(brightness: Brightness, tolerance: float) -> int:
    """How many first lines are one plain colour; 0 where there are too many for a frame."""
    most = int(FRAME_SHARE_MAX * len(brightness)) + 1
    first = brightness[:most]
    plain = (first.std(axis=1) < tolerance) & (np.abs(first.mean(axis=1) - first[0].mean()) < tolerance)
    lines = int(np.argmin(plain)) if not plain.all() else most
    return lines if lines < most else 0


def _middle(brightness: Brightness) -> Brightness:
    """The largest square in the middle: what a frame left at the sides moves it as little as possible."""
    height, width = brightness.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return brightness[top : top + side, left : left + side]


@functools.cache
def _averaging(size: int) -> Brightness:
    """Matrix (SIDE, size) that averages `size` points to SIDE, each point shared by where it lies."""
    edges = np.linspace(0, size, SIDE + 1)
    points = np.arange(size)
    overlap = np.minimum(edges[1:, None], points + 1) - np.maximum(edges[:-1, None], points)
    shares = np.clip(overlap, 0, None)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)


@functools.cache
def _cosines() -> Brightness:
    """The first rows of the discrete cosine transform (type II), (FREQUENCIES, SIDE)."""
    frequencies = np.arange(FREQUENCIES)[:, None]
    return np.cos(np.pi * (2 * np.arange(SIDE) + 1) * frequencies / (2 * SIDE)).astype(np.float32)
