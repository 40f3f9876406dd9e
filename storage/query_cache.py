"""Vectors of past queries, so that a repeated one loads no model. May be deleted at any time."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.sqlite import insert

from photoseek.errors import LibraryUnreadableError, PhotoseekError
from photoseek.storage.database import Database

log = logging.getLogger(__name__)

CACHE_NAME = "queries.sqlite"
ROWS_MAX = 10_000
"""About 30 MB at 768 numbers a vector; beyond it the oldest rows go."""

_metadata = sa.MetaData()
_queries = sa.Table(
    "queries",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("checkpoint_digest", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("vector", sa.BLOB, nullable=False),  # float32
    sa.UniqueConstraint("checkpoint_digest", "text"),
)


class QueryCache:
    """A cache beside the catalog. A cache that cannot be read or written costs time, never an answer."""

    def __init__(self, library: Path) -> None:
        self._path = library / CACHE_NAME
        self._guard = threading.Lock()
        self._database: Database | None = None

    def get(self, checkpoint_digest: str, text: str) -> NDArray[np.float32] | None:
        """The vector (dim,) of a text, if it was asked before."""
        table = _queries.c
        statement = sa.select(table.vector).where(table.checkpoint_digest == checkpoint_digest, table.text == text)
        try:
            with self._opened().reading() as connection:
                blob = connection.scalar(statement)
        except PhotoseekError as error:
            self._give_up(error)
            return None
        return np.frombuffer(blob, dtype="<f4") if blob is not None else None

    def put(self, checkpoint_digest: str, text: str, vector: NDArray[np.float32]) -> None:
        row = insert(_queries).values(
            checkpoint_digest=checkpoint_digest, text=text, vector=vector.astype("<f4").tobytes()
        )
        try:
            with self._opened().writing() as connection:
                connection.execute(row.on_conflict_do_nothing())
                newest = sa.select(sa.func.max(_queries.c.id)).scalar_subquery()
                connection.execute(sa.delete(_queries).where(_queries.c.id <= newest - ROWS_MAX))
        except PhotoseekError as error:
            self._give_up(error)

    def close(self) -> None:
        with self._guard:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _opened(self) -> Database:
        with self._guard:
            if self._database is None:
                database = Database(self._path, new=not self._path.exists(), durable=False)
                with database.reading() as connection:
                    is_made = sa.inspect(connection).has_table(_queries.name)
                if not is_made:  # new, or left empty by a process that was killed
                    with database.writing() as connection:
                        _metadata.create_all(connection)
                self._database = database
            return self._database

    def _give_up(self, error: PhotoseekError) -> None:
        """Log why there is no answer; a damaged cache is removed, and the next use makes a new one."""
        log.warning("%s", error)
        if isinstance(error, LibraryUnreadableError):
            self.close()
            for suffix in ("", "-wal", "-shm"):
                with suppress(OSError):
                    self._path.with_name(CACHE_NAME + suffix).unlink()
