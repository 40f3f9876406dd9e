"""PhotoLibrary as an app uses it."""

from __future__ import annotations

import io
import logging
import os
import shutil
import threading
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from fakes import COLOURS, ColourVision
from PIL import Image
from small_library import stored_vectors, write_photo, write_photos

import photoseek
from photoseek import Match, PhotoLibrary, Query, where
from photoseek.contracts import TextTower
from photoseek.errors import (
    CheckpointError,
    LibraryBusyError,
    LibraryNotFoundError,
    ModelMismatchError,
    PhotoseekError,
    PhotoUnreadableError,
    UsageError,
)
from photoseek.storage.spaces import Space

Open = Callable[..., PhotoLibrary]


@pytest.fixture
def filled(library: PhotoLibrary, photos: Path) -> PhotoLibrary:
    """One photo of each colour, named after it."""
    for colour in COLOURS:
        write_photo(photos / f"{colour}.png", colour)
    library.index(photos)
    return library


def names(matches: object) -> list[str]:
    return [match.path.stem for match in matches]  # type: ignore[attr-defined]


def png(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), COLOURS[colour]).save(stream, "PNG")
    return stream.getvalue()


# Searching


@pytest.mark.parametrize("colour", [colour for colour in COLOURS if colour != "grey"])
def test_words_find_what_they_name(filled: PhotoLibrary, colour: str) -> None:
    matches = filled.search(colour)
    assert names(matches)[0] == colour
    assert [match.rank for match in matches] == list(range(1, 9))
    assert [match.score for match in matches] == sorted((match.score for match in matches), reverse=True)
    assert all(isinstance(match, Match) and -1 <= match.score <= 1 for match in matches)


def test_pages_join_and_short_answers_begin_long_ones(filled: PhotoLibrary) -> None:
    whole = list(filled.search("pink", limit=100))
    assert [match for offset in range(0, 9, 3) for match in filled.search("pink", limit=3, offset=offset)] == whole
    assert list(filled.search("pink", limit=5)) == whole[:5]
    assert len(filled.search("pink", limit=0)) == len(filled.search("pink", offset=100)) == 0


def test_examples_may_be_paths_bytes_images_and_photos(filled: PhotoLibrary, photos: Path) -> None:
    (match,) = filled.search("green", limit=1)
    examples = [photos / "green.png", str(photos / "green.png"), (photos / "green.png").read_bytes(), match]
    for example in [*examples, Image.new("RGB", (50, 70), COLOURS["green"])]:
        assert names(filled.search(like=example))[0] == "green"
    assert names(filled.search(like=[photos / "green.png", photos / "green.png"]))[0] == "green"


def test_a_stored_example_needs_no_model(filled: PhotoLibrary, photos: Path, open_library: Open) -> None:
    again = open_library(filled.path)
    before = ColourVision.encoded
    again.search(like=photos / "red.png")
    assert ColourVision.encoded == before
    write_photo(photos / "red.png", "blue", seed=3)
    os.utime(photos / "red.png", (1, 1))
    assert names(again.search(like=photos / "red.png"))[0] == "blue", "a file that changed is read anew"


def test_an_example_that_is_indexed_while_the_search_began_is_encoded(
    filled: PhotoLibrary, photos: Path, open_library: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = write_photo(photos / "new.png", "purple", seed=9)
    text, other = filled._binding.text, open_library(filled.path)

    def index_then_load(space: Space) -> TextTower:
        other.index(photos)
        return text(space)

    monkeypatch.setattr(filled._binding, "text", index_then_load)
    assert names(filled.search("purple", like=new, limit=1)) == ["purple"], "the view is that of the beginning"
    assert "new" in names(filled.search("purple", like=new, limit=2))


def test_weights_and_exclusions_turn_the_query(filled: PhotoLibrary, photos: Path) -> None:
    like = photos / "blue.png"
    assert names(filled.search(Query("red") + 0.01 * Query(like)))[0] == "red"
    assert names(filled.search(Query("red") + Query(like) * 20))[0] == "blue"
    assert names(filled.search(-(Query("red") - 20 * Query(like))))[0] == "blue"
    plain, without = names(filled.search("orange")), names(filled.search("orange", without=["red", "yellow"]))
    assert without.index("red") > plain.index("red")


def test_a_search_may_be_restricted_to_ids(filled: PhotoLibrary) -> None:
    ids = [match.id for match in filled.search("red") if match.path and match.path.stem in ("blue", "pink")]
    assert names(filled.search("red", ids=ids)) == ["pink", "blue"]
    assert names(filled.search("red", ids=[*ids, "file-99999", "nobody"])) == ["pink", "blue"]
    assert len(filled.search("red", ids=[])) == 0


EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))


@pytest.mark.parametrize(
    "moment", [date(1, 1, 1), datetime.min.replace(tzinfo=EAST), date(999, 1, 1), date(2026, 1, 1)]
)
def test_photos_were_added_since_any_day_of_the_past(filled: PhotoLibrary, moment: date) -> None:
    assert len(filled.photos(where=where.added_since(moment))) == len(COLOURS)


@pytest.mark.parametrize("moment", [date(9999, 12, 31), datetime.max, datetime.max.replace(tzinfo=WEST)])
def test_no_photo_was_added_since_the_end_of_days(filled: PhotoLibrary, moment: date) -> None:
    assert filled.photos(where=where.added_since(moment)) == []


def test_search_many_answers_in_order(filled: PhotoLibrary) -> None:
    answers = filled.search_many(["red", "blue", "red"], limit=2)
    assert [names(answer)[0] for answer in answers] == ["red", "blue", "red"]
    assert filled.search_many([]) == []


@pytest.mark.parametrize(
    "query",
    [{}, {"query": ""}, {"query": "  "}, {"without": "red"}, {"query": "red", "limit": -1},
     {"query": "red", "offset": -1}, {"query": "red", "after": "nonsense"}, {"query": "red", "order": "oldest"},
     {"query": "red", "min_confidence": 1.5}, {"query": "red", "min_confidence": 0.5},
     {"query": Query("red") - Query("red")}, {"query": -1 * Query("red")}],
)  # fmt: skip
def test_queries_that_ask_nothing_are_refused(filled: PhotoLibrary, query: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        filled.search(**query)  # type: ignore[arg-type]


@pytest.mark.parametrize("example", [b"", b"no picture", "nothing.png", ".", 7])
def test_examples_that_are_no_pictures_are_refused(filled: PhotoLibrary, example: object) -> None:
    with pytest.raises((PhotoUnreadableError, UsageError)):
        filled.search(like=example)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["\x00", "\udce9", "a" * 100_000, "🦄" * 50, "\n\t red \n", "'; DROP TABLE files; --"])
def test_any_text_is_a_query(filled: PhotoLibrary, text: str) -> None:
    assert len(filled.search(text)) == 8
    assert filled.status().photos == 8


def test_ties_are_broken_by_path(library: PhotoLibrary, photos: Path) -> None:
    for name in ("b", "a", "c"):  # one picture in files of different bytes
        Image.new("RGB", (40, 40), COLOURS["red"]).save(photos / f"{name}.png", compress_level=ord(name) - ord("a"))
    library.index(photos)
    (match,) = library.search("red")
    assert [path.stem for path in match.paths] == ["a", "b", "c"]


# Libraries


def test_a_library_that_does_not_exist_is_not_made_by_reading(library: PhotoLibrary) -> None:
    for read in (
        lambda: library.search("red"),
        library.status,
        library.verify,
        library.roots,
        lambda: library.get("x"),
        lambda: library.vectors(["x"]),
        lambda: library.remove("x"),
        lambda: library.forget(missing=True),
        lambda: library.backup(library.path.parent / "copy"),
        lambda: library.export_vectors(library.path.parent / "vectors"),
    ):
        with pytest.raises(LibraryNotFoundError):
            read()  # type: ignore[no-untyped-call]
    assert not library.path.exists()
    assert not library.exists


def test_what_a_caller_gets_has_its_type_in_the_package(filled: PhotoLibrary, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    report = filled.index()
    status, change = filled.status(), filled.use_model(filled.status().model or "")
    values = [
        report,
        *report.failures,
        status,
        status.index,
        *filled.roots(),
        *filled.spaces(),
        change,
        filled.verify(),
    ]
    for value in values:
        assert type(value).__name__ in photoseek.__all__
        assert getattr(photoseek, type(value).__name__) is type(value)
    assert isinstance(where.rating >= 4, photoseek.Condition)


def test_another_model_is_refused_with_a_hint(filled: PhotoLibrary, turned_checkpoint: Path) -> None:
    with pytest.raises(ModelMismatchError) as caught:
        PhotoLibrary.open(filled.path, model=turned_checkpoint)
    assert caught.value.exit_code == 3
    assert "models use" in str(caught.value.hint)


def test_a_checkpoint_whose_files_changed_is_refused(
    open_library: Open, photos: Path, tmp_path: Path, tiny_checkpoint: Path, turned_checkpoint: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, model)
    write_photo(photos / "a.png", "red")
    open_library(model=model).index(photos)
    shutil.copy(turned_checkpoint / "model.safetensors", model)
    write_photo(photos / "b.png", "blue")
    library = open_library(model=model)
    with pytest.raises(ModelMismatchError, match="changed"):
        library.index()
    with pytest.raises(ModelMismatchError, match="changed"):
        library.search("blue")
    shutil.rmtree(model)
    with pytest.raises(CheckpointError):
        open_library(model="auto").search("blue")


def test_an_engine_that_computes_something_else_is_refused(
    filled: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch, open_library: Open
) -> None:
    original = ColourVision.encode
    monkeypatch.setattr(ColourVision, "encode", lambda self, pictures: original(self, pictures)[:, ::-1])
    write_photo(photos / "new.png", "red", seed=5)
    library = open_library(filled.path)
    with pytest.raises(ModelMismatchError, match="computes other vectors"):
        library.index()
    monkeypatch.undo()
    assert filled.status().photos == 8


def test_a_closed_library_says_so(filled: PhotoLibrary) -> None:
    filled.close()
    filled.close()
    with pytest.raises(UsageError, match="closed"):
        filled.search("red")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_is_refused(filled: PhotoLibrary) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            filled.search("red")
            answer = b"searched"
        except UsageError as error:
            answer = str(error).encode()
        except BaseException as error:
            answer = repr(error).encode()
        os.write(writing, answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        assert b"fork" in stream.read()
    os.waitpid(child, 0)
    assert len(filled.search("red")) == 8


def test_nothing_is_printed(
    filled: PhotoLibrary,
    photos: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with caplog.at_level(logging.INFO):
        filled.index()
        filled.search("red")
        filled.verify(repair=True)
        filled.backup(tmp_path / "copy")
    assert capfd.readouterr() == ("", "")
    assert "broken.jpg" in caplog.text


# Threads and processes


def test_threads_search_while_one_indexes(filled: PhotoLibrary, photos: Path) -> None:
    write_photos(photos / "new", 30, first_seed=100)
    stop = threading.Event()
    troubles: list[BaseException] = []
    seen: list[int] = []

    def search() -> None:
        try:
            while not stop.is_set():
                found = len(filled.search("red", limit=100))
                seen.append(found)
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    report = filled.index(batch_size=3)
    stop.set()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert report.indexed == 30
    assert 8 <= min(seen) <= max(seen) <= 38
    assert len(filled.search("red", limit=100)) == 38


def test_a_second_writer_is_told_who_writes(filled: PhotoLibrary, photos: Path, open_library: Open) -> None:
    other = open_library(filled.path)
    write_photo(photos / "new.png", "red", seed=9)
    errors: list[PhotoseekError] = []

    def meddle(_progress: object) -> None:
        for write in (lambda: other.index(), lambda: filled.add(png("red"), id="x"), lambda: other.remove("x")):
            try:
                write()
            except LibraryBusyError as error:
                errors.append(error)

    filled.index(on_progress=meddle)
    assert len(errors) >= 3
    assert {error.pid for error in errors if isinstance(error, LibraryBusyError)} == {os.getpid()}


def test_another_process_sees_every_commit_without_opening_again(filled: PhotoLibrary, photos: Path) -> None:
    with PhotoLibrary.open(filled.path) as reader:
        assert len(reader.search("red", limit=100)) == 8
        write_photos(photos / "new", 3, first_seed=100)
        filled.index()
        assert len(reader.search("red", limit=100)) == 11
        filled.forget(photos / "new")
        assert len(reader.search("red", limit=100)) == 8


def test_a_backup_during_a_run_is_a_whole_library(filled: PhotoLibrary, photos: Path, tmp_path: Path) -> None:
    write_photos(photos / "new", 20, first_seed=100)
    made: list[Path] = []

    def back_up(_progress: object) -> None:
        if len(made) < 3:
            made.append(tmp_path / f"copy-{len(made)}")
            filled.backup(made[-1])

    filled.index(batch_size=2, on_progress=back_up)
    assert made
    for path in made:
        with PhotoLibrary.open(path) as copy:
            assert copy.verify().problems == []
            assert names(copy.search("red"))[0] in ("red", "00", "08", "16")


# Pictures of apps


def test_app_pictures_are_added_found_replaced_and_removed(library: PhotoLibrary) -> None:
    for colour in ("red", "blue"):
        photo = library.add(png(colour), id=f"app-{colour}")
        assert (photo.id, photo.path, photo.paths, photo.format) == (f"app-{colour}", None, (), "png")
    assert library.search("red")[0].id == "app-red"
    assert library.status().photos == 2
    library.add(Image.new("RGB", (30, 30), COLOURS["green"]), id="app-red")
    assert library.status().photos == 2
    assert library.search("green")[0].id == "app-red"
    before = ColourVision.encoded
    library.add(png("blue"), id="app-copy")
    assert ColourVision.encoded == before, "a picture that is known is not embedded again"
    (match,) = [match for match in library.search("blue") if "app-copy" in match.ids]
    assert set(match.ids) == {"app-blue", "app-copy"}
    assert library.remove(["app-red", "app-copy"]) == 2
    assert library.remove("app-red") == 0
    assert library.get("app-red") is None
    assert [match.id for match in library.search("red")] == ["app-blue"]
    assert library.verify().problems == []


def test_an_app_picture_takes_no_missing_photos_place(filled: PhotoLibrary, photos: Path, tmp_path: Path) -> None:
    (match,) = filled.search("red", limit=1)
    assert match.path is not None
    data = match.path.read_bytes()
    match.path.rename(tmp_path / "aside.png")
    assert filled.index().missing == 1
    assert filled.add(data, id="mine").ids == ("mine",)
    assert filled.status().missing == 1
    (tmp_path / "aside.png").rename(match.path)
    assert filled.index().returned == 1
    photo = filled.get(match.id)
    assert photo is not None
    assert (photo.id, photo.path) == (match.id, match.path)
    assert set(photo.ids) == {match.id, "mine"}


@pytest.mark.parametrize("id", ["", "file-7", "file-"])
def test_ids_of_files_cannot_be_given(library: PhotoLibrary, id: str) -> None:
    with pytest.raises(UsageError):
        library.add(png("red"), id=id)
    assert not library.path.exists()


def test_ids_may_be_any_text(library: PhotoLibrary) -> None:
    for id in ("a/b", "../../etc/passwd", "ü 🦄", "x\n", "."):
        assert library.add(png("red"), id=id).id == id
        assert library.get(id) is not None


def test_a_broken_app_picture_is_refused_and_changes_nothing(library: PhotoLibrary) -> None:
    with pytest.raises(PhotoUnreadableError):
        library.add(b"no picture", id="x")
    assert library.status().photos == 0


def test_vectors_come_in_the_order_asked_for(filled: PhotoLibrary) -> None:
    matches = filled.search("red")
    ids = [match.id for match in matches][::-1]
    vectors = filled.vectors(ids)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    one_by_one = np.concatenate([filled.vectors([id]) for id in ids])
    np.testing.assert_array_equal(vectors, one_by_one)
    with pytest.raises(KeyError):
        filled.vectors(["file-9999"])
    assert filled.vectors([]).shape[0] == 0


def test_removing_counts_what_was_there(filled: PhotoLibrary) -> None:
    (match,) = filled.search("red", limit=1)
    assert filled.remove("file-9999") == 0
    assert filled.remove([match.id, match.id]) == 1
    assert filled.status().photos == 7


# Changing the model


def test_the_model_is_changed_and_changed_back(
    filled: PhotoLibrary, photos: Path, tiny_checkpoint: Path, turned_checkpoint: Path, open_library: Open
) -> None:
    before = stored_vectors(filled.path)
    library = open_library(filled.path, model="auto")  # type: ignore[arg-type]
    change = library.use_model(turned_checkpoint)
    assert (change.switched, change.waiting, change.report.embedded) == (True, 0, 8)
    assert names(library.search("red"))[0] == "red"
    assert library.status().model == str(turned_checkpoint)
    assert library.verify().problems == []
    assert library.use_model(turned_checkpoint).report.embedded == 0
    change = library.use_model(tiny_checkpoint)
    assert (change.switched, change.report.embedded) == (True, 0)
    assert stored_vectors(library.path).keys() == before.keys()
    assert names(library.search("blue"))[0] == "blue"


def test_a_page_of_another_model_is_refused_and_goes_on_when_that_model_answers_again(
    filled: PhotoLibrary, tiny_checkpoint: Path, turned_checkpoint: Path
) -> None:
    whole = [match.id for match in filled.search("red")]
    first = filled.search("red", limit=2)
    words = filled.search('"png"', limit=2)
    filled.use_model(turned_checkpoint)
    for query, page in (("red", first), ('"png"', words)):
        with pytest.raises(UsageError, match="another search") as refused:
            filled.search(query, limit=2, after=page.next)
        assert "model" in (refused.value.hint or "")
    filled.use_model(tiny_checkpoint)
    assert [match.id for match in [*first, *filled.search("red", after=first.next)]] == whole


def test_photos_on_a_drive_that_is_away_wait_for_a_new_model(
    library: PhotoLibrary, photos: Path, turned_checkpoint: Path, open_library: Open
) -> None:
    write_photos(photos / "drive", 3)
    write_photos(photos / "home", 2, first_seed=30)
    library.index([photos / "drive", photos / "home"])
    (photos / "drive").rename(photos / "aside")
    library.index()
    any_model = open_library(library.path, model="auto")  # type: ignore[arg-type]
    change = any_model.use_model(turned_checkpoint)
    assert (change.switched, change.waiting) == (False, 3)
    assert len(any_model.search("red")) == 5, "the old model goes on answering"
    change = any_model.use_model(turned_checkpoint, leave_waiting=True)
    assert (change.switched, change.waiting, change.report.embedded) == (True, 3, 0)
    assert any_model.verify().problems == []
    assert len(any_model.search("red")) == 2
    (photos / "aside").rename(photos / "drive")
    report = any_model.index()
    assert report.embedded == 3
    assert report.seen == 5
    assert len(any_model.search("red")) == 5
    assert any_model.index().embedded == 0
    assert any_model.verify().problems == []


def test_a_stopped_change_of_model_goes_on_where_it_was(
    filled: PhotoLibrary, turned_checkpoint: Path, open_library: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from photoseek.indexer import embedding, pipeline

    monkeypatch.setattr(pipeline, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(embedding, "BATCH_START", 2)
    cancel = threading.Event()
    library = open_library(filled.path, model="auto")  # type: ignore[arg-type]
    change = library.use_model(turned_checkpoint, cancel=cancel, on_progress=lambda progress: cancel.set())
    assert not change.switched
    done = change.report.embedded
    assert 0 < done < 8
    assert names(library.search("red"))[0] == "red"
    assert library.verify().problems == []
    change = library.use_model(turned_checkpoint)
    assert (change.switched, change.report.embedded) == (True, 8 - done)
