"""Creating, opening and locking a library's catalog; SQLite as photoseek wants it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from photoseek.errors import (
    LibraryBusyError,
    LibraryError,
    LibraryNotFoundError,
    LibraryUnreadableError,
    StorageFullError,
    UnsupportedSchemaError,
    UsageError,
)
from photoseek.storage import database, schema
from photoseek.storage.catalog import CATALOG_NAME, Catalog
from photoseek.storage.database import Database
from photoseek.storage.lock import WriterLock


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with an empty catalog."""
    Catalog.create(tmp_path / "library").close()
    return tmp_path / "library"


def test_a_new_catalog_opens_and_says_what_it_is(made: Path) -> None:
    catalog = Catalog.open(made)
    assert catalog.setting("library_id")
    assert catalog.counts().indexed == 0
    catalog.close()
    with sqlite3.connect(made / CATALOG_NAME) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_creating_twice_keeps_what_is_there(made: Path) -> None:
    catalog = Catalog.open(made)
    before = catalog.setting("library_id")
    catalog.close()
    again = Catalog.create(made)
    assert again.setting("library_id") == before
    again.close()


@pytest.mark.parametrize("name", ["what?", "x?mode=ro", "a%20b", "a%3Fb", "a#b", "a:b@c", "file:a"])
def test_a_catalog_lies_where_it_was_asked_for(tmp_path: Path, name: str) -> None:
    catalog, other = Catalog.create(tmp_path / name / "library"), Catalog.create(tmp_path / f"{name} 2" / "library")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name} 2"])
    assert catalog.setting("library_id") != other.setting("library_id")
    catalog.close()
    other.close()
    again = Catalog.open(tmp_path / name / "library")
    again.close()


def test_no_catalog_and_the_empty_file_of_a_killed_process_are_no_library(tmp_path: Path) -> None:
    with pytest.raises(LibraryNotFoundError):
        Catalog.open(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / CATALOG_NAME).touch()
    with pytest.raises(LibraryNotFoundError):
        Catalog.open(tmp_path)


def test_a_library_that_may_not_be_looked_at_is_not_said_to_be_missing(tmp_path: Path) -> None:
    locked, is_root = tmp_path / "locked", os.geteuid() == 0
    (locked / "inside").mkdir(parents=True)
    locked.chmod(0)
    if is_root:
        os.seteuid(65534)  # whom permissions hold back
    try:
        for folder in (locked, locked / "inside"):
            with pytest.raises(LibraryUnreadableError, match="cannot be opened: Permission denied"):
                Catalog.open(folder)
    finally:
        if is_root:
            os.seteuid(0)
        locked.chmod(0o700)


def test_a_newer_schema_is_refused(made: Path) -> None:
    with sqlite3.connect(made / CATALOG_NAME) as connection:
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(UnsupportedSchemaError, match="format"):
        Catalog.open(made)


def test_a_transaction_that_raises_leaves_nothing_not_even_a_table(made: Path) -> None:
    catalog = Catalog.open(made)

    def fail() -> None:
        with catalog.database.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE half (a)")
            connection.exec_driver_sql("INSERT INTO settings VALUES ('half', 'x')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with catalog.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sqlite_master WHERE name = 'half'").scalar() == 0
    assert catalog.setting("half") is None
    catalog.close()


def test_a_reader_sees_one_state_while_another_commits(made: Path) -> None:
    catalog, other = Catalog.open(made), Catalog.open(made)
    with catalog.database.reading() as connection:
        count = "SELECT count(*) FROM settings"
        before = connection.exec_driver_sql(count).scalar()
        other.set_setting("new", "1")
        assert connection.exec_driver_sql(count).scalar() == before
    assert catalog.setting("new") == "1"
    catalog.close()
    other.close()


def test_commits_are_durable_and_keys_are_checked(made: Path) -> None:
    catalog = Catalog.open(made)
    with catalog.database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    catalog.close()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, StorageFullError),
        (sqlite3.SQLITE_IOERR_SHMSIZE, StorageFullError),
        (sqlite3.SQLITE_BUSY, LibraryBusyError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, LibraryBusyError),
        (sqlite3.SQLITE_CORRUPT, LibraryUnreadableError),
        (sqlite3.SQLITE_NOTADB, LibraryUnreadableError),
        (sqlite3.SQLITE_READONLY_DBMOVED, LibraryUnreadableError),
        (sqlite3.SQLITE_IOERR_READ, LibraryUnreadableError),
        (sqlite3.SQLITE_CANTOPEN, LibraryUnreadableError),
        (sqlite3.SQLITE_ERROR, LibraryError),
    ],
)
def test_every_error_of_sqlite_is_told_in_our_words(tmp_path: Path, code: int, expected: type[Exception]) -> None:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code

    def fail() -> None:
        with Database(tmp_path / "x").raw():
            raise error

    with pytest.raises(expected) as caught:
        fail()
    assert type(caught.value) is expected
    assert caught.value.__cause__ is error


def test_a_second_writing_transaction_waits_and_then_gives_up(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    first, second = Catalog.open(made), Catalog.open(made)
    with first.database.writing(), pytest.raises(LibraryBusyError):
        second.set_setting("a", "b")
    second.set_setting("a", "b")
    first.close()
    second.close()


def test_a_backup_holds_what_was_committed(made: Path, tmp_path: Path) -> None:
    catalog = Catalog.open(made)
    catalog.set_setting("a", "b")
    (tmp_path / "copy").mkdir()
    catalog.backup(tmp_path / "copy").close()
    copy = Catalog.open(tmp_path / "copy")
    assert (copy.setting("a"), copy.setting("library_id")) == ("b", catalog.setting("library_id"))
    copy.close()
    catalog.close()


def test_two_roots_cannot_have_one_path(made: Path) -> None:
    catalog = Catalog.open(made)
    one, other = catalog.add_root(b"/one"), catalog.add_root(b"/other")
    assert catalog.add_root(b"/one") == one
    with pytest.raises(UsageError):
        catalog.move_root(other.id, b"/one")
    catalog.move_root(other.id, b"/other")
    catalog.close()


# The writer's lock


def test_one_writer_at_a_time_among_threads_and_locks(tmp_path: Path) -> None:
    with WriterLock(tmp_path) as lock:
        assert lock.held
        errors: list[LibraryBusyError] = []

        def try_it() -> None:
            try:
                with WriterLock(tmp_path):
                    raise AssertionError("two writers")
            except LibraryBusyError as error:
                errors.append(error)

        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        assert [error.pid for error in errors] == [os.getpid()]
        with pytest.raises(LibraryBusyError), lock:
            pass
    with WriterLock(tmp_path):
        pass


HOLD = """
import sys, time
from pathlib import Path
from photoseek.storage.lock import WriterLock
with WriterLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(LibraryBusyError) as caught, WriterLock(tmp_path):
        pass
    assert caught.value.pid == process.pid
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with WriterLock(tmp_path) as lock:
        assert lock.held
