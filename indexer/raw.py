"""Camera RAW, through LibRaw (the package rawpy, an extra): the preview that the camera put into the file, or what the
sensor saw, developed.

The preview is the JPEG that the camera would have written beside the file; to read it takes a hundredth of the time.
"""

from __future__ import annotations

import io
from types import TracebackType
from typing import Self

from PIL import Image

_ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}
"""LibRaw's turns (dcraw's numbers) as EXIF orientations."""


class UnknownRawError(Exception):
    """LibRaw does not know this kind of file, or cannot see that it is one."""


class RawFile:
    """An opened RAW file; no pixels are read yet."""

    def __init__(self, data: bytes) -> None:
        """Read the header.

        Raises:
            UnknownRawError: see there.
            rawpy.LibRawError: the file is damaged.
        """
        import rawpy  # most folders have no RAW, and many installations none of this

        self._rawpy = rawpy
        try:
            self._raw = rawpy.imread(io.BytesIO(data))
        except rawpy.LibRawFileUnsupportedError as error:
            raise UnknownRawError from error
        sizes = self._raw.sizes
        self._stored = sizes.width, sizes.height
        self._turn = _ORIENTATIONS.get(sizes.flip, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture at full scale."""
        width, height = self._stored
        return (height, width) if self._turn >= 5 else (width, height)

    def preview(self) -> bytes | None:
        """The largest JPEG that the camera put into the file; None where there is none."""
        try:
            preview = self._raw.extract_thumb()
        except (self._rawpy.LibRawNoThumbnailError, self._rawpy.LibRawUnsupportedThumbnailError):
            return None
        return preview.data if isinstance(preview.data, bytes) else None  # else pixels, of a stamp's size

    def turn_of(self, preview_size: tuple[int, int]) -> int:
        """The EXIF orientation that is to be undone on a preview of this size; some cameras store it upright."""
        if self._turn >= 5 and _is_upright(preview_size) != _is_upright(self._stored):
            return 1
        return self._turn

    def develop(self) -> Image.Image:
        """The sensor's picture, upright, in sRGB, with the camera's white balance, at half its size.

        Raises:
            rawpy.LibRawError: the data are damaged.
            ValueError: there are none. (LibRaw takes what it misses for black, and says so on standard error only.)
        """
        pixels = self._raw.postprocess(half_size=True, use_camera_wb=True)
        if pixels.min() == pixels.max():
            raise ValueError("its pixels are missing")
        return Image.fromarray(pixels)


def _is_upright(size: tuple[int, int]) -> bool:
    width, height = size
    return width < height
