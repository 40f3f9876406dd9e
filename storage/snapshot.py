"""What a search sees: one consistent view of a space's vectors, from the generation and the delta."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import faiss
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from photoseek.contracts import Candidates, Embeddings
from photoseek.contracts import IdSet as AnyIdSet
from photoseek.errors import DamageError
from photoseek.storage import schema
from photoseek.storage.catalog import Catalog
from photoseek.storage.column_files import KnownFiles, MappedColumns, open_columns
from photoseek.storage.facts import Facts
from photoseek.storage.faissfile import flat_rows, new_flat, open_index, score_rows
from photoseek.storage.generations import Generation, read_generation, read_ids
from photoseek.storage.idset import IdSet, positions_of
from photoseek.storage.list_files import open_lists, read_shapes
from photoseek.storage.lists import Lists, Reach
from photoseek.storage.manifest import VECTORS_FILE, check_sizes, read_reach
from photoseek.storage.spaces import Space, to_space
from photoseek.storage.vectors import from_blobs, read_blobs

log = logging.getLogger(__name__)

SCANNED_MAX_ROWS = 10_000
"""So many allowed vectors are scanned exactly: a few milliseconds, and lists would hardly save any."""
GATHERED_MAX_ROWS = 20_000
"""Up to so many allowed vectors are copied out and scored; more are scanned in place by FAISS with a bitmap.

Measured at 1,000,000 vectors of 256 numbers, one core: the bitmap alone costs 2 ms, since FAISS looks at each bit.
"""
OPEN_ATTEMPTS = 3
"""The writer may remove the generation that was just looked up; then the next look finds the new one."""


@dataclass(frozen=True)
class _Mapped:
    """An opened generation."""

    row: Generation
    ids: NDArray[np.int64]  # ascending, (rows,)
    flat: Any  # faiss.IndexScalarQuantizer, float16, position i holds ids[i]
    lists: Lists | None  # None: flat, or lists of an older photoseek
    columns: MappedColumns | None  # None: from a photoseek that wrote none


_Found: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Embedding ids and their exact scores."""
_NO_IDS = np.empty(0, dtype=np.int64)
_NOTHING: _Found = (_NO_IDS, np.empty(0, dtype=np.float32))


class Snapshot:
    """Immutable once made; threads may search it at the same time."""

    def __init__(
        self,
        space: Space,
        mapped: _Mapped | None,
        delta_ids: NDArray[np.int64],
        delta: faiss.IndexScalarQuantizer,
        masked: NDArray[np.int64],
    ) -> None:
        """`delta` is flat: its row i holds the vector of `delta_ids[i]`, which are newer than all that is mapped."""
        self.space = space
        self._mapped = mapped
        self._delta_ids, self._delta = delta_ids, delta
        self.masked = masked
        self._selector = _selector_without(masked, self._mapped_ids)
        self._delta_selector = _selector_without(masked, delta_ids)
        self._facts: Facts | None = None
        self._facts_guard = threading.Lock()

    def __str__(self) -> str:
        generation = f"generation {self._mapped.row.folder.name}" if self._mapped is not None else "a generation"
        written, newer, hidden = len(self._mapped_ids), len(self._delta_ids), len(self.masked)
        return f"view of {self.rows} vectors: {written} in {generation}, {newer} newer, {hidden} hidden"

    @property
    def last_id(self) -> int:
        """The newest embedding in this view; 0 when there is none."""
        if len(self._delta_ids):
            return int(self._delta_ids[-1])
        return int(self._mapped.ids[-1]) if self._mapped is not None and len(self._mapped.ids) else 0

    @property
    def rows(self) -> int:
        return len(self._delta_ids) + (len(self._mapped.ids) if self._mapped is not None else 0)

    def search(
        self, query: NDArray[np.float32], count: int, *, allowed: AnyIdSet | None = None, exact: bool = False
    ) -> Candidates:
        """The `count` best embeddings for a unit vector (dim,), by exact cosine of the stored vectors.

        With `allowed` only these are looked at, and the mask is the caller's business. The lists are probed per
        call; nothing shared changes.
        """
        chosen = self._own(allowed) if allowed is not None else None
        found: _Found | None = None
        ids, scores = _NOTHING
        if self._mapped is not None and len(self._mapped.ids):
            found = None if exact else self._search_lists(self._mapped, query, count, chosen)
            ids, scores = found or self._search_flat(self._mapped, query, count, chosen)
        if len(self._delta_ids):
            newer_ids, newer_scores = self._search_delta(query, count, chosen)
            ids, scores = np.concatenate([ids, newer_ids]), np.concatenate([scores, newer_scores])
        if len(ids) > count > 0:
            kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - count)[len(scores) - count])
            ids, scores = ids[kept], scores[kept]
        order = np.lexsort((ids, -scores))[:count]
        return Candidates(ids[order], scores[order], exact=found is None)

    def id_set(self, ids: NDArray[np.int64]) -> IdSet:
        """The set of those ids that are in this view, for `search`."""
        return IdSet.of(ids, self._mapped_ids, self._delta_ids)

    def facts(self, catalog: Catalog) -> Facts | None:
        """What filters ask of this view; None where only the catalog can tell. Read when first asked for."""
        with self._facts_guard:
            if self._facts is None and self._mapped is not None and self._mapped.columns is not None:
                self._facts = Facts.load(catalog, self.space, self._mapped.columns, self._mapped_ids, self._delta_ids)
            return self._facts

    def known_files(self, ids: Sequence[int]) -> KnownFiles | None:
        """Which files show these embeddings, by the columns; None where only the catalog can tell."""
        mapped = self._mapped
        if mapped is None or mapped.columns is None:
            return None
        positions = positions_of(np.asarray(ids, dtype=np.int64), mapped.ids)
        if len(positions) != len(ids):
            return None
        embedding_of = {file_id: ids[place] for file_id, place in mapped.columns.files(positions)}
        return KnownFiles(embedding_of, mapped.columns.header)

    def ids(self) -> NDArray[np.int64]:
        """Every embedding id of this view, masked ones too, ascending."""
        return np.concatenate([self._mapped_ids, self._delta_ids])

    def visible(self) -> int:
        """How many embeddings a search without a condition looks at."""
        ids = self.ids()
        return len(ids) - int(np.isin(self.masked, ids).sum())

    def vectors(self, ids: Sequence[int]) -> Embeddings:
        """Stored vectors as float32 (n, dim).

        Raises:
            KeyError: an id is not in this view.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        out = np.empty((len(wanted), self.space.dim), dtype=np.float32)
        mapped = self._mapped
        newer = wanted > (mapped.ids[-1] if mapped is not None and len(mapped.ids) else 0)
        out[newer] = _vectors_of(self._delta, self._delta_ids, wanted[newer])
        if mapped is not None:
            out[~newer] = _vectors_of(mapped.flat, mapped.ids, wanted[~newer])
        elif not newer.all():
            raise KeyError(f"no vector for some of the embeddings {wanted[~newer][:5].tolist()}")
        return out

    @property
    def _mapped_ids(self) -> NDArray[np.int64]:
        return self._mapped.ids if self._mapped is not None else _NO_IDS

    def _own(self, allowed: AnyIdSet) -> IdSet:
        if isinstance(allowed, IdSet) and allowed.fits(self._mapped_ids, self._delta_ids):
            return allowed
        return self.id_set(allowed.ids())

    def _search_delta(self, query: NDArray[np.float32], count: int, allowed: IdSet | None) -> _Found:
        if allowed is None:
            return _scan(self._delta, self._delta_ids, self._delta_selector, query, count)
        best, scores = score_rows(self._delta, np.flatnonzero(allowed.delta), query, count)
        return self._delta_ids[best], scores

    def _search_flat(self, mapped: _Mapped, query: NDArray[np.float32], count: int, allowed: IdSet | None) -> _Found:
        """Every allowed row scored."""
        selector = self._selector
        if allowed is not None:
            if allowed.mapped_count <= GATHERED_MAX_ROWS:
                return self._score(mapped, np.flatnonzero(allowed.mapped), query, count)
            selector = faiss.IDSelectorBitmap(allowed.position_bits)
            count = min(count, allowed.mapped_count)
        return _scan(mapped.flat, mapped.ids, selector, query, count)

    def _search_lists(
        self, mapped: _Mapped, query: NDArray[np.float32], count: int, allowed: IdSet | None
    ) -> _Found | None:
        """The best of the rows in some lists; None where every allowed row should be scored."""
        lists = mapped.lists
        if lists is None:
            return None
        candidates = lists.candidates(count)
        if allowed is None:
            positions = lists.nearest(query, candidates, self._selector)
        elif allowed.mapped_count <= max(SCANNED_MAX_ROWS, candidates):
            return None
        else:
            walked = lists.filtered(query, candidates, allowed)
            if walked is None:
                return None
            positions = walked
        return self._score(mapped, positions, query, count)

    def _score(self, mapped: _Mapped, positions: NDArray[np.int64], query: NDArray[np.float32], count: int) -> _Found:
        """The best of these rows, by exact scores."""
        best, scores = score_rows(mapped.flat, positions, query, count)
        return mapped.ids[best], scores


class SnapshotSource:
    """Gives searches the newest view, reading only what changed since the last one. Threads may share it."""

    def __init__(self, catalog: Catalog, library: Path) -> None:
        self._catalog = catalog
        self._library = library
        self._guard = threading.Lock()
        self._watch: sqlite3.Connection | None = None
        self._seen: tuple[int, Snapshot] | None = None

    def current(self) -> Snapshot | None:
        """The view after the newest commit of any process; None while the library has no space."""
        with self._guard:
            version = self._data_version()
            if self._seen is not None and self._seen[0] == version:
                return self._seen[1]
            started = time.monotonic()
            snapshot = self._refresh(self._seen[1] if self._seen else None)
            if snapshot is not None:
                log.debug("%s, opened in %.0f ms", snapshot, (time.monotonic() - started) * 1000)
            self._seen = (version, snapshot) if snapshot is not None else None
            return snapshot

    def close(self) -> None:
        with self._guard:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
            self._seen = None

    def _data_version(self) -> int:
        if self._watch is None:
            self._watch = self._catalog.database.watching()
        return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    def _refresh(self, last: Snapshot | None) -> Snapshot | None:
        for _attempt in range(OPEN_ATTEMPTS):
            with self._catalog.database.reading() as connection:
                space = _active_space(connection)
                if space is None:
                    return None
                row = read_generation(connection, self._library, space.id)
                try:
                    mapped = self._map(row, last, space)
                except FileNotFoundError:
                    continue
                return self._with_delta(connection, space, mapped, last)
        log.warning("the derived index of %s is missing; searching the catalog itself, which is slower", self._library)
        with self._catalog.database.reading() as connection:
            space = _active_space(connection)
            return self._with_delta(connection, space, None, last) if space is not None else None

    def _map(self, row: Generation | None, last: Snapshot | None, space: Space) -> _Mapped | None:
        if row is None:
            return None
        if last is not None and last._mapped is not None and last._mapped.row == row:
            return last._mapped
        try:
            check_sizes(row.folder)
            flat = open_index(row.folder / VECTORS_FILE, mapped=True)
            ids = read_ids(row.folder, mapped=True)
            reach = read_reach(row.folder) if row.nlist else None
            lists = _open_lists(row.folder, reach) if reach is not None else None
            columns = open_columns(row.folder, len(ids))
        except FileNotFoundError:
            raise
        except (OSError, DamageError) as error:
            log.warning("%s; searching the catalog itself, which is slower", error)
            return None
        if not (len(ids) == flat.ntotal == row.rows and flat.d == space.dim):
            log.warning("the index %s does not fit the catalog; searching the catalog itself", row.folder)
            return None
        return _Mapped(row, ids, flat, lists, columns)

    def _with_delta(
        self, connection: sa.Connection, space: Space, mapped: _Mapped | None, last: Snapshot | None
    ) -> Snapshot:
        reuse = last is not None and last.space.id == space.id and last._mapped is mapped
        start = int(mapped.ids[-1]) if mapped is not None and len(mapped.ids) else 0
        if reuse:
            assert last is not None
            start = max(start, last.last_id)
        rows = read_blobs(connection, space.id, after=start)
        ids = np.array([id for id, _vector in rows], dtype=np.int64)
        delta = new_flat(space.dim)
        if reuse:
            assert last is not None
            ids = np.concatenate([last._delta_ids, ids])
            delta.add_sa_codes(flat_rows(last._delta).view(np.uint8))
        delta.add_sa_codes(from_blobs([vector for _id, vector in rows], space.dim).view(np.uint8))
        masked = np.array(
            connection.scalars(
                sa.select(schema.masked.c.embedding_id)
                .where(schema.masked.c.space_id == space.id)
                .order_by(schema.masked.c.embedding_id)
            ).all(),
            dtype=np.int64,
        )
        return Snapshot(space, mapped, ids, delta, masked)


def _selector_without(masked: NDArray[np.int64], ids: NDArray[np.int64]) -> faiss.IDSelectorBitmap | None:
    """Passes the rows of those `ids` that are not masked; None where it would pass all."""
    hidden = positions_of(masked, ids)
    if not len(hidden):
        return None
    shown = np.ones(len(ids), dtype=np.bool_)
    shown[hidden] = False
    return faiss.IDSelectorBitmap(np.packbits(shown, bitorder="little"))


def _scan(
    flat: faiss.IndexScalarQuantizer,
    ids: NDArray[np.int64],
    selector: faiss.IDSelectorBitmap | None,
    query: NDArray[np.float32],
    count: int,
) -> _Found:
    """The best of all rows of a flat index, row i being that of `ids[i]`."""
    parameters = faiss.SearchParameters(sel=selector) if selector is not None else None
    scores, found = flat.search(query[None], min(count, len(ids)), params=parameters)
    real = found[0] >= 0
    return ids[found[0][real]], scores[0][real]


def _vectors_of(
    flat: faiss.IndexScalarQuantizer, ids: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.float16]:
    """The rows of a flat index, row i being that of `ids[i]`, that have the wanted ids; KeyError where one has not."""
    positions = positions_of(wanted, ids)
    if len(positions) != len(wanted):
        raise KeyError(f"no vector for some of the embeddings {wanted[:5].tolist()}")
    return flat_rows(flat)[positions]


def _open_lists(folder: Path, reach: Reach) -> Lists:
    index = open_lists(folder, mapped=True)
    return Lists(index, read_shapes(folder, index), reach)


def _active_space(connection: sa.Connection) -> Space | None:
    row = connection.execute(sa.select(schema.spaces).where(schema.spaces.c.state == "active")).one_or_none()
    return to_space(row) if row is not None else None
