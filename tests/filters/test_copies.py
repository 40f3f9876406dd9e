"""One picture in several files: a filtered answer shows a file on which the filter holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import COLOURS
from PIL import Image
from small_library import write_photo

from photoseek import PhotoLibrary, where
from photoseek.conditions import Condition

EXIF_IFD, TAKEN = 0x8769, 0x9003


def save(image: Image.Image, path: Path, year: int | None) -> None:
    exif = Image.Exif()
    if year is not None:
        exif.get_ifd(EXIF_IFD)[TAKEN] = f"{year}:06:01 12:00:00"
    image.save(path, exif=exif)


@pytest.fixture
def copies(library: PhotoLibrary, photos: Path) -> PhotoLibrary:
    """The same pixels in three files: `a.jpg` of 2001, `b.jpg` of 2008, and `c.jpg` without a date."""
    image = Image.new("RGB", (40, 40), COLOURS["red"])
    for name, year in (("a", 2001), ("b", 2008), ("c", None)):
        save(image, photos / f"{name}.jpg", year)
    write_photo(photos / "blue.png", "blue")
    library.index(photos)
    return library


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        (None, "a"),
        (where.taken.on(2001), "a"),
        (where.taken.on(2008), "b"),
        (where.words("c"), "c"),
        (where.words("c") | where.taken.on(2008), "b"),
    ],
)
def test_the_file_that_satisfies_the_filter_is_shown(copies: PhotoLibrary, condition: Condition, name: str) -> None:
    (match,) = copies.search("red", where=condition, limit=1)
    listed = next(photo for photo in copies.photos(where=condition) if len(photo.ids) == 3)
    for photo in (match, listed):
        assert photo.path is not None
        assert photo.path.stem == name
        assert {path.stem for path in photo.paths} == {"a", "b", "c"}


def test_a_search_among_ids_answers_with_these_ids(copies: PhotoLibrary) -> None:
    (match,) = copies.search("red", limit=1)
    for id in match.ids:
        assert [found.id for found in copies.search("red", ids=[id])] == [id]


def test_quoted_words_show_the_file_that_has_them(copies: PhotoLibrary) -> None:
    for name in ("b", "c"):
        (match,) = copies.search(f'red "{name}"')
        assert match.path is not None
        assert match.path.stem == name


def test_a_photo_has_the_date_of_the_files_that_are_shown(copies: PhotoLibrary, photos: Path) -> None:
    def order() -> list[int]:
        found = copies.search('"jpg"')
        assert [photo.id for photo in copies.photos(where=where.words("jpg"))] == [match.id for match in found]
        return [len(match.ids) for match in found]

    save(Image.new("RGB", (40, 40), COLOURS["green"]), photos / "d.jpg", 2005)
    copies.index()
    assert order() == [3, 1]
    (photos / "b.jpg").unlink()
    copies.index()
    assert order() == [1, 2]
    assert [len(match.ids) for match in copies.search('"jpg"', include_missing=True)] == [3, 1]


def test_a_photo_by_its_id_comes_with_its_copies(copies: PhotoLibrary) -> None:
    (match,) = copies.search("red", limit=1)
    for id in match.ids:
        photo = copies.get(id)
        assert photo is not None
        assert photo.id == id
        assert set(photo.ids) == set(match.ids)
        assert photo.path == photo.paths[0]
