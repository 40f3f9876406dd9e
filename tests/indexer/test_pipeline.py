"""Runs of the indexer over folders that change between them; the model knows colours (`fakes`)."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fakes import ColourVision, OneByOne
from PIL import Image
from small_library import stored_files, write_photo, write_photos

from photoseek import IndexReport, PhotoLibrary, indexing
from photoseek.contracts import DecodeJob, ReadFailure, ReadResult, Trouble
from photoseek.errors import StorageFullError, UsageError
from photoseek.indexer.report import Progress


def index(library: PhotoLibrary, *folders: Path, **options: object) -> IndexReport:
    """Run, and check what must hold after every run."""
    ColourVision.encoded = 0
    report = library.index(list(folders) or None, **options)  # type: ignore[arg-type]
    assert report.seen == report.indexed + report.unchanged + report.failed + report.skipped
    assert report.embedded <= ColourVision.encoded
    if library.exists:
        status = library.status()
        assert status.photos == status.indexed + status.failed + status.skipped + status.missing
        assert library.verify().problems == []
    return report


def found(library: PhotoLibrary, text: str = "red", **options: object) -> list[str]:
    """File names, best first."""
    return [match.path.name for match in library.search(text, limit=100, **options) if match.path]  # type: ignore[arg-type]


def edit(path: Path, colour: str, seed: int = 7) -> None:
    """Another picture under the same name, with another time."""
    before = path.stat().st_mtime_ns
    write_photo(path, colour, seed=seed)
    os.utime(path, ns=(before + 10**9, before + 10**9))


# New, unchanged, changed


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


@pytest.mark.parametrize("move", [_half_within, _all_within, _renamed_each, _names_swapped])
def test_moves_embed_nothing(library: PhotoLibrary, photos: Path, move: Callable[[Path], None]) -> None:
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


# Missing and back


def test_a_deleted_photo_leaves_the_results_and_comes_back_by_itself(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 3)
    index(library, photos)
    (photos / "00.png").rename(photos.parent / "kept.png")
    report = index(library)
    assert (report.missing, report.unchanged) == (1, 2)
    assert library.status().missing == 1
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


# Names and surprises


def test_names_that_are_no_text_are_indexed_and_found(library: PhotoLibrary, photos: Path) -> None:
    names = [b"caf\xe9.png", b"line\nbreak.png", b" .png", "né.png".encode(), "ne\u0301.png".encode()]
    for seed, name in enumerate(names):
        write_photo(os.path.join(os.fsencode(photos), b"d\xff", name), "red", seed=seed)
    report = index(library, photos)
    assert (report.indexed, report.failed) == (5, 0)
    results = library.search("red")
    assert {os.fsencode(match.path) for match in results if match.path} == {
        os.path.join(os.fsencode(photos), b"d\xff", name) for name in names
    }
    assert index(library).unchanged == 5


class Meddling(OneByOne):
    """A reader that does something to the first file before it is read."""

    meddle: Callable[[Path], None]

    def _answer(self, job: DecodeJob) -> ReadResult:
        if Meddling.meddle is not None and job.key == 0:
            Meddling.meddle(Path(os.fsdecode(job.path)))
        return super()._answer(job)


@pytest.fixture
def meddling(monkeypatch: pytest.MonkeyPatch, fake_model: None) -> Callable[[Callable[[Path], None]], None]:
    """Has a function called with the path of the next run's first file, right before it is read."""
    monkeypatch.setattr(Meddling, "meddle", None, raising=False)

    def install(meddle: Callable[[Path], None]) -> None:
        monkeypatch.setattr(Meddling, "meddle", staticmethod(meddle))
        monkeypatch.setattr(indexing, "DecodeWorkers", Meddling)

    return install


def test_a_file_that_vanishes_before_it_is_read_is_not_counted(
    library: PhotoLibrary, photos: Path, meddling: Callable[..., None]
) -> None:
    write_photos(photos, 3)
    meddling(Path.unlink)
    report = index(library, photos)
    assert (report.indexed, report.failed, report.seen) == (2, 0, 2)
    assert library.status().photos == 2


def test_a_known_file_that_changes_and_then_vanishes_is_missing_at_the_next_run(
    library: PhotoLibrary, photos: Path, meddling: Callable[..., None]
) -> None:
    write_photos(photos, 3)
    index(library, photos)
    edit(photos / "00.png", "pink")
    meddling(Path.unlink)
    index(library)
    assert index(library).missing == 1


def test_a_file_that_changes_before_it_is_read_is_stored_as_it_was_read(
    library: PhotoLibrary, photos: Path, meddling: Callable[..., None]
) -> None:
    write_photos(photos, 2)
    meddling(lambda path: edit(path, "pink"))
    index(library, photos)
    assert found(library, "pink")[0] == "00.png"
    assert index(library).unchanged == 2, "size and time are those of the bytes that were read"


def test_a_photo_that_becomes_a_folder_does_not_stop_the_run(
    library: PhotoLibrary, photos: Path, meddling: Callable[..., None]
) -> None:
    write_photos(photos, 3)

    def to_folder(path: Path) -> None:
        path.unlink()
        path.mkdir()

    meddling(to_folder)
    report = index(library, photos)
    assert report.indexed == 2


# Failures


class Failing(OneByOne):
    """Fails on names with "bad" in them, for a reason outside the file, while `broken` is set."""

    broken = True

    def _answer(self, job: DecodeJob) -> ReadResult:
        if Failing.broken and b"bad" in job.path:
            return ReadFailure(Trouble.SURROUNDINGS, "Input/output error")
        return super()._answer(job)


def test_failures_of_the_surroundings_are_tried_again_at_every_run(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "DecodeWorkers", Failing)
    monkeypatch.setattr(Failing, "broken", True)
    write_photos(photos, 2)
    write_photo(photos / "bad.png", "red", seed=9)
    assert index(library, photos).failed == 1
    assert index(library).failed == 1
    monkeypatch.setattr(Failing, "broken", False)
    report = index(library)
    assert (report.indexed, report.failed, library.status().failed) == (1, 0, 0)


def test_a_broken_file_is_tried_again_when_it_changes_or_when_asked_for(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(photos, 2)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    report = index(library, photos)
    assert (report.failed, [trouble.path.name for trouble in report.failures]) == (1, ["broken.jpg"])
    opened: list[bytes] = []
    original = OneByOne._answer

    def answer(self: OneByOne, job: DecodeJob) -> ReadResult:
        opened.append(os.path.basename(job.path))
        return original(self, job)

    monkeypatch.setattr(OneByOne, "_answer", answer)
    report = index(library)
    assert (report.failed, report.seen, opened) == (1, 3, [])
    report = index(library, retry_failed=True)
    assert (report.failed, report.seen, opened) == (1, 3, [b"broken.jpg"])
    write_photo(photos / "broken.jpg", "red", seed=11)
    assert index(library).indexed == 1
    assert library.status().failures == ()


def test_a_photo_that_breaks_is_no_longer_found(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 3)
    index(library, photos)
    (photos / "00.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    report = index(library)
    assert (report.failed, report.unchanged) == (1, 2)
    assert "00.png" not in found(library, include_missing=True)


def test_a_full_disk_ends_the_run_with_what_was_committed_kept(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from photoseek.storage.files import Files

    write_photos(photos, 6)
    original, calls = Files.record, []

    def record(self: Files, outcomes: Sequence[object]) -> object:
        calls.append(len(outcomes))
        if len(calls) > 2:
            raise StorageFullError("the disk is full")
        return original(self, outcomes)  # type: ignore[arg-type]

    monkeypatch.setattr(Files, "record", record)
    with pytest.raises(StorageFullError):
        library.index(photos, batch_size=2)
    monkeypatch.undo()
    assert library.status().indexed == 4


# Stopping, dry run, wrong usage


def test_cancelling_keeps_what_is_done_and_the_next_run_goes_on(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 8)
    cancel = threading.Event()

    def stop_early(progress: Progress) -> None:
        if progress.stage == "index" and progress.done >= 3:
            cancel.set()

    import photoseek.indexer.pipeline as pipeline

    pause, pipeline.PROGRESS_SECONDS = pipeline.PROGRESS_SECONDS, 0.0
    try:
        report = index(library, photos, batch_size=2, on_progress=stop_early, cancel=cancel)
    finally:
        pipeline.PROGRESS_SECONDS = pause
    assert report.cancelled
    assert 2 <= report.indexed < 8
    rest = index(library)
    assert rest.indexed == 8 - report.indexed
    assert not rest.cancelled


def test_a_run_cancelled_before_it_has_looked_at_every_root_says_so(library: PhotoLibrary, photos: Path) -> None:
    for name in ("a", "b"):
        (photos / name).mkdir()
    cancel = threading.Event()
    cancel.set()
    assert index(library, photos / "a", photos / "b", cancel=cancel).cancelled


def test_a_dry_run_tells_and_changes_nothing(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 4)
    report = index(library, photos, dry_run=True)
    assert report.to_read == 4
    assert not library.path.exists(), "a dry run makes no library"
    index(library, photos)
    library.close()
    before = (library.path / "catalog.sqlite").read_bytes()
    (photos / "00.png").unlink()
    edit(photos / "01.png", "pink")
    write_photos(photos / "new", 3, first_seed=40)
    write_photos(photos.parent / "other", 1)
    with PhotoLibrary.open(library.path) as again:
        report = again.index([photos, photos.parent / "other"], dry_run=True)
    assert (report.to_read, report.missing, report.unchanged) == (5, 1, 2)
    assert (library.path / "catalog.sqlite").read_bytes() == before


def test_wrong_paths_are_refused_before_anything_is_made(library: PhotoLibrary, photos: Path) -> None:
    (photos / "file.jpg").write_text("x")
    for wrong in ([photos / "nothing"], [photos / "file.jpg"], [], [photos, photos / "nothing"]):
        with pytest.raises(UsageError):
            library.index(wrong)
    with pytest.raises(UsageError):
        library.index()
    assert not library.path.exists()


def test_a_misspelt_part_of_a_known_root_is_refused(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos / "2024", 2)
    index(library, photos)
    with pytest.raises(UsageError):
        library.index(photos / "2042")
    with pytest.raises(UsageError):
        library.index(photos / "2024" / "00.png")


def test_a_part_of_a_root_that_was_deleted_is_missing(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos / "2023", 2)
    write_photos(photos / "2024", 2, first_seed=20)
    index(library, photos)
    shutil.rmtree(photos / "2023")
    index(library)
    assert library.status().missing == 2


def test_an_empty_folder_is_a_root_of_no_photos(library: PhotoLibrary, photos: Path) -> None:
    report = index(library, photos)
    assert (report.seen, report.offline) == (0, [])
    write_photos(photos, 2)
    assert index(library).indexed == 2
