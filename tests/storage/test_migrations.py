"""Catalogs of older versions: migrated by the next writer with nothing lost, readable until then."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from photoseek.errors import LibraryError
from photoseek.search.filters import where
from photoseek.storage import migrations, schema
from photoseek.storage.backup import back_up
from photoseek.storage.catalog import CATALOG_NAME, Catalog
from photoseek.storage.migrations import migrate
from photoseek.storage.store import Store

CATALOGS = Path(__file__).parent / "catalogs"
OLD_VERSIONS = range(1, schema.SCHEMA_VERSION)


@pytest.fixture(params=OLD_VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a library as an older photoseek left it."""
    folder = tmp_path / "library"
    folder.mkdir()
    with closing(sqlite3.connect(folder / CATALOG_NAME)) as connection:
        connection.executescript((CATALOGS / f"version{request.param}.sql").read_text(encoding="utf-8"))
    return folder


def version_of(folder: Path) -> int:
    with closing(sqlite3.connect(folder / CATALOG_NAME)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def rows_of(folder: Path) -> dict[str, list[Any]]:
    """Every row of every table, and the numbers that AUTOINCREMENT goes on from."""
    with closing(sqlite3.connect(folder / CATALOG_NAME)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}


def statements_of(folder: Path) -> dict[str, str]:
    """Every table, index and trigger with the statement that made it, written alike."""
    with closing(sqlite3.connect(folder / CATALOG_NAME)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: re.sub(r"\s+|\"|IF NOT EXISTS", "", sql) for name, sql in found}


def columns_of(folder: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(folder / CATALOG_NAME)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in names}


def test_a_migrated_catalog_is_as_a_new_one(old: Path, tmp_path: Path) -> None:
    store = Store(old)
    store.create()
    store.close()
    Catalog.create(tmp_path / "new").close()
    assert version_of(old) == schema.SCHEMA_VERSION
    assert columns_of(old) == columns_of(tmp_path / "new")
    migrated, new = statements_of(old), statements_of(tmp_path / "new")
    assert migrated.keys() == new.keys()
    triggers = [name for name in new if new[name].startswith("CREATETRIGGER")]
    assert triggers
    assert [migrated[name] for name in triggers] == [new[name] for name in triggers]


def test_nothing_is_lost_and_migrating_twice_changes_nothing(old: Path) -> None:
    before = rows_of(old)
    for expected in (True, False):
        catalog = Catalog.open(old)
        assert migrate(catalog) is expected
        catalog.close()
    after = rows_of(old)
    for name, rows in before.items():
        width = len(rows[0]) if rows else 0
        assert [row[:width] for row in after[name]] == rows, name  # new columns stand at the end


def test_the_photos_of_an_old_library_are_found_by_exact_words(old: Path) -> None:
    store = Store(old)
    view = store.view()
    assert view is not None
    with pytest.raises(LibraryError, match="quoted words"):
        view.allowed(where.words("summer"), include_missing=False)
    store.create()
    found = view.allowed(where.words("summer"), include_missing=False)
    assert found is not None
    assert found.ids().tolist() == [1, 2]
    assert [row.camera.captions for row in view.rows([1])] == [()]
    store.close()


def test_a_migration_that_fails_leaves_the_old_version_whole(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, version = rows_of(old), version_of(old)
    last = schema.SCHEMA_VERSION
    monkeypatch.setitem(migrations.STEPS, last, (*migrations.STEPS[last], "CREATE TABLE files (a)"))
    catalog = Catalog.open(old)
    with pytest.raises(Exception, match="already exists"):
        migrate(catalog)
    catalog.close()
    assert (rows_of(old), version_of(old)) == (before, version)


def test_a_reader_of_an_old_catalog_answers_and_changes_nothing(old: Path) -> None:
    version = version_of(old)
    store = Store(old)
    view = store.view()
    assert view is not None
    ids = view.snapshot.ids().tolist()
    assert len(ids) == 4
    found = view.search(view.snapshot.vectors(ids[:1])[0], 10)
    assert found.ids.tolist()[0] == ids[0]
    assert len(found.ids) == 3  # one is missing
    assert len(view.rows(ids)) == 3
    store.close()
    assert version_of(old) == version


def test_a_backup_of_an_old_library_is_of_the_present_version(old: Path, tmp_path: Path) -> None:
    version = version_of(old)
    store = Store(old)
    back_up(store, tmp_path / "copy")
    store.close()
    assert (version_of(old), version_of(tmp_path / "copy")) == (version, schema.SCHEMA_VERSION)
