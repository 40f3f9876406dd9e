"""A new model's vectors are built while the library is used."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import ColourVision
from small_library import stored_files, stored_vectors, write_photo, write_photos

from photoseek import IndexSettings, PhotoLibrary, Progress, model_change
from photoseek.errors import LibraryBusyError, LibraryNotFoundError
from photoseek.storage import generations

pytestmark = pytest.mark.slow

Open = Callable[..., PhotoLibrary]
WhileWriting = Callable[[Callable[[Path], None]], None]
SMALL_INDEX = IndexSettings(ivf_min_rows=6, generation_min_rows=2, delta_max_rows=3)


class Killed(Exception):
    """Ends a build from outside."""


class Once:
    """A progress callback that acts when a stage is told for the first time, in the building thread."""

    def __init__(self, act: Callable[[], object], stage: str = "index") -> None:
        self._act, self._stage = act, stage
        self.done = False

    def __call__(self, progress: Progress) -> None:
        if progress.stage == self._stage and not self.done:
            self.done = True
            self._act()


@pytest.fixture
def filled(open_library: Open, photos: Path) -> PhotoLibrary:
    """Twelve photos with the first model; a library that takes any model."""
    write_photos(photos, 12)
    with PhotoLibrary.open(open_library().path, model=open_library()._binding._model) as first:
        first.index(photos, settings=SMALL_INDEX)
    return open_library(model="auto")  # type: ignore[arg-type]


def found(library: PhotoLibrary) -> set[Path | None]:
    """Every photo that a search can find; None for a picture of an app."""
    return {path for match in library.search("red", limit=100) for path in match.paths or [None]}


def killed_build(library: PhotoLibrary, model: Path, monkeypatch: pytest.MonkeyPatch, after: int = 1) -> None:
    """A build that dies when its tower is asked for the batch after the first `after`; a batch is 8 photos at first."""
    encode = ColourVision.encode
    calls = 0

    def dying(self: ColourVision, pictures: object) -> object:
        nonlocal calls
        calls += 1
        if calls > after + 1:  # the first call is for the probe pictures
            raise Killed
        return encode(self, pictures)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ColourVision, "encode", dying)
        with pytest.raises(Killed):
            library.use_model(model)


def test_others_add_move_forget_and_search_while_a_model_is_built(
    filled: PhotoLibrary, photos: Path, turned_checkpoint: Path, open_library: Open
) -> None:
    other = open_library(model="auto")  # type: ignore[arg-type]
    old_model = other.status().model

    def meddle() -> None:
        write_photos(photos / "new", 3, first_seed=100)
        (photos / "03.png").rename(photos / "moved.png")
        (photos / "04.png").unlink()
        report = other.index()
        assert (report.indexed, report.moved, report.missing) == (3, 1, 1)
        assert other.forget([photos / "05.png"]) == 1
        assert other.add((photos / "06.png").read_bytes(), id="mine").id == "mine"
        assert len(found(other)) == 13
        assert other.status().model == old_model

    change = filled.use_model(turned_checkpoint, on_progress=(acting := Once(meddle)))
    assert acting.done
    assert (change.switched, change.waiting, change.report.failures) == (True, 0, [])
    assert other.status().model == str(turned_checkpoint), "who had the library open sees the switch"
    assert found(other) == found(filled) == set(photos.rglob("*.png")) - {photos / "05.png"}
    assert filled.verify().problems == []
    assert filled.index().embedded == 1, "only the forgotten photo, whose file is still there"


def test_a_killed_build_leaves_a_library_that_works_and_goes_on(
    filled: PhotoLibrary, photos: Path, turned_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_build(filled, turned_checkpoint, monkeypatch)
    (build,) = filled.status().building
    assert (build.model, build.photos, build.embedded) == (str(turned_checkpoint), 12, 8)
    assert (build.away, build.running) == (0, False)
    assert filled.verify().problems == []
    write_photos(photos / "new", 2, first_seed=100)
    assert filled.index().embedded == 2, "indexing goes on with the old model"
    assert len(found(filled)) == 2 + 12
    (build,) = filled.status().building
    assert (build.photos, build.embedded) == (14, 8)
    change = filled.use_model(turned_checkpoint)
    assert (change.switched, change.report.embedded) == (True, 6)
    assert filled.status().building == ()
    assert [space.state for space in filled.spaces()] == ["retired", "active"]
    assert filled.verify().problems == []


def test_a_build_tells_others_that_it_runs_and_that_it_is_the_only_one(
    filled: PhotoLibrary, turned_checkpoint: Path, open_library: Open
) -> None:
    other = open_library(model="auto")  # type: ignore[arg-type]
    errors: list[LibraryBusyError] = []

    def meddle() -> None:
        assert [build.running for build in other.status().building] == [True]
        for change in (lambda: other.use_model(turned_checkpoint), other.prune_models):
            try:
                change()
            except LibraryBusyError as error:
                errors.append(error)

    assert filled.use_model(turned_checkpoint, on_progress=Once(meddle)).switched
    assert [error.pid for error in errors] == [os.getpid(), os.getpid()]
    assert all("moved to another model" in str(error) for error in errors)


def test_a_photo_that_changed_is_left_to_the_indexer(
    filled: PhotoLibrary, photos: Path, turned_checkpoint: Path
) -> None:
    before = stored_files(filled.path)
    write_photo(photos / "01.png", "pink", seed=77)
    (photos / "02.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (photos / "03.png").rename(photos / "moved.png")
    change = filled.use_model(turned_checkpoint)
    assert (change.switched, change.waiting, change.unread) == (False, 3, 3)
    assert [trouble.path.name for trouble in change.report.failures] == ["02.png"]
    assert stored_files(filled.path) == before, "building changes no file's state"
    assert filled.verify().problems == []
    report = filled.index()
    assert (report.indexed, report.moved, report.failed) == (1, 1, 1)
    change = filled.use_model(turned_checkpoint)
    assert (change.switched, change.waiting) == (True, 0)
    assert filled.verify().problems == []
    assert len(found(filled)) == 11


@pytest.mark.parametrize("workers", [1, 2], ids=["read before the other", "read at the same time"])
def test_a_photo_that_was_overwritten_by_another_one_is_left_to_the_indexer_too(
    filled: PhotoLibrary, photos: Path, turned_checkpoint: Path, workers: int
) -> None:
    large = photos / "large.png"
    write_photo(large, "pink", seed=77, format="BMP")
    assert filled.index().embedded == 1
    shutil.copy(large, photos / "01.png")
    looks: list[Progress] = []

    def look(progress: Progress) -> None:
        looks.append(progress)
        assert len(looks) < 100, "it looks again for ever"

    change = filled.use_model(turned_checkpoint, workers=workers, on_progress=look)
    assert (change.switched, change.waiting, change.unread) == (False, 1, 1)
    assert change.report.indexed == 12
    assert filled.index().indexed == 1
    assert filled.use_model(turned_checkpoint).switched
    assert filled.verify().problems == []


def test_a_photo_that_goes_missing_before_its_vector_is_stored_stays_hidden(
    filled: PhotoLibrary, photos: Path, turned_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, open_library: Open
) -> None:
    other = open_library(model="auto")  # type: ignore[arg-type]
    gone = photos / "01.png"
    encode = ColourVision.encode

    def meddling(self: ColourVision, pictures: object) -> object:
        if gone.exists() and len(other.spaces()) == 2:
            gone.unlink()
            (photos / "02.png").unlink()
            assert other.index().missing == 2
            assert other.forget([photos / "02.png"]) == 1
        return encode(self, pictures)  # type: ignore[arg-type]

    monkeypatch.setattr(ColourVision, "encode", meddling)
    assert filled.use_model(turned_checkpoint).switched
    assert not gone.exists()
    assert filled.verify().problems == []
    assert len(found(filled)) == 10
    assert {match.path for match in filled.search("red", limit=100, include_missing=True)} >= {gone}


def test_going_back_switches_at_once_and_embeds_only_what_is_missing(
    filled: PhotoLibrary, photos: Path, tiny_checkpoint: Path, turned_checkpoint: Path
) -> None:
    filled.use_model(turned_checkpoint)
    change = filled.use_model(tiny_checkpoint)
    assert (change.switched, change.report.embedded) == (True, 0)
    write_photos(photos / "new", 3, first_seed=100)
    filled.index()
    change = filled.use_model(turned_checkpoint)
    assert (change.switched, change.report.embedded) == (True, 3)
    assert filled.verify().problems == []
    assert len(found(filled)) == 2 + 13


def test_a_retired_model_that_is_being_completed_is_shown_so(
    filled: PhotoLibrary, photos: Path, tiny_checkpoint: Path, turned_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.use_model(turned_checkpoint)
    write_photos(photos / "new", 10, first_seed=100)
    filled.index()
    killed_build(filled, tiny_checkpoint, monkeypatch, after=0)
    (build,) = filled.status().building
    assert (build.photos, build.embedded) == (22, 12)


def test_a_complete_model_takes_over_from_one_that_left_photos_waiting(
    filled: PhotoLibrary, photos: Path, tiny_checkpoint: Path, turned_checkpoint: Path
) -> None:
    (photos / "01.png").rename(photos.parent / "aside.png")
    change = filled.use_model(turned_checkpoint, leave_waiting=True)
    assert (change.switched, change.waiting, change.unread) == (True, 1, 1)
    assert filled.verify().problems == []
    assert filled.use_model(tiny_checkpoint).switched
    with PhotoLibrary.open(filled.path) as library:
        assert library._store.catalog.setting("incomplete_space") is None


def test_cancelling_keeps_what_was_embedded(filled: PhotoLibrary, turned_checkpoint: Path) -> None:
    cancel = threading.Event()
    change = filled.use_model(turned_checkpoint, on_progress=Once(cancel.set), cancel=cancel)
    assert (change.switched, change.report.cancelled) == (False, True)
    kept = filled.status().building[0].embedded
    assert 0 < kept == 12 - change.waiting < 12
    assert filled.use_model(turned_checkpoint).report.embedded == 12 - kept


def test_cancelling_ends_the_wait_for_another_writer(
    filled: PhotoLibrary, turned_checkpoint: Path, open_library: Open
) -> None:
    other = open_library(model="auto")  # type: ignore[arg-type]
    cancel = threading.Event()
    threads: list[threading.Thread] = []

    def write_for_long() -> None:
        inside, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with other._store.lock():
                inside.set()
                leave.wait(30)

        threads.append(threading.Thread(target=hold))
        threads[0].start()
        assert inside.wait(10)
        threading.Timer(0.3, cancel.set).start()
        threads.append(threading.Timer(0.6, leave.set))
        threads[1].start()

    change = filled.use_model(turned_checkpoint, on_progress=Once(write_for_long), cancel=cancel)
    for thread in threads:
        thread.join()
    assert (change.switched, change.report.cancelled) == (False, True)
    assert filled.verify().problems == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_folders_that_come_and_go_while_the_photos_are_listed_disturb_nothing(
    filled: PhotoLibrary,
    photos: Path,
    tmp_path: Path,
    turned_checkpoint: Path,
    open_library: Open,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    other = open_library(model="auto")  # type: ignore[arg-type]
    write_photos(tmp_path / "second", 2, first_seed=100)
    write_photos(tmp_path / "third", 2, first_seed=200)
    filled.index(tmp_path / "second")
    listed, looks = model_change.unembedded, 0

    def meddle() -> None:
        assert other.index(tmp_path / "third").indexed == 2
        assert other.remove_root(tmp_path / "second") == 2

    def meddling(*arguments: object) -> object:
        nonlocal looks
        looks += 1
        if looks == 1 and when == "before":
            meddle()
        worklist = listed(*arguments)  # type: ignore[arg-type]
        if looks == 1 and when == "after":
            meddle()
        return worklist

    monkeypatch.setattr(model_change, "unembedded", meddling)
    assert filled.use_model(turned_checkpoint).switched
    assert found(filled) == {*photos.iterdir(), *(tmp_path / "third").iterdir()}
    assert filled.verify().problems == []


@pytest.fixture
def while_writing_the_index(monkeypatch: pytest.MonkeyPatch) -> Iterator[WhileWriting]:
    """Lets something happen once while the files of a generation are half written."""
    write_manifest = generations.write_manifest
    done: list[Path] = []

    def install(act: Callable[[Path], None]) -> None:
        def meddling(folder: Path, *rest: object) -> None:
            if not done:
                done.append(folder)
                act(folder)
            write_manifest(folder, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(generations, "write_manifest", meddling)

    yield install
    assert done


def test_the_index_of_the_new_model_is_written_beside_a_writer(
    filled: PhotoLibrary,
    photos: Path,
    turned_checkpoint: Path,
    open_library: Open,
    while_writing_the_index: WhileWriting,
) -> None:
    other = open_library(model="auto")  # type: ignore[arg-type]

    def index(folder: Path) -> None:
        write_photos(photos / "new", 6, first_seed=100)
        assert other.index().embedded == 6
        assert folder.is_dir(), "writing its own generation, it removes no half-written one"

    while_writing_the_index(index)
    assert filled.use_model(turned_checkpoint).switched
    report = filled.verify()
    assert (report.problems, report.litter) == ([], [])
    status = filled.status()
    assert (status.index.kind, status.index.rows, status.index.delta) == ("ivf", 18, 0)
    assert len(found(filled)) == len(stored_vectors(filled.path)) == 18


def test_what_is_forgotten_while_the_index_is_written_stays_hidden(
    filled: PhotoLibrary,
    photos: Path,
    turned_checkpoint: Path,
    open_library: Open,
    while_writing_the_index: WhileWriting,
) -> None:
    other = open_library(model="auto")  # type: ignore[arg-type]
    while_writing_the_index(lambda _folder: assert_forgets_one(other, photos / "05.png"))
    assert filled.use_model(turned_checkpoint).switched
    assert filled.status().index.rows == 12, "the forgotten photo is still in the files"
    assert found(filled) == set(photos.iterdir()) - {photos / "05.png"}
    for exact in (True, False):
        assert len(filled.search("red", limit=100, exact=exact)) == 11
    assert filled.verify().problems == []


def assert_forgets_one(library: PhotoLibrary, path: Path) -> None:
    assert library.forget(path) == 1


def test_there_must_be_a_library(library: PhotoLibrary, turned_checkpoint: Path) -> None:
    with pytest.raises(LibraryNotFoundError):
        library.use_model(turned_checkpoint)
    assert not library.path.exists()
