"""A model of colours and a reader without processes: tests of everything around the model run in milliseconds.

The towers know colours and nothing else, so that answers mean something: "red" finds the red photo. They stand
in for those of the tiny checkpoint, whose files, digests and preprocessing are real.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoseek import indexing, picture_reader, thumbnails
from photoseek.binding import ModelBinding
from photoseek.contracts import (
    DecodeJob,
    Embeddings,
    PhotoKnown,
    Picture,
    Preprocessing,
    ReadFailure,
    ReadResult,
)
from photoseek.indexer.decode import read_photo
from photoseek.indexer.photo_file import read_photo_file

DIM = 16
COLOURS = {
    "red": (230, 20, 20),
    "green": (20, 200, 20),
    "blue": (20, 20, 220),
    "yellow": (230, 220, 30),
    "purple": (140, 30, 180),
    "orange": (240, 130, 10),
    "grey": (120, 120, 120),
    "pink": (250, 150, 190),
}
_DETAIL = np.random.default_rng(0).normal(0, 0.01, (DIM - 4, 12)).astype(np.float32)


def _unit(vectors: NDArray[np.float32]) -> Embeddings:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _colour_vector(colour: Sequence[float] | NDArray[np.float32]) -> NDArray[np.float32]:
    """(4,): what separates colours, around the grey in the middle."""
    return np.concatenate([np.asarray(colour, dtype=np.float32) / 127.5 - 1, [0.5]]).astype(np.float32)


class ColourVision:
    """Embeds a picture as its mean colour, with a little of where its brightness lies."""

    dim = DIM
    batch_size, batches_at_once = 1, 1
    encoded = 0
    """Pictures embedded by all towers of this class; tests set it to 0."""

    def __init__(self, turned: bool = False) -> None:
        self._sign = -1.0 if turned else 1.0

    def encode(self, pictures: Sequence[Picture]) -> Embeddings:
        ColourVision.encoded += len(pictures)
        rows = np.empty((len(pictures), DIM), dtype=np.float32)
        for row, picture in zip(rows, pictures, strict=True):
            height, width = picture.shape[:2]
            thirds = picture[: height // 2 * 2, : width // 2 * 2].reshape(2, height // 2, 2, width // 2, 3)
            row[:4] = self._sign * _colour_vector(picture.mean(axis=(0, 1)))
            row[4:] = _DETAIL @ (thirds.mean(axis=(1, 3)).ravel().astype(np.float32) / 8)
        return _unit(rows) if len(rows) else rows


class ColourText:
    """Embeds words as the mean of the colours that they name; other words as a direction of their own."""

    dim = DIM

    def __init__(self, turned: bool = False) -> None:
        self._sign = -1.0 if turned else 1.0

    def encode(self, texts: Sequence[str]) -> Embeddings:
        rows = np.zeros((len(texts), DIM), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            named = [COLOURS[word] for word in text.lower().split() if word in COLOURS]
            seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big")
            if named:
                row[:4] = self._sign * _colour_vector(np.mean(named, axis=0))
            else:
                row[:] = np.random.default_rng(seed).normal(0, 1, DIM)
        return _unit(rows) if len(rows) else rows


class OneByOne:
    """A `PhotoReader` in this process: reads each photo when its answer is asked for."""

    def __init__(self, preprocessing: Preprocessing, *, workers: int | None = None) -> None:
        self._preprocessing = preprocessing

    def read(self, jobs: Iterable[DecodeJob]) -> Iterator[tuple[DecodeJob, ReadResult]]:
        for job in jobs:
            yield job, self._answer(job)

    def close(self) -> None:
        """Nothing to end."""

    def _answer(self, job: DecodeJob) -> ReadResult:
        if job.data is not None:
            return read_photo(job.data, self._preprocessing)
        photo = read_photo_file(job.path)
        if isinstance(photo, ReadFailure):
            return photo
        digest = hashlib.sha256(photo.data).digest()
        if digest in job.known:
            return PhotoKnown(digest, len(photo.data), photo.mtime_ns)
        return read_photo(photo.data, self._preprocessing, name=job.path, mtime_ns=photo.mtime_ns, digest=digest)


def install_fakes(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let every library of this process use the colour model and the reader without processes.

    A checkpoint in a folder whose name begins with "turned" gets towers that compute other vectors, which answer
    words just as well.
    """

    def vision(_binding: ModelBinding, checkpoint: Any, *, long_run: bool = False) -> ColourVision:
        return ColourVision(turned=os.path.basename(checkpoint.folder).startswith("turned"))

    def text(_binding: ModelBinding, checkpoint: Any) -> ColourText:
        return ColourText(turned=os.path.basename(checkpoint.folder).startswith("turned"))

    replace(ModelBinding, "_load_vision", vision)
    replace(ModelBinding, "_load_text", text)
    replace(indexing, "DecodeWorkers", OneByOne)
    replace(picture_reader, "DecodeWorkers", OneByOne)
    replace(thumbnails, "DecodeWorkers", OneByOne)
