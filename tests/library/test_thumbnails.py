"""Thumbnails: small, upright, in order, and a reason for each photo that has none."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_library import write_photo

from photoseek import Photo, PhotoLibrary
from photoseek.indexer.thumbnail import ThumbnailRules
from photoseek.thumbnails import iter_thumbnails


@pytest.fixture
def found(library: PhotoLibrary, photos: Path) -> list[Photo]:
    """Photos of a library, by name: four that differ, then one with a copy."""
    for name, colour in (("a", "red"), ("b", "green"), ("c", "blue"), ("d", "yellow")):
        write_photo(photos / f"{name}.png", colour)
    write_photo(photos / "e.png", "pink", seed=5)
    write_photo(photos / "f.png", "pink", seed=5)
    library.index(photos)
    return sorted(library.photos(), key=lambda photo: photo.path or Path())


def test_a_thumbnail_for_each_photo_or_a_reason(library: PhotoLibrary, found: list[Photo]) -> None:
    red, green, blue, yellow, pink = found
    assert green.path is not None
    assert blue.path is not None
    green.path.unlink()
    blue.path.write_bytes(b"\x89PNG\r\n\x1a\n")
    away = replace(yellow, offline=True)
    shown = list(library.iter_thumbnails([red, green, blue, away, pink], side=16))
    assert [thumbnail.photo for thumbnail in shown] == [red, green, blue, away, pink]
    assert shown[0].picture is not None
    assert shown[0].picture.shape == (16, 16, 3)
    assert shown[0].picture.mean(axis=(0, 1)).argmax() == 0
    assert [thumbnail.reason for thumbnail in shown if thumbnail.picture is None] == [
        "the file is gone",
        shown[2].reason,
        "its drive is away",
    ]
    assert "PNG" in str(shown[2].reason)
    assert shown[4].picture is not None


def test_a_copy_stands_in_for_a_file_that_is_gone(library: PhotoLibrary, found: list[Photo]) -> None:
    pink = found[-1]
    assert len(pink.paths) == 2
    pink.paths[0].unlink()
    (thumbnail,) = library.iter_thumbnails([pink])
    assert thumbnail.picture is not None


def test_a_picture_that_an_app_keeps_has_a_reason(library: PhotoLibrary, photos: Path) -> None:
    added = library.add(write_photo(photos / "a.png", "red").read_bytes(), id="of the app")
    (thumbnail,) = library.iter_thumbnails([added])
    assert (thumbnail.picture, thumbnail.reason) == (None, "kept by an app, not in a file")
    assert list(library.iter_thumbnails([])) == []


def test_thumbnails_are_upright_in_real_workers(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from photoseek.indexer.workers import DecodeWorkers

    halves = np.zeros((1200, 1600, 3), dtype=np.uint8)
    halves[:, :800] = (250, 0, 0)
    image = Image.fromarray(halves)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned: left is up
    image.save(photos / "turned.jpg", exif=exif)
    library.index(photos)
    monkeypatch.setattr("photoseek.thumbnails.DecodeWorkers", DecodeWorkers)
    (thumbnail,) = iter_thumbnails(library.photos(), 100)
    assert thumbnail.picture is not None
    assert thumbnail.picture.shape == (100, 75, 3)
    assert thumbnail.picture[:40, :, 0].min() > 200
    assert thumbnail.picture[60:].max() < 50


@pytest.mark.parametrize(
    ("size", "expected"), [((4000, 3000), (320, 240)), ((10, 20), (10, 20)), ((5000, 2), (320, 1))]
)
def test_thumbnails_keep_the_proportions_and_are_never_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    picture = ThumbnailRules(320).prepare(Image.new("RGB", size, "white"))
    assert (picture.shape[1], picture.shape[0]) == expected
    assert picture.min() > 250


@pytest.mark.parametrize("side", [0, -1, 5000])
def test_a_side_without_sense_is_refused(library: PhotoLibrary, side: int) -> None:
    with pytest.raises(ValueError, match="side of a thumbnail"):
        list(library.iter_thumbnails([], side=side))


def test_a_name_that_is_no_text_has_a_thumbnail(open_library: Callable[..., PhotoLibrary], photos: Path) -> None:
    write_photo(os.fsencode(photos) + b"/\xff.png", "red")
    with open_library() as library:
        library.index(photos)
        (thumbnail,) = library.iter_thumbnails(library.photos())
    assert thumbnail.picture is not None
