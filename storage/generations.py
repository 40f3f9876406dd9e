"""Index generations: built from the catalog, written whole, then named current in one transaction."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import faiss
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from photoseek.errors import DamageError
from photoseek.storage import schema
from photoseek.storage.catalog import Catalog, utc_now
from photoseek.storage.column_files import (
    COLUMNS_FOLDER,
    count_changes,
    drop_changes,
    read_array,
    read_header,
    usable,
    write_columns,
)
from photoseek.storage.durable import new_folder, synced_file
from photoseek.storage.faissfile import flat_rows, open_index, write_flat
from photoseek.storage.ivf import centroids_of, lists_of, train_lists
from photoseek.storage.list_files import has_lists, open_lists, write_lists
from photoseek.storage.list_shapes import list_shapes
from photoseek.storage.manifest import IDS_FILE, VECTORS_FILE, check_digests, check_sizes, read_reach, write_manifest
from photoseek.storage.spaces import Space, Spaces
from photoseek.storage.tuning import Tuned, tune
from photoseek.storage.vectors import from_blobs, read_blobs

log = logging.getLogger(__name__)

CHUNK_ROWS = 4096
CHANGED_MAX_FILES = 50_000
"""More files than this that changed since the generation make a new one due: filters read them from the catalog."""
RETRAIN_GROWTH = 4
"""Lists are trained anew when a generation holds this many times the rows they were trained for."""


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """When derived files are written, and of which kind. Kept in the catalog, so that later merges follow.

    Measured for 768-wide vectors on one core: an exact scan of 50,000 takes 8 ms, IVF at 100,000 takes 1 ms.
    """

    ivf_min_rows: int = 50_000
    """From this many vectors on the index is IVF; below it is flat, that is exact."""
    generation_min_rows: int = 4_096
    """Fewer vectors are read from the catalog at opening; they need no derived file."""
    delta_max_rows: int = 10_000
    """More rows than this newer than the generation are merged into it when a run ends."""

    @classmethod
    def load(cls, catalog: Catalog) -> IndexSettings:
        stored = catalog.setting("index")
        return cls(**json.loads(stored)) if stored else cls()

    def save(self, catalog: Catalog) -> None:
        catalog.set_setting("index", json.dumps(asdict(self)))


@dataclass(frozen=True, slots=True)
class Generation:
    """The row that names a space's current generation."""

    folder: Path
    rows: int
    last_embedding_id: int
    nlist: int
    nprobe: int
    recall: float | None
    trained_rows: int


class Generations:
    """Builds, merges and removes the generations of a library; the writer's side.

    Files are written without the writer's lock where the caller sees to it that nobody else builds the same space;
    `committing` then makes the lock that is held around the transaction which names a generation.
    """

    def __init__(
        self, catalog: Catalog, library: Path, committing: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self._catalog = catalog
        self._library = library
        self._committing = committing

    def current(self, space: Space) -> Generation | None:
        with self._catalog.database.reading() as connection:
            return read_generation(connection, self._library, space.id)

    def merge_if_due(self, space: Space, settings: IndexSettings, *, finishing: bool) -> bool:
        """Write a new generation when the delta has grown enough; returns whether it did.

        In the middle of a run only a doubling is due, so that a first library of a million is rewritten a
        handful of times.
        """
        current = self.current(space)
        rows = current.rows if current else 0
        delta = Spaces(self._catalog).count_embeddings(space, current.last_embedding_id if current else 0)
        total = rows + delta
        if not finishing:
            due = delta >= max(5 * settings.delta_max_rows, rows)
        elif current is None:
            due = total >= min(settings.generation_min_rows, settings.ivf_min_rows)
        else:
            wants_ivf = total >= settings.ivf_min_rows and current.nlist == 0
            due = delta >= settings.delta_max_rows or wants_ivf or not self.whole(current) or self._outdated(current)
        if due and total:
            self.build(space, settings)
        elif finishing:
            log.info("no index generation is due: %d rows in the present one, %d newer", rows, delta)
        return due

    def whole(self, generation: Generation) -> bool:
        """Are its files there with the sizes that its manifest names?"""
        try:
            check_sizes(generation.folder)
        except (OSError, DamageError):
            return False
        return True

    def _as_written(self, generation: Generation) -> bool:
        """Do its files have the digests that its manifest names? Appending reads most of them anyway."""
        try:
            check_digests(generation.folder)
        except (OSError, DamageError):
            return False
        return True

    def _outdated(self, generation: Generation) -> bool:
        """Has it lists of an older photoseek, no columns for filters, or none that are worth making right?"""
        try:
            header = read_header(generation.folder)
            if header is None or (generation.nlist and read_reach(generation.folder) is None):
                return True
        except DamageError:
            return True
        with self._catalog.database.reading() as connection:
            return not usable(connection, header) or count_changes(connection, header) > CHANGED_MAX_FILES

    def build(self, space: Space, settings: IndexSettings) -> Generation:
        """Write a generation of every vector of the space and make it current.

        The old one is appended to where it can be (its files are whole and few of its rows are gone), and
        rebuilt from the catalog otherwise; lists are trained anew only when the space has outgrown them.
        A crash leaves an unnamed folder, which the next writer removes.

        Raises:
            StorageFullError: the disk filled up; the old generation stays current.
        """
        started = time.monotonic()
        old = self.current(space)
        if old is not None and not self._as_written(old):
            old = None  # what is damaged must not get new digests
        target = self._new_folder(space)
        tuned, trained_rows = None, 0
        with new_folder(target) as folder:
            ids = self._write_vectors(folder, space, old)
            if len(ids) >= max(settings.ivf_min_rows, 1):
                tuned, trained_rows = self._write_lists(folder, space, old, ids)
            columns = write_columns(self._catalog, space, ids, folder / COLUMNS_FOLDER)
            write_manifest(folder, space, len(ids), tuned.reach if tuned else None)
        row = {
            "space_id": space.id,
            "folder": target.relative_to(self._library).as_posix(),
            "rows": len(ids),
            "last_embedding_id": int(ids[-1]) if len(ids) else 0,
            "nlist": tuned.nlist if tuned else 0,
            "nprobe": tuned.nprobe if tuned else 0,
            "recall": tuned.recall if tuned else None,
            "trained_rows": trained_rows,
            "created_at": utc_now(),
        }
        with self._committing(), self._catalog.database.writing() as connection:
            connection.execute(sa.delete(schema.generations).where(schema.generations.c.space_id == space.id))
            connection.execute(sa.insert(schema.generations).values(row))
            # Forgotten vectors that are in no file any more need nothing to hide them.
            unmasked = np.setdiff1d(self._gone(connection, space), ids)
            if len(unmasked):
                connection.exec_driver_sql(
                    "DELETE FROM masked WHERE embedding_id = ?", [(id,) for id in unmasked.tolist()]
                )
            if space.state == "active":
                drop_changes(connection, columns)
        self._remove(self.litter(space))
        log.info(
            "index generation %s: %d rows, nlist %d, nprobe %d, written in %.1f s",
            row["folder"],
            len(ids),
            row["nlist"],
            row["nprobe"],
            time.monotonic() - started,
        )
        generation = self.current(space)
        assert generation is not None
        return generation

    def litter(self, space: Space | None = None) -> list[Path]:
        """Folders under `index/` that no row names: left by a killed process, or replaced a moment ago."""
        with self._catalog.database.reading() as connection:
            named = {self._library / folder for folder in connection.scalars(sa.select(schema.generations.c.folder))}
        pattern = "*/*" if space is None else f"{space.id}/*"
        return [path for path in sorted((self._library / "index").glob(pattern)) if path not in named]

    def remove_litter(self, *, sparing: Sequence[Space] = ()) -> None:
        """Delete what `litter` finds, but nothing of the spaces whose index another process may be writing."""
        spared = {self._space_folder(space) for space in sparing}
        self._remove([path for path in self.litter() if path.parent not in spared])

    def _remove(self, folders: Sequence[Path]) -> None:
        """Delete folders; one that a reader on Windows still maps stays until the next time."""
        for path in folders:
            shutil.rmtree(path, ignore_errors=True)

    # Parts of a build

    def _new_folder(self, space: Space) -> Path:
        with self._catalog.database.reading() as connection:
            last = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'generations'").scalar()
        return self._space_folder(space) / f"{(last or 0) + 1:08d}"

    def _space_folder(self, space: Space) -> Path:
        return self._library / "index" / str(space.id)

    def _write_vectors(self, folder: Path, space: Space, old: Generation | None) -> NDArray[np.int64]:
        """Write every vector of the space to a flat index, and their ids, ascending; returns the ids."""
        with self._catalog.database.reading() as connection:
            gone = self._gone(connection, space)
        ids: list[NDArray[np.int64]] = []

        def parts() -> Iterator[NDArray[np.float16]]:
            if old is not None and not len(gone):
                ids.append(read_ids(old.folder, mapped=False))
                flat = open_index(old.folder / VECTORS_FILE, mapped=True)
                rows = flat_rows(flat)
                yield from (rows[first : first + CHUNK_ROWS] for first in range(0, len(rows), CHUNK_ROWS))
            for chunk_ids, vectors in self._chunks(space, int(ids[0][-1]) if ids and len(ids[0]) else 0):
                ids.append(chunk_ids)
                yield vectors

        rows = write_flat(folder / VECTORS_FILE, space.dim, parts())
        joined = np.concatenate([np.empty(0, dtype=np.int64), *ids])
        if rows != len(joined):
            raise DamageError(f"the index holds {rows} vectors for {len(joined)} ids", hint="run verify --repair")
        with synced_file(folder / IDS_FILE) as stream:
            np.save(stream, joined)
        return joined

    def _chunks(self, space: Space, after: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        while True:
            with self._catalog.database.reading() as connection:
                rows = read_blobs(connection, space.id, after=after, rows=CHUNK_ROWS)
            if not rows:
                return
            after = rows[-1][0]
            yield (
                np.array([id for id, _vector in rows], dtype=np.int64),
                from_blobs([vector for _id, vector in rows], space.dim),
            )

    def _write_lists(
        self, folder: Path, space: Space, old: Generation | None, ids: NDArray[np.int64]
    ) -> tuple[Tuned, int]:
        """Write the lists of the vectors that stand in the folder, tuned; and for how many rows they were trained."""
        flat = open_index(folder / VECTORS_FILE, mapped=True)
        lists, trained_rows = self._lists(old, ids, flat)
        centroids, axes = centroids_of(lists)
        shapes = list_shapes(flat_rows(flat), lists_of(lists), len(centroids), axes)
        write_lists(lists, shapes, folder)
        texts = Spaces(self._catalog).text_vectors(space)
        return tune(open_lists(folder, mapped=True), shapes, flat, texts), trained_rows

    def _gone(self, connection: sa.Connection, space: Space) -> NDArray[np.int64]:
        """Ids that a generation may still hold although their vectors were forgotten."""
        statement = sa.text(
            "SELECT embedding_id FROM masked WHERE space_id = :space"
            " AND embedding_id NOT IN (SELECT id FROM embeddings)"
        )
        return np.array(connection.scalars(statement, {"space": space.id}).all(), dtype=np.int64)

    def _lists(
        self, old: Generation | None, ids: NDArray[np.int64], flat: faiss.IndexScalarQuantizer
    ) -> tuple[faiss.IndexPreTransform, int]:
        """The inverted lists of all rows, and how many rows they were trained for."""
        trained_rows = old.trained_rows if old is not None and has_lists(old.folder) else 0
        if old is not None and trained_rows and len(ids) <= RETRAIN_GROWTH * trained_rows:
            lists = open_lists(old.folder, mapped=False)
            if not np.array_equal(ids[: lists.ntotal], read_ids(old.folder, mapped=False)):
                lists.reset()  # rows are gone, and the positions of others changed
        else:
            lists, trained_rows = train_lists(flat), len(ids)
        rows = flat_rows(flat)
        for first in range(lists.ntotal, len(ids), CHUNK_ROWS):
            lists.add(rows[first : first + CHUNK_ROWS].astype(np.float32))
        if lists.ntotal != len(ids):
            raise DamageError(f"the lists hold {lists.ntotal} vectors for {len(ids)} ids", hint="run verify --repair")
        return lists, trained_rows


def read_generation(connection: sa.Connection, library: Path, space_id: int) -> Generation | None:
    """The current generation of a space in the connection's view of the catalog."""
    table = schema.generations
    row = connection.execute(sa.select(table).where(table.c.space_id == space_id)).one_or_none()
    if row is None:
        return None
    return Generation(
        library / row.folder, row.rows, row.last_embedding_id, row.nlist, row.nprobe, row.recall, row.trained_rows
    )


def read_ids(folder: Path, *, mapped: bool) -> NDArray[np.int64]:
    """The embedding ids of a generation, ascending, one for each position of its vectors.

    Raises:
        FileNotFoundError: the file is not there.
        DamageError: it holds no ids.
    """
    ids = read_array(folder / IDS_FILE, mapped=mapped)
    if ids.ndim != 1 or ids.dtype != np.int64:
        raise DamageError(f"{folder / IDS_FILE} is damaged")
    return ids
