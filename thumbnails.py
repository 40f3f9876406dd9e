"""Small upright pictures of photos, for people: decoded in worker processes, as folders are read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from photoseek.contracts import DecodeJob, PhotoRead, Picture, ReadFailure, ReadResult, Trouble
from photoseek.indexer.thumbnail import ThumbnailRules
from photoseek.indexer.workers import DecodeWorkers
from photoseek.search.results import Photo


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A photo made small, or why it cannot be shown."""

    photo: Photo
    picture: Picture | None
    """uint8 (height, width, 3), upright, sRGB."""
    reason: str | None
    """One line, where there is no picture."""


def iter_thumbnails(photos: Sequence[Photo], side: int) -> Iterator[Thumbnail]:
    """One thumbnail for each photo, in their order; a photo that cannot be read stops nothing.

    JPEGs are decoded at the scale that is needed. A hostile file can harm its worker process only. Leaving the
    iteration ends the workers.

    Args:
        side: pixels of the longer side; smaller photos are not enlarged.
    Raises:
        ValueError: the side is not between 1 and 4096.
    """
    answers: dict[int, ReadResult] = {}

    def jobs() -> Iterator[DecodeJob]:
        for number, photo in enumerate(photos):
            place = _place(photo)
            if isinstance(place, Path):
                yield DecodeJob(number, os.path.abspath(os.fsencode(place)))
            else:
                answers[number] = place

    workers = DecodeWorkers(ThumbnailRules(side))
    given = 0
    try:
        for job, answer in workers.read(jobs()):
            answers[job.key] = answer
            while given in answers:
                yield _thumbnail(photos[given], answers.pop(given))
                given += 1
        for photo in photos[given:]:  # behind the last one with a file
            yield _thumbnail(photo, answers.pop(given))
            given += 1
    finally:
        workers.close()


def _place(photo: Photo) -> Path | ReadFailure:
    """Where to read the photo: the first of its copies that is there, or why there is none."""
    if not photo.paths:
        return ReadFailure(Trouble.SKIPPED, "kept by an app, not in a file")
    if photo.offline:
        return ReadFailure(Trouble.SURROUNDINGS, "its drive is away")
    return next((path for path in photo.paths if os.path.exists(path)), photo.paths[0])


def _thumbnail(photo: Photo, answer: ReadResult) -> Thumbnail:
    if isinstance(answer, ReadFailure):
        return Thumbnail(photo, None, answer.reason)
    assert isinstance(answer, PhotoRead), "no digest was named as known"
    return Thumbnail(photo, answer.picture, None)
