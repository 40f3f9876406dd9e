"""Reading one photo in the process of a test, whatever its format."""

from __future__ import annotations

import hashlib

from PIL import Image
from small_photos import Squash

from photoseek.contracts import PhotoRead, ReadFailure
from photoseek.indexer.decode import read_photo

STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How Pillow makes the stored picture of each orientation from the upright one."""


def read(data: bytes, preprocessing: Squash | None = None, name: bytes = b"") -> PhotoRead:
    """A photo that must be read."""
    photo = read_photo(data, preprocessing or Squash(), name=name)
    assert isinstance(photo, PhotoRead), photo
    return photo


def failure(data: bytes, name: bytes = b"photo.jpg") -> ReadFailure:
    """Why a photo is not read, as one line."""
    photo = read_photo(data, Squash(), name=name)
    assert isinstance(photo, ReadFailure)
    assert photo.reason.isprintable()
    assert photo.digest == hashlib.sha256(data).digest()
    return photo
