"""Reads single pictures for `add`, `search(like=...)` and `classify`: in a worker process, as folders are read.

A decoder that crashes on hostile bytes, hangs, or prints must not do so inside the app that uses the library.
"""

from __future__ import annotations

import io
import os
import threading
from typing import TYPE_CHECKING

from photoseek.contracts import DecodeJob, PhotoRead, Preprocessing, ReadFailure, Trouble
from photoseek.errors import PhotoUnreadableError
from photoseek.indexer.workers import DecodeWorkers

if TYPE_CHECKING:
    from PIL import Image

_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


class PictureReader:
    """One worker process for each preprocessing, started by the first picture and kept until `close`."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._workers: dict[str, DecodeWorkers] = {}

    def read(self, picture: bytes | os.PathLike[str], name: str, preprocessing: Preprocessing) -> PhotoRead:
        """Decode the bytes of a picture, or the file at a path.

        Raises:
            PhotoUnreadableError: it is no picture that can be read; the message names it as `name`.
        """
        with self._guard:
            if preprocessing.digest not in self._workers:
                self._workers[preprocessing.digest] = DecodeWorkers(preprocessing, workers=1)
            workers = self._workers[preprocessing.digest]
        if isinstance(picture, bytes):
            job = DecodeJob(0, b"", data=picture)
        else:
            job = DecodeJob(0, os.path.abspath(os.fsencode(picture)))
        ((_job, result),) = workers.read([job])
        if isinstance(result, ReadFailure):
            if result.trouble is Trouble.VANISHED:
                raise PhotoUnreadableError(f"there is no file {name}", hint="check the spelling of its path")
            raise PhotoUnreadableError(f"{name} cannot be read: {result.reason.removeprefix('cannot be read: ')}")
        assert isinstance(result, PhotoRead), "no digest was named as known"
        return result

    def close(self) -> None:
        with self._guard:
            for workers in self._workers.values():
                workers.close()
            self._workers.clear()


def picture_bytes(picture: bytes | bytearray | memoryview | Image.Image) -> bytes:
    """A picture as the bytes of a file; PIL images become PNG, which loses nothing.

    Raises:
        PhotoUnreadableError: it is neither bytes nor a PIL image that can be loaded.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    stream = io.BytesIO()
    try:
        whole = picture if picture.mode in _PNG_MODES else picture.convert("RGB")
        whole.save(stream, "PNG", compress_level=1)
    except (OSError, ValueError, AttributeError) as error:
        raise PhotoUnreadableError(f"the picture given is neither bytes nor a whole PIL image: {error}") from error
    return stream.getvalue()
