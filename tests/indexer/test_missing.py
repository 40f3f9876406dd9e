"""Runs over photos, folders and drives that are away, or left out by rules; the model knows colours (`fakes`)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from index_runs import found, index
from small_library import stored_files, write_photo, write_photos

from photoseek import PhotoLibrary

pytestmark = pytest.mark.slow

# Missing and back


def test_a_deleted_photo_leaves_the_results_and_comes_back_by_itself(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 3)
    index(library, photos)
    (photos / "00.png").rename(photos.parent / "kept.png")
    report = index(library)
    assert (report.missing, report.unchanged) == (1, 2)
    assert library.status().missing == 1
    assert library.status().missing_in == ((photos, 1),)
    assert "00.png" not in found(library)
    assert "00.png" in found(library, include_missing=True)
    assert index(library).missing == 0, "known to be missing already"
    (photos.parent / "kept.png").rename(photos / "00.png")
    report = index(library)
    assert (report.returned, report.unchanged, report.embedded) == (1, 3, 0)
    assert "00.png" in found(library)


def test_missing_counts_photos_only(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 2)
    (photos / "notes").write_text("no picture")
    assert index(library, photos).ignored == 1
    (photos / "notes").unlink()
    assert index(library).missing == 0 == library.status().missing


def test_a_photo_replaced_by_a_dead_link_is_missing_until_the_target_is_back(
    library: PhotoLibrary, photos: Path
) -> None:
    write_photos(photos, 2)
    index(library, photos)
    elsewhere = photos.parent / "elsewhere.png"
    (photos / "00.png").rename(elsewhere.with_name("hidden.png"))
    (photos / "00.png").symlink_to(elsewhere)
    assert index(library).missing == 1
    elsewhere.with_name("hidden.png").rename(elsewhere)
    report = index(library)
    assert (report.returned, report.embedded) == (1, 0)


def test_files_that_never_could_be_read_are_failures_with_a_reason(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 1)
    (photos / "dead.jpg").symlink_to(photos / "nothing")
    os.mkfifo(photos / "pipe.jpg")
    report = index(library, photos)
    assert (report.indexed, report.failed) == (1, 2)
    reasons = {trouble.path.name: trouble.reason for trouble in report.failures}
    assert "leads nowhere" in reasons["dead.jpg"]
    assert "pipe" in reasons["pipe.jpg"]
    report = index(library)
    assert (report.seen, report.failed) == (3, 2)
    (photos / "dead.jpg").unlink()
    write_photo(photos / "dead.jpg", "red", seed=5)
    report = index(library)
    assert (report.indexed, report.failed) == (1, 1)


def test_what_leads_nowhere_and_has_no_pictures_name_is_ignored(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 1)
    (photos / "README").symlink_to(photos / "nothing")
    os.mkfifo(photos / "pipe")
    for _ in range(3):
        report = index(library, photos)
        assert (report.seen, report.failed, report.ignored, report.missing) == (1, 0, 2, 0)
    write_photo(photos / "nothing", "red", seed=5)
    assert index(library, photos).indexed == 2, "a picture without a picture's name, and the link to it"
    (photos / "nothing").unlink()
    assert index(library, photos).missing == 2
    assert library.status().missing == 2


# Roots that are away


def _emptied(root: Path, aside: Path) -> None:
    root.rename(aside)
    root.mkdir()


def _removed(root: Path, aside: Path) -> None:
    root.rename(aside)


def _another_volume(root: Path, aside: Path) -> None:
    root.rename(aside)
    write_photos(root / "DCIM", 3, first_seed=500)


def _a_file(root: Path, aside: Path) -> None:
    root.rename(aside)
    root.write_text("not a folder any more")


@pytest.mark.parametrize("take_away", [_emptied, _removed, _another_volume, _a_file])
def test_a_root_that_is_away_changes_nothing(
    library: PhotoLibrary, photos: Path, take_away: Callable[[Path, Path], None]
) -> None:
    drive, home = photos / "drive", photos / "home"
    write_photos(drive / "a", 3)
    write_photos(home, 2, first_seed=20)
    index(library, drive, home)
    before = stored_files(library.path)
    results = found(library)
    take_away(drive, photos / "aside")
    report = index(library)
    assert report.offline == [drive]
    assert (report.missing, report.embedded, report.unchanged) == (0, 0, 2)
    assert stored_files(library.path) == before
    assert found(library) == results, "photos on a drive that is away stay in the results"
    assert {match.offline for match in library.search("red") if match.path and drive in match.path.parents} == {True}
    assert (library.status().offline, library.status().missing) == (3, 0)
    if drive.is_dir():
        shutil.rmtree(drive)
    drive.unlink(missing_ok=True)
    (photos / "aside").rename(drive)
    report = index(library)
    assert (report.unchanged, report.embedded, report.missing, report.offline) == (5, 0, 0, [])
    assert found(library) == results
    assert not any(match.offline for match in library.search("red"))


def test_an_offline_root_given_by_its_path_is_no_usage_error(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos / "drive", 2)
    index(library, photos / "drive")
    (photos / "drive").rename(photos / "aside")
    assert index(library, photos / "drive").offline == [photos / "drive"]


def test_photos_indexed_while_their_copies_are_on_a_drive_that_is_away_embed_nothing(
    library: PhotoLibrary, photos: Path
) -> None:
    write_photos(photos / "drive", 3)
    index(library, photos / "drive")
    shutil.copytree(photos / "drive", photos / "copies")
    shutil.rmtree(photos / "drive")
    report = index(library, photos / "copies")
    assert (report.indexed, report.embedded) == (3, 0)
    assert library.status().photos == 6


def test_an_unreadable_folder_keeps_its_photos_and_stops_nothing(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(photos / "locked" / "deep", 2)
    write_photos(photos / "open", 2, first_seed=20)
    index(library, photos)
    write_photo(photos / "open" / "new.png", "red", seed=77)
    real = os.scandir

    def scandir(path: bytes) -> object:
        if path == os.fsencode(photos / "locked"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = index(library)
    assert [trouble.path for trouble in report.unreadable_folders] == [photos / "locked"]
    assert (report.missing, report.indexed, report.unchanged) == (0, 1, 2)
    assert library.status().indexed == 5


# Rules


def test_a_rule_added_later_takes_photos_out_and_its_removal_brings_them_back(
    library: PhotoLibrary, photos: Path
) -> None:
    write_photos(photos / "private", 2)
    write_photos(photos, 3, first_seed=20)
    index(library, photos)
    (photos / ".photoseekignore").write_text("private/\n01.png\n")
    report = index(library)
    assert (report.unchanged, report.missing, report.embedded) == (2, 0, 0)
    assert (library.status().photos, len(found(library))) == (2, 2)
    (photos / ".photoseekignore").unlink()
    report = index(library)
    assert (report.embedded, library.status().indexed, len(found(library))) == (0, 5, 5)


def test_a_root_excluded_as_a_whole_is_not_offline(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 3)
    index(library, photos)
    (photos / ".photoseekignore").write_text("*\n")
    report = index(library)
    assert (report.offline, report.seen, library.status().photos) == ([], 0, 0)


def test_a_photo_deleted_while_excluded_is_not_missing(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 3)
    index(library, photos)
    (photos / ".photoseekignore").write_text("00.png\n")
    index(library)
    (photos / "00.png").unlink()
    assert index(library).missing == 0
    assert library.status().photos == 2


# Roots in roots


@pytest.mark.parametrize("inner_first", [True, False])
def test_nested_roots_hold_each_photo_once(library: PhotoLibrary, photos: Path, inner_first: bool) -> None:
    write_photos(photos, 2)
    write_photos(photos / "inner", 3, first_seed=20)
    for folder in [photos / "inner", photos] if inner_first else [photos, photos / "inner"]:
        index(library, folder)
    assert library.status().photos == 5
    report = index(library)
    assert (report.seen, report.unchanged, report.missing) == (5, 5, 0)


def test_a_library_inside_a_root_is_not_indexed(open_library: Callable[..., PhotoLibrary], photos: Path) -> None:
    write_photos(photos, 2)
    library = open_library(photos / "library")
    index(library, photos)
    write_photo(photos / "library" / "trap.png", "red")
    report = index(library)
    assert (report.seen, report.ignored) == (2, 0)
