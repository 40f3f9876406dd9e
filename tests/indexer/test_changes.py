"""Runs over folders with new, changed, copied and moved photos; the model knows colours (`fakes`)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from index_runs import edit, found, index
from PIL import Image
from small_library import write_photo, write_photos

from photoseek import PhotoLibrary, indexing
from photoseek.indexer import embedding
from photoseek.storage import pruning
from photoseek.storage.files import Files

# New, unchanged, changed


def kept(library: PhotoLibrary) -> set[int]:
    """How many contents, prepared pictures and vectors the catalog holds: one number where they agree."""
    with library._store.catalog.database.reading() as connection:
        tables = ("contents", "prepared", "embeddings")
        return {connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in tables}


def test_new_photos_are_indexed_and_found(library: PhotoLibrary, photos: Path) -> None:
    write_photo(photos / "car.png", "red")
    write_photo(photos / "sky.png", "blue")
    report = index(library, photos)
    assert (report.indexed, report.embedded, report.seen) == (2, 2, 2)
    assert found(library, "red")[0] == "car.png"
    assert found(library, "blue")[0] == "sky.png"


def test_an_unchanged_tree_opens_neither_model_nor_photo(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(photos, 5)
    index(library, photos)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("an unchanged tree needs none of this")

    monkeypatch.setattr(indexing, "DecodeWorkers", refuse)
    monkeypatch.setattr(library._binding, "vision", refuse)
    monkeypatch.setattr(library._binding, "checkpoint", refuse)
    report = index(library)
    assert (report.unchanged, report.indexed, report.embedded) == (5, 0, 0)


def test_a_changed_photo_is_embedded_anew_and_the_old_picture_is_gone(library: PhotoLibrary, photos: Path) -> None:
    write_photo(photos / "a.png", "red")
    write_photo(photos / "b.png", "blue")
    index(library, photos)
    edit(photos / "a.png", "green")
    report = index(library)
    assert (report.indexed, report.unchanged, report.embedded, report.missing) == (1, 1, 1, 0)
    assert found(library, "green")[0] == "a.png"
    assert library.status().photos == 2
    assert len(library.search("red", limit=10)) == 2


def test_what_a_photo_showed_before_it_changed_or_broke_goes_from_the_catalog(
    library: PhotoLibrary, photos: Path, tmp_path: Path
) -> None:
    write_photos(photos, 5)
    shutil.copy(photos / "02.png", photos / "copy.png")
    index(library, photos)
    edit(photos / "00.png", "green")
    (photos / "01.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    edit(photos / "02.png", "pink")
    (photos / "03.png").unlink()
    report = index(library)
    assert (report.indexed, report.failed, report.missing) == (2, 1, 1)
    assert kept(library) == {6 - 1}, "the copy and the missing photo keep theirs"
    assert library.export_vectors(tmp_path / "vectors") == 5
    assert library.verify().problems == []
    library.add((photos / "04.png").read_bytes(), id="mine")
    library.add((photos / "00.png").read_bytes(), id="mine")
    assert kept(library) == {5}
    library.forget(photos)
    assert kept(library) == {1}


@pytest.mark.parametrize("ending", ["index", "forget"])
def test_what_a_run_that_was_killed_left_goes_with_the_next_one(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    write_photos(photos, 5)
    index(library, photos)
    edit(photos / "00.png", "green")

    def killed(_self: Files) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Files, "prune", killed)
        with pytest.raises(KeyboardInterrupt):
            index(library)
    assert kept(library) == {6}
    assert library.verify().problems == []
    if ending == "index":
        edit(photos / "01.png", "pink")
        index(library)
        assert kept(library) == {5}
    else:
        library.forget(photos / "00.png")
        assert kept(library) == {4}
    assert library._store.catalog.setting(pruning.NOTE) is None


def test_a_touched_file_is_read_but_not_embedded(library: PhotoLibrary, photos: Path) -> None:
    write_photo(photos / "a.png", "red")
    index(library, photos)
    os.utime(photos / "a.png", (5, 5))
    assert (index(library).embedded, index(library).unchanged) == (0, 1)


def test_metadata_written_into_a_file_embeds_nothing(library: PhotoLibrary, photos: Path) -> None:
    picture = Image.effect_noise((40, 40), 60).convert("RGB")
    picture.save(photos / "a.png")
    index(library, photos)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    picture.save(photos / "a.png", exif=exif)
    os.utime(photos / "a.png", (9, 9))
    report = index(library)
    assert (report.indexed, report.embedded) == (1, 0)
    assert library.search("red")[0].camera_make == "Maker"


def test_the_same_name_in_two_cases_or_formats_is_two_photos(library: PhotoLibrary, photos: Path) -> None:
    write_photo(photos / "a.JPG", "red", format="PNG")  # a wrong extension is no reason to fail
    write_photo(photos / "a.jpeg", "blue", format="JPEG")
    assert index(library, photos).indexed == 2


def test_a_folder_given_twice_or_with_a_part_of_itself_counts_once(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos / "sub", 3)
    report = index(library, photos, photos, photos / "sub")
    assert (report.seen, report.indexed) == (3, 3)
    report = index(library, photos / "sub", photos)
    assert (report.seen, report.unchanged) == (3, 3)


def test_the_eight_orientations_of_a_picture_are_one_picture(library: PhotoLibrary, photos: Path) -> None:
    upright = Image.effect_noise((60, 40), 90).convert("RGB")
    upright.paste((230, 20, 20), (0, 0, 30, 10))
    transpose = Image.Transpose
    stored = {
        1: None,
        2: transpose.FLIP_LEFT_RIGHT,
        3: transpose.ROTATE_180,
        4: transpose.FLIP_TOP_BOTTOM,
        5: transpose.TRANSPOSE,
        6: transpose.ROTATE_90,
        7: transpose.TRANSVERSE,
        8: transpose.ROTATE_270,
    }
    for orientation, turn in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        (upright if turn is None else upright.transpose(turn)).save(photos / f"{orientation}.png", exif=exif)
    report = index(library, photos)
    assert (report.indexed, report.embedded) == (8, 1)
    (match,) = library.search("red")
    assert (len(match.paths), match.width, match.height) == (8, 60, 40)


# Copies and moves


def test_copies_are_indexed_without_embedding_and_shown_as_one(library: PhotoLibrary, photos: Path) -> None:
    write_photo(photos / "a.png", "red")
    index(library, photos)
    shutil.copy(photos / "a.png", photos / "b.png")
    (photos / "deep").mkdir()
    shutil.copy(photos / "a.png", photos / "deep" / "c.png")
    report = index(library)
    assert (report.indexed, report.embedded, report.moved) == (2, 0, 0)
    (match,) = library.search("red")
    assert [path.name for path in match.paths] == ["a.png", "b.png", "c.png"]
    assert library.status().indexed == 3


def test_copies_within_one_run_are_embedded_once(library: PhotoLibrary, photos: Path) -> None:
    write_photo(photos / "a.png", "red")
    for number in range(5):
        shutil.copy(photos / "a.png", photos / f"copy-{number}.png")
    report = index(library, photos, batch_size=2)
    assert (report.indexed, report.embedded) == (6, 1)


def _half_within(photos: Path) -> None:
    (photos / "new").mkdir()
    for path in sorted(photos.glob("*.png"))[::2]:
        path.rename(photos / "new" / path.name)


def _all_within(photos: Path) -> None:
    (photos / "new").mkdir()
    for path in sorted(photos.glob("*.png")):
        path.rename(photos / "new" / path.name)


def _renamed_each(photos: Path) -> None:
    for number, path in enumerate(sorted(photos.glob("*.png"))):
        path.rename(photos / f"renamed-{number}.png")


def _names_swapped(photos: Path) -> None:
    (photos / "00.png").rename(photos / "x")
    (photos / "01.png").rename(photos / "00.png")
    (photos / "x").rename(photos / "01.png")


def _names_turned(photos: Path) -> None:
    for number in reversed(range(8)):
        (photos / f"{number:02}.png").rename(photos / f"{number + 1:02}.png")
    (photos / "08.png").rename(photos / "00.png")


@pytest.mark.parametrize("move", [_half_within, _all_within, _renamed_each, _names_swapped, _names_turned])
@pytest.mark.parametrize("together", [1, 512])
def test_moves_embed_nothing(
    library: PhotoLibrary,
    photos: Path,
    move: Callable[[Path], None],
    together: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedding, "COMMIT_ITEMS", together)
    write_photos(photos, 8)
    index(library, photos)
    digests = {path.name: path.read_bytes() for path in photos.glob("*.png")}
    move(photos)
    report = index(library)
    assert (report.embedded, report.failed, report.offline) == (0, 0, [])
    status = library.status()
    assert (status.photos, status.indexed, status.missing) == (8, 8, 0)
    assert report.seen == 8
    assert len(found(library)) == len(digests) == 8
    assert all(match.path and match.path.exists() for match in library.search("red", limit=100))


def test_a_moved_file_keeps_its_id(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 3)
    index(library, photos)
    before = {match.digest: match.id for match in library.search("red")}
    (photos / "00.png").rename(photos / "elsewhere.png")
    report = index(library)
    assert (report.moved, report.unchanged, report.indexed, report.missing) == (1, 3, 0, 0)
    assert {match.digest: match.id for match in library.search("red")} == before


def test_a_renamed_folder_embeds_nothing(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos / "2023", 4)
    write_photos(photos / "2024", 2, first_seed=20)
    index(library, photos)
    (photos / "2023").rename(photos / "summer")
    report = index(library)
    assert (report.moved, report.embedded, library.status().missing) == (4, 0, 0)


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_moves_between_roots_embed_nothing(library: PhotoLibrary, photos: Path, order: tuple[str, str]) -> None:
    write_photos(photos / "one", 4)
    write_photos(photos / "two", 2, first_seed=20)
    index(library, *(photos / name for name in order))
    for name in ("00.png", "01.png"):
        (photos / "one" / name).rename(photos / "two" / f"moved-{name}")
    report = index(library)
    status = library.status()
    assert (report.embedded, report.moved, status.photos, status.missing) == (0, 2, 6, 0)
