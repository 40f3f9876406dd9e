"""SQLite as photoseek wants it: durable commits, real transactions, errors in our own words."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from photoseek.errors import LibraryBusyError, LibraryError, LibraryUnreadableError, StorageFullError
from photoseek.storage.distance import distance_km
from photoseek.storage.word_texts import TEXT_FUNCTIONS

BUSY_TIMEOUT_S = 30.0
"""How long a statement waits for another process's commit; commits take milliseconds."""

VALUES_PER_STATEMENT = 30_000
"""SQLite takes at most 32,766 bound values in one statement."""

_Function = Callable[..., str | float | None]

FUNCTIONS: dict[str, tuple[int, _Function]] = {"photoseek_km": (4, distance_km), **TEXT_FUNCTIONS}
"""What SQL may call: by name, the number of arguments and the function."""

MAPPED_MAX_BYTES = 2**31 - 2**16
"""SQLite maps no more of a file."""


class Database:
    """One SQLite file; safe to share between threads of a process, not across a fork.

    A transaction that ends is on the disk (WAL with `synchronous = FULL`); one that does not has no effect,
    whatever kills the process.
    """

    def __init__(self, path: Path, *, new: bool = False, durable: bool = True) -> None:
        """Open the file at first use.

        Args:
            new: make the file what photoseek wants; one that exists may be anybody's and is taken as it is.
            durable: False for what can be lost at a power cut.
        """
        self.path = path
        # Built of parts: in a URL that is parsed, a question mark would end the path.
        url = sa.URL.create("sqlite", database=str(path))
        self._engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
        synchronous = "FULL" if durable else "OFF"
        self._noted = threading.local()  # a statement calls functions in its own thread

        @sa.event.listens_for(self._engine, "connect")
        def configure(connection: sqlite3.Connection, _record: object) -> None:
            # None: sqlite3 must not open transactions of its own, or DDL would escape a rollback.
            connection.isolation_level = None
            if new:
                connection.execute("PRAGMA journal_mode = WAL")  # stays with the file
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            for name, (arguments, function) in FUNCTIONS.items():
                connection.create_function(name, arguments, self._noting(function), deterministic=True)

        @sa.event.listens_for(self._engine, "begin")
        def begin(connection: sa.Connection) -> None:
            writing = connection.get_execution_options().get("photoseek_writing", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent view of the database, unaffected by commits of others meanwhile."""
        with self._mapped_errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction: committed as a whole when the block ends, rolled back when it raises."""
        with self._mapped_errors(), self._engine.connect() as connection:
            connection = connection.execution_options(photoseek_writing=True)
            with connection.begin():
                yield connection

    @contextmanager
    def raw(self) -> Iterator[sqlite3.Connection]:
        """The driver's connection, for what SQL cannot say: online backup, integrity check."""
        with self._checked_out() as (driver, _info):
            yield driver

    @contextmanager
    def mapped(self) -> Iterator[sqlite3.Connection]:
        """The driver's connection for lookups while searching: pages are read from the system's cache without a copy.

        That takes a fifth off. Runs that index do without: where a drive goes away, a mapped file ends the process.
        """
        with self._checked_out() as (driver, info):
            if not info.get("mapped"):
                driver.execute(f"PRAGMA mmap_size = {MAPPED_MAX_BYTES}")
                info["mapped"] = True
            yield driver

    def watching(self) -> sqlite3.Connection:
        """A connection outside any transaction, whose `PRAGMA data_version` shows the commits of all others."""
        with self._mapped_errors():
            return sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _checked_out(self) -> Iterator[tuple[sqlite3.Connection, dict[str, object]]]:
        """A connection of the driver, and what is noted about it for as long as it lives."""
        with self._mapped_errors():
            connection = self._engine.raw_connection()
            try:
                driver = connection.driver_connection
                assert isinstance(driver, sqlite3.Connection)
                yield driver, connection.info
            finally:
                connection.close()

    def _noting(self, function: _Function) -> _Function:
        """`function`, with a note of what it raises: SQLite says only that something was raised."""

        @wraps(function)
        def called(*values: Any) -> str | float | None:
            try:
                return function(*values)
            except Exception as error:
                self._noted.error = error
                raise

        return called

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._mapped(error.orig) from error
        except sqlite3.Error as error:
            raise self._mapped(error) from error

    def _mapped(self, error: BaseException | None) -> BaseException:
        if str(error) == "user-defined function raised exception":
            raised = self._noted.__dict__.pop("error", None)
            if raised is None:  # none of the functions did: it was Ctrl-C while SQLite called one
                return KeyboardInterrupt()
            error = raised
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        # SHMSIZE: no room for the file beside the WAL that all its users share.
        if primary == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
            return StorageFullError(
                f"the disk of {self.path} is full; nothing that was stored before is lost",
                hint="free some space and run the same command again",
            )
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return LibraryBusyError(self.path.parent, None)
        if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return LibraryUnreadableError(
                f"{self.path} is damaged or no photoseek catalog: {error}",
                hint="restore it from a backup; the photos themselves are untouched",
            )
        if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR):
            return LibraryUnreadableError(
                f"{self.path} cannot be opened or written: {error}",
                hint="the library must lie on a local disk that you may write to",
            )
        return LibraryError(f"the catalog {self.path} refused a statement: {error}")
