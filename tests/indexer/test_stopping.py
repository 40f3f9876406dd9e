"""Runs that are stopped, dry, or asked for what is not there; the model knows colours (`fakes`)."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from index_runs import edit, index
from small_library import write_photos

from photoseek import PhotoLibrary
from photoseek.errors import UsageError
from photoseek.indexer.report import Progress

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
    (photos / "part").mkdir()
    index(library, photos / "part")
    assert [root.unended for root in library.roots()] == [True], "only a run over the whole root ends it"
    rest = index(library)
    assert rest.indexed == 8 - report.indexed
    assert not rest.cancelled
    assert [root.unended for root in library.roots()] == [False]


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
