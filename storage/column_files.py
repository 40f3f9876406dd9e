"""The columns of a generation as files, and which state of the catalog they show.

A folder beside the index: one npy file an array, as `columns` describes them, and a header. A file that changed after
they were written is named in `changed_files` by a higher id than the header's; the names are dropped with the
transaction that makes a newer generation of the active space current.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from photoseek.errors import DamageError
from photoseek.storage.catalog import Catalog
from photoseek.storage.columns import FACTS, FILES, ROW_FILES, Columns, ColumnsBuilder
from photoseek.storage.durable import sync_folder, synced_file
from photoseek.storage.spaces import Space

COLUMNS_FOLDER = "columns"
HEADER_FILE = "columns.json"
EXTRA = "further_positions"
DROPPED_CHANGES = "dropped_changes"
"""The setting that holds the last id that was removed from `changed_files`: older columns cannot be made right."""
CHANGES_VERSION = 2
"""Catalogs of older versions do not note changes."""

CHUNK_ROWS = 4096

# CROSS JOIN keeps SQLite to this order, each step by an index.
OF_FILES = (
    "CROSS JOIN contents c ON c.id = f.content_id"
    " CROSS JOIN prepared p ON p.content_digest = c.digest AND p.preprocessing = :preprocessing"
    " CROSS JOIN embeddings e ON e.picture_digest = p.picture_digest AND e.space_id = :space"
    " WHERE f.state = 'indexed'"
)
"""SQL that goes on after `files f`: its files with their contents, pictures and vectors in a space."""
_ALL = f"SELECT {FACTS} FROM files f {OF_FILES}"


@dataclass(frozen=True, slots=True)
class ColumnsHeader:
    """Which state of the catalog a generation's columns show."""

    last_file_id: int
    """The highest id that a file had; files with higher ones are newer."""
    last_change_id: int
    """The highest id in `changed_files`; higher ones name files that changed since."""
    rows: int
    """How many rows the columns have: one for each vector, and one for each further file of a vector."""


def write_columns(catalog: Catalog, space: Space, ids: NDArray[np.int64], folder: Path) -> ColumnsHeader:
    """Write the facts of every file that shows one of the embeddings `ids` (ascending) to the new folder.

    The first `len(ids)` rows are those of the embeddings, in order; further files of the same embeddings follow.
    """
    builder = ColumnsBuilder()
    with catalog.database.reading() as connection:
        last_file_id, last_change_id = _last_id(connection, "files"), _last_id(connection, "changed_files")
        values = {"space": space.id, "preprocessing": space.preprocessing}
        rows = connection.execution_options(yield_per=CHUNK_ROWS).execute(sa.text(_ALL), values)
        for chunk in rows.partitions(CHUNK_ROWS):
            builder.add(chunk)
    builder.add_empty()
    order, extra = _by_position(builder.embedding_ids, ids)
    header = ColumnsHeader(last_file_id, last_change_id, len(order))
    folder.mkdir()
    for name, array in [*builder.arrays(order), (EXTRA, extra)]:
        with synced_file(folder / f"{name}.npy") as stream:
            np.save(stream, array)
    with synced_file(folder / HEADER_FILE) as stream:
        stream.write(json.dumps(asdict(header), indent=2).encode())
    sync_folder(folder)
    return header


def _by_position(
    embedding_ids: NDArray[np.int64], ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Rows in the order of `ids`, one each (the last row where there is none), then the others with their positions."""
    positions = np.searchsorted(ids, embedding_ids).clip(max=max(len(ids) - 1, 0))
    rows = np.flatnonzero(ids[positions] == embedding_ids) if len(ids) else np.empty(0, dtype=np.int64)
    rows = rows[np.argsort(positions[rows], kind="stable")]
    found, first = np.unique(positions[rows], return_index=True)
    order = np.full(len(ids), len(embedding_ids) - 1, dtype=np.int64)
    order[found] = rows[first]
    others = np.delete(rows, first)
    return np.concatenate([order, others]), positions[others].astype(np.int32)


def read_header(folder: Path) -> ColumnsHeader | None:
    """The header of a generation's columns; None where it has none: an older photoseek wrote it.

    Raises:
        DamageError: the header cannot be read.
    """
    path = folder / COLUMNS_FOLDER / HEADER_FILE
    try:
        facts = json.loads(path.read_bytes())
        return ColumnsHeader(int(facts["last_file_id"]), int(facts["last_change_id"]), int(facts["rows"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DamageError(f"{path} is damaged") from error


def usable(connection: sa.Connection, header: ColumnsHeader) -> bool:
    """Does the catalog still say what changed since these columns were written?"""
    if connection.exec_driver_sql("PRAGMA user_version").scalar_one() < CHANGES_VERSION:
        return False
    dropped = connection.exec_driver_sql("SELECT value FROM settings WHERE key = ?", (DROPPED_CHANGES,)).scalar()
    return header.last_change_id >= int(dropped or 0)


UNCHANGED = (
    "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'files'), 0) = ?"
    " AND coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'changed_files'), 0) = ?"
)
"""SQL that is true while the catalog is in the state that columns show; takes `last_file_id` and `last_change_id`."""


def count_changes(connection: sa.Connection, header: ColumnsHeader) -> int:
    """How many files changed since."""
    statement = "SELECT count(*) FROM changed_files WHERE id > ?"
    return int(connection.exec_driver_sql(statement, (header.last_change_id,)).scalar_one())


def drop_changes(connection: sa.Connection, header: ColumnsHeader) -> None:
    """Forget the changes that the columns of the active space's new generation show."""
    connection.exec_driver_sql("DELETE FROM changed_files WHERE id <= ?", (header.last_change_id,))
    connection.exec_driver_sql(
        "INSERT INTO settings VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (DROPPED_CHANGES, str(header.last_change_id)),
    )


@dataclass(frozen=True)
class MappedColumns:
    """The columns of an opened generation."""

    header: ColumnsHeader
    columns: Columns
    extra: NDArray[np.int32]
    """Positions of the rows that follow the first one of each vector, ascending."""

    def files(self, positions: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Every file that shows one of the vectors at these positions: its id, and the place in `positions`."""
        file_ids = self.columns.numbers("file_id")
        found = list(zip(file_ids[positions].tolist(), range(len(positions)), strict=True))
        if not len(self.extra):
            return found
        first, last = (np.searchsorted(self.extra, positions, side) for side in ("left", "right"))
        vectors = self.columns.rows - len(self.extra)
        for place in np.flatnonzero(last > first).tolist():
            others = file_ids[vectors + first[place] : vectors + last[place]].tolist()
            found += [(file_id, place) for file_id in others]
        return found


@dataclass(frozen=True)
class KnownFiles:
    """Which files show some embeddings, by columns; true while the catalog is in the state that they show."""

    embedding_of: dict[int, int]
    """Embedding ids by file id."""
    header: ColumnsHeader


def open_columns(folder: Path, vectors: int) -> MappedColumns | None:
    """The columns of a generation of so many vectors; None where it has none.

    Raises:
        FileNotFoundError: one is not there.
        DamageError: they do not fit the generation.
    """
    header = read_header(folder)
    if header is None:
        return None

    # All at once: when a search asks for one, a writer may have replaced the generation.
    arrays = {name: read_array(folder / COLUMNS_FOLDER / f"{name}.npy", mapped=True) for name in (*FILES, EXTRA)}
    extra = arrays[EXTRA]
    if len(extra) != header.rows - vectors or any(arrays[name].shape != (header.rows,) for name in ROW_FILES):
        raise DamageError(f"the columns in {folder} do not fit its vectors")
    return MappedColumns(header, Columns(header.rows, arrays), extra)


def read_array(path: Path, *, mapped: bool) -> NDArray[Any]:
    """One npy file.

    Raises:
        FileNotFoundError: it is not there.
        DamageError: it holds no array.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None).view(np.ndarray)  # memmap's own is slow
    except (ValueError, EOFError) as error:
        raise DamageError(f"{path} is damaged") from error
    return array


def _last_id(connection: sa.Connection, table: str) -> int:
    """The highest id that AUTOINCREMENT ever gave."""
    statement = "SELECT seq FROM sqlite_sequence WHERE name = ?"
    return int(connection.exec_driver_sql(statement, (table,)).scalar() or 0)
