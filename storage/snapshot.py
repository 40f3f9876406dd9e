"""What a search sees: one consistent view of a space's vectors, from the generation and the delta."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from photoseek.contracts import Candidates, Embeddings
from photoseek.errors import DamageError
from photoseek.storage import schema
from photoseek.storage.catalog import Catalog
from photoseek.storage.faissfile import flat_rows, open_index
from photoseek.storage.generations import (
    IVF_FILE,
    VECTORS_FILE,
    Generation,
    check_sizes,
    read_generation,
    read_ids,
)
from photoseek.storage.spaces import Space, to_space
from photoseek.storage.tuning import CANDIDATES
from photoseek.storage.vectors import from_blobs

log = logging.getLogger(__name__)

REFINE_FACTOR = 4
"""Candidates from the lists for each match asked for, once that exceeds `CANDIDATES`."""
OPEN_ATTEMPTS = 3
"""The writer may remove the generation that was just looked up; then the next look finds the new one."""


@dataclass(frozen=True)
class _Mapped:
    """An opened generation."""

    row: Generation
    ids: NDArray[np.int64]  # ascending, (rows,)
    flat: Any  # faiss.IndexScalarQuantizer, float16, position i holds ids[i]
    ivf: Any | None  # faiss.IndexIVFScalarQuantizer with embedding ids


class Snapshot:
    """Immutable once made; threads may search it at the same time."""

    def __init__(
        self,
        space: Space,
        mapped: _Mapped | None,
        delta_ids: NDArray[np.int64],
        delta: Embeddings,
        masked: NDArray[np.int64],
    ) -> None:
        self.space = space
        self._mapped = mapped
        self._delta_ids, self._delta = delta_ids, delta
        self.masked = masked
        self._delta_open = ~np.isin(delta_ids, masked)
        if mapped is not None and len(masked):
            positions = _positions(mapped.ids, masked)
            self._list_selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(masked))
            self._flat_selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(positions))
        else:
            self._list_selector = self._flat_selector = None

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
        self, query: NDArray[np.float32], count: int, *, allowed: NDArray[np.int64] | None = None, exact: bool = False
    ) -> Candidates:
        """The `count` best embeddings for a unit vector (dim,), by exact cosine of the stored vectors.

        With `allowed` (ascending embedding ids) only these are looked at, the mask is the caller's business,
        and the answer is exact. The lists are probed per call; nothing shared changes.
        """
        use_lists = self._mapped is not None and self._mapped.ivf is not None and allowed is None and not exact
        parts = [self._search_delta(query, allowed)]
        if self._mapped is not None and len(self._mapped.ids):
            if use_lists:
                parts.append(self._search_lists(self._mapped, query, count))
            else:
                parts.append(self._search_flat(self._mapped, query, count, allowed))
        ids = np.concatenate([part[0] for part in parts])
        scores = np.concatenate([part[1] for part in parts])
        order = np.lexsort((ids, -scores))[:count]
        return Candidates(ids[order], scores[order], exact=not use_lists)

    def ids(self) -> NDArray[np.int64]:
        """Every embedding id of this view, masked ones too, ascending."""
        mapped = self._mapped.ids if self._mapped is not None else self._delta_ids[:0]
        return np.concatenate([mapped, self._delta_ids])

    def vectors(self, ids: Sequence[int]) -> Embeddings:
        """Stored vectors as float32 (n, dim).

        Raises:
            KeyError: an id is not in this view.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        out = np.empty((len(wanted), self.space.dim), dtype=np.float32)
        in_delta = np.isin(wanted, self._delta_ids)
        out[in_delta] = self._delta[_positions(self._delta_ids, wanted[in_delta])]
        rest = wanted[~in_delta]
        if len(rest):
            mapped = self._mapped
            positions = _positions(mapped.ids, rest) if mapped is not None else rest[:0]
            if mapped is None or len(positions) != len(rest):
                raise KeyError(f"no vector for some of the embeddings {rest[:5].tolist()}")
            out[~in_delta] = flat_rows(mapped.flat)[positions]
        return out

    def _search_delta(
        self, query: NDArray[np.float32], allowed: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        chosen = self._delta_open if allowed is None else np.isin(self._delta_ids, allowed, assume_unique=True)
        scores = self._delta @ query
        return self._delta_ids[chosen], scores[chosen]

    def _search_flat(
        self, mapped: _Mapped, query: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        selector = self._flat_selector
        if allowed is not None:
            positions = _positions(mapped.ids, allowed)
            if not len(positions):
                return mapped.ids[:0], np.empty(0, dtype=np.float32)
            selector = faiss.IDSelectorBatch(positions)
            count = min(count, len(positions))
        parameters = faiss.SearchParameters(sel=selector) if selector is not None else None
        scores, positions = mapped.flat.search(query[None], min(count, len(mapped.ids)), params=parameters)
        real = positions[0] >= 0
        return mapped.ids[positions[0][real]], scores[0][real]

    def _search_lists(
        self, mapped: _Mapped, query: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        candidates = CANDIDATES
        while candidates < REFINE_FACTOR * count:  # few steps, so that a longer list begins like a shorter one
            candidates *= 4
        parameters = faiss.SearchParametersIVF(nprobe=mapped.row.nprobe, sel=self._list_selector)
        assert mapped.ivf is not None
        _, found = mapped.ivf.search(query[None], min(candidates, len(mapped.ids)), params=parameters)
        ids = found[0][found[0] >= 0]
        rows = flat_rows(mapped.flat)[_positions(mapped.ids, ids)]
        return ids, rows.astype(np.float32) @ query


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
            snapshot = self._refresh(self._seen[1] if self._seen else None)
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
            ivf = open_index(row.folder / IVF_FILE, mapped=True) if row.nlist else None
            ids = read_ids(row.folder, mapped=True)
        except DamageError as error:
            log.warning("%s; searching the catalog itself, which is slower", error)
            return None
        if not (len(ids) == flat.ntotal == row.rows and flat.d == space.dim):
            log.warning("the index %s does not fit the catalog; searching the catalog itself", row.folder)
            return None
        return _Mapped(row, ids, flat, ivf)

    def _with_delta(
        self, connection: sa.Connection, space: Space, mapped: _Mapped | None, last: Snapshot | None
    ) -> Snapshot:
        reuse = last is not None and last.space.id == space.id and last._mapped is mapped
        start = int(mapped.ids[-1]) if mapped is not None and len(mapped.ids) else 0
        if reuse:
            assert last is not None
            start = max(start, last.last_id)
        table = schema.embeddings.c
        rows = connection.execute(
            sa.select(table.id, table.vector).where(table.space_id == space.id, table.id > start).order_by(table.id)
        ).all()
        ids = np.array([row.id for row in rows], dtype=np.int64)
        delta = from_blobs([row.vector for row in rows], space.dim)
        if reuse:
            assert last is not None
            ids = np.concatenate([last._delta_ids, ids])
            delta = np.concatenate([last._delta, delta]) if len(rows) else last._delta
        masked = np.array(
            connection.scalars(
                sa.select(schema.masked.c.embedding_id)
                .where(schema.masked.c.space_id == space.id)
                .order_by(schema.masked.c.embedding_id)
            ).all(),
            dtype=np.int64,
        )
        return Snapshot(space, mapped, ids, delta, masked)


def _active_space(connection: sa.Connection) -> Space | None:
    row = connection.execute(sa.select(schema.spaces).where(schema.spaces.c.state == "active")).one_or_none()
    return to_space(row) if row is not None else None


def _positions(sorted_ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where `wanted` stand in `sorted_ids`; those that do not stand there are left out."""
    if len(sorted_ids) == 0:
        return np.empty(0, dtype=np.int64)
    positions = np.searchsorted(sorted_ids, wanted)
    positions[positions == len(sorted_ids)] = 0
    return np.asarray(positions[sorted_ids[positions] == wanted], dtype=np.int64)
