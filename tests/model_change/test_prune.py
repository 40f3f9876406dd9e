"""Vectors of models that no longer answer are kept until they are pruned."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from small_library import write_photos

from photoseek import IndexSettings, PhotoLibrary
from photoseek.errors import LibraryNotFoundError, StorageFullError, UsageError
from photoseek.storage import spaces
from photoseek.storage.catalog import Catalog

pytestmark = pytest.mark.slow

Open = Callable[..., PhotoLibrary]


@pytest.fixture
def changed(open_library: Open, photos: Path, turned_checkpoint: Path) -> PhotoLibrary:
    """Thirty photos with the vectors of two models; the second answers. One photo is missing, one forgotten."""
    write_photos(photos, 30)
    open_library().index(photos, settings=IndexSettings(ivf_min_rows=6, generation_min_rows=2, delta_max_rows=3))
    library = open_library(model="auto")  # type: ignore[arg-type]
    library.use_model(turned_checkpoint)
    (photos / "01.png").unlink()
    library.index()
    library.forget(photos / "02.png")
    return library


def number(library: PhotoLibrary, statement: str) -> int:
    with closing(sqlite3.connect(library.path / "catalog.sqlite")) as connection:
        return int(connection.execute(statement).fetchone()[0])


def test_retired_models_go_with_all_they_had(changed: PhotoLibrary, tiny_checkpoint: Path) -> None:
    answers = [(match.id, match.score) for match in changed.search("red", limit=100)]
    before = {space.state: space for space in changed.spaces()}
    assert changed.status().retired == (before["retired"],)
    assert before["retired"].vectors == 29
    would_go = changed.prune_models(dry_run=True)
    assert would_go == (before["retired"],)
    assert len(changed.spaces()) == 2
    assert changed.prune_models() == would_go
    assert changed.spaces() == (before["active"],)
    assert changed.prune_models() == ()
    report = changed.verify()
    assert (report.problems, report.litter, report.vectors) == ([], [], 29)
    assert [(match.id, match.score) for match in changed.search("red", limit=100)] == answers
    assert len(list((changed.path / "index").glob("*/*"))) == 1
    for table in ("masked", "space_texts", "generations"):
        assert number(changed, f"SELECT count(DISTINCT space_id) FROM {table}") == 1
    assert number(changed, "PRAGMA freelist_count") == 0
    assert changed.use_model(tiny_checkpoint).report.embedded == 28, "it can come back, embedded anew"
    assert number(changed, "SELECT max(id) FROM spaces") == 3, "no reader takes it for the old one"
    assert changed.verify().problems == []


def test_vectors_are_removed_some_at_a_time(changed: PhotoLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "PRUNE_ROWS", 7)
    changed.prune_models()
    assert changed.verify().vectors == number(changed, "SELECT count(*) FROM embeddings") == 29


def test_prepared_pictures_of_another_preprocessing_go_too(changed: PhotoLibrary) -> None:
    with closing(sqlite3.connect(changed.path / "catalog.sqlite")) as connection:
        connection.execute(
            "INSERT INTO prepared (content_digest, preprocessing, picture_digest)"
            " SELECT content_digest, 'gone', picture_digest FROM prepared"
        )
        connection.commit()
    changed.prune_models()
    assert number(changed, "SELECT count(DISTINCT preprocessing) FROM prepared") == 1


def test_a_model_that_was_never_completed_goes_by_name_only(
    changed: PhotoLibrary, photos: Path, tiny_checkpoint: Path
) -> None:
    changed.prune_models()
    (photos / "05.png").write_bytes(b"no picture any more")
    assert not changed.use_model(tiny_checkpoint).switched
    assert [space.state for space in changed.spaces()] == ["active", "building"]
    assert changed.prune_models() == ()
    (gone,) = changed.prune_models(str(tiny_checkpoint))
    assert (gone.model, gone.state, gone.vectors) == (str(tiny_checkpoint), "building", 27)
    assert [space.state for space in changed.spaces()] == ["active"]


def test_the_model_that_answers_and_unknown_ones_are_refused(changed: PhotoLibrary, turned_checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="answers this library's searches"):
        changed.prune_models(str(turned_checkpoint))
    with pytest.raises(UsageError, match="holds no vectors of the model nobody/knows"):
        changed.prune_models("nobody/knows")


def test_without_room_for_a_smaller_file_its_free_pages_are_kept(
    changed: PhotoLibrary, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_catalog: Catalog) -> None:
        raise StorageFullError("no room")

    monkeypatch.setattr(Catalog, "shrink", full)
    changed.prune_models()
    assert "keeps its size" in caplog.text
    assert number(changed, "PRAGMA freelist_count") > 0
    assert changed.verify().problems == []


def test_shrinking_asks_for_room_first(changed: PhotoLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr("photoseek.storage.catalog.shutil.disk_usage", lambda _path: Usage)
    changed.prune_models()
    assert number(changed, "PRAGMA freelist_count") > 0


def test_there_must_be_a_library(library: PhotoLibrary) -> None:
    for ask in (library.spaces, library.prune_models):
        with pytest.raises(LibraryNotFoundError):
            ask()


@pytest.mark.parametrize("state", ["retired", "active"])
def test_a_damaged_vector_is_mended_beside_those_of_another_model(
    changed: PhotoLibrary, tiny_checkpoint: Path, turned_checkpoint: Path, state: str
) -> None:
    changed.index()
    assert changed.use_model(tiny_checkpoint).switched
    with closing(sqlite3.connect(changed.path / "catalog.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE embeddings SET vector = zeroblob(length(vector)) WHERE id = (SELECT max(e.id) FROM embeddings e"
            " JOIN spaces s ON s.id = e.space_id WHERE s.state = ?)",
            (state,),
        )
    assert len(changed.verify().problems) == 1
    report = changed.verify(repair=True)
    assert report.problems == []
    hidden = state == "active"
    assert (changed.status().failed, len(changed.search("red", limit=100))) == (hidden, 29 - hidden)
    assert changed.index().embedded == hidden
    assert (changed.status().failed, len(changed.search("red", limit=100))) == (0, 29)
    assert changed.use_model(turned_checkpoint).report.embedded == 1 - hidden
    assert changed.verify().problems == []
    assert len(changed.search("red", limit=100)) == 29
