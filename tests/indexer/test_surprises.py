"""Runs that meet odd names, files that change while they are read, and failures; the model knows colours (`fakes`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes import ColourVision, OneByOne
from index_runs import edit, found, index
from small_library import write_photo, write_photos

from photoseek import PhotoLibrary, indexing, where
from photoseek.contracts import DecodeJob, ReadFailure, ReadResult, Trouble
from photoseek.errors import StorageFullError

pytestmark = pytest.mark.slow

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


def test_a_file_from_a_far_year_is_indexed_once_and_found_by_its_path(library: PhotoLibrary, photos: Path) -> None:
    write_photos(photos, 2)
    odd = photos / "00.png"
    seconds = datetime(2302, 9, 24, tzinfo=UTC).timestamp()
    os.utime(odd, (seconds, seconds))
    if odd.stat().st_mtime != seconds:
        pytest.skip("this file system has no such times")
    assert (index(library, photos).indexed, index(library).unchanged) == (2, 2)
    assert library.photos(where=where.ids(["file-1"]))[0].modified_at is not None
    ColourVision.encoded = 0
    assert library.search(like=odd)[0].path == odd
    assert ColourVision.encoded == 0, "the stored vector serves: it is the same file"


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


def test_a_photo_that_cannot_be_read_for_a_while_keeps_its_vector(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "DecodeWorkers", Failing)
    monkeypatch.setattr(Failing, "broken", False)
    write_photos(photos, 2)
    write_photo(photos / "bad.png", "red", seed=9)
    assert index(library, photos).embedded == 3
    monkeypatch.setattr(Failing, "broken", True)
    os.utime(photos / "bad.png", (5, 5))
    assert index(library).failed == 1
    assert "bad.png" not in found(library, include_missing=True)
    assert library.verify().problems == []
    monkeypatch.setattr(Failing, "broken", False)
    report = index(library)
    assert (report.unchanged + report.indexed, report.embedded) == (3, 0)
    assert "bad.png" in found(library)


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
