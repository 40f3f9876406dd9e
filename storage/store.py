"""The storage of one library, as `library` uses it: every part opened once, closed together."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photoseek.conditions import Condition
from photoseek.contracts import Candidates, Census, Embeddings, IdSet, PhotoRow
from photoseek.errors import LibraryNotFoundError
from photoseek.storage.building import BuildingFiles
from photoseek.storage.catalog import Catalog
from photoseek.storage.census import read_census
from photoseek.storage.files import Files
from photoseek.storage.fingerprints import Fingerprints
from photoseek.storage.generations import Generations
from photoseek.storage.lock import ModelChangeLock, WriterLock
from photoseek.storage.migrations import migrate
from photoseek.storage.query_cache import QueryCache
from photoseek.storage.rows import Rows
from photoseek.storage.snapshot import Snapshot, SnapshotSource
from photoseek.storage.spaces import Space, Spaces


class Store:
    """Opens nothing before it is asked; `create` makes the library's folder and catalog."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._catalog: Catalog | None = None
        self._snapshots: SnapshotSource | None = None
        self.queries = QueryCache(folder)

    @property
    def exists(self) -> bool:
        """Is there a catalog? The empty file of a process that was killed before it made the tables is none."""
        try:
            self.catalog  # noqa: B018 - opens it
        except LibraryNotFoundError:
            return False
        return True

    @property
    def catalog(self) -> Catalog:
        """The catalog.

        Raises:
            LibraryError: there is none, or it cannot be read.
        """
        if self._catalog is None:
            self._catalog = Catalog.open(self.folder)
        return self._catalog

    def create(self) -> None:
        """Make the library if there is none, or bring it to the present version; the caller holds its lock."""
        try:
            migrate(self.catalog)
        except LibraryNotFoundError:
            self._catalog = Catalog.create(self.folder)

    def lock(self) -> WriterLock:
        return WriterLock(self.folder)

    def brief_lock(self, cancel: threading.Event | None = None, *, patient: bool = True) -> WriterLock:
        """The writer's lock for one transaction of work in the background; see `ProcessLock`."""
        return WriterLock(self.folder, brief=True, patient=patient, cancel=cancel)

    def model_change_lock(self) -> ModelChangeLock:
        return ModelChangeLock(self.folder)

    @property
    def spaces(self) -> Spaces:
        return Spaces(self.catalog)

    @property
    def generations(self) -> Generations:
        return Generations(self.catalog, self.folder)

    def files(self, space: Space) -> Files:
        return Files(self.catalog, space)

    def building_files(self, space: Space, cancel: threading.Event | None = None) -> BuildingFiles:
        """Files of a space that is built in the background: each transaction takes the writer's lock for itself."""
        return BuildingFiles(self.catalog, space, lambda: self.brief_lock(cancel))

    def building_generations(self, cancel: threading.Event | None = None) -> Generations:
        """The same for its index."""
        return Generations(self.catalog, self.folder, lambda: self.brief_lock(cancel))

    def rows(self, space: Space) -> Rows:
        return Rows(self.catalog, space)

    def census(self, space: Space) -> Census:
        """Every visible indexed file, as columns."""
        return read_census(self.catalog, space)

    def view(self) -> View | None:
        """The newest consistent view for searching; None while nothing was ever indexed."""
        if self._snapshots is None:
            self._snapshots = SnapshotSource(self.catalog, self.folder)
        snapshot = self._snapshots.current()
        if snapshot is None:
            return None
        return View(self.catalog, snapshot, self.rows(snapshot.space), Fingerprints(self.catalog, snapshot.space))

    def close(self) -> None:
        if self._snapshots is not None:
            self._snapshots.close()
        self.queries.close()
        if self._catalog is not None:
            self._catalog.close()
        self._snapshots = self._catalog = None


class View:
    """Implements `contracts.VectorStore` on one snapshot."""

    def __init__(self, catalog: Catalog, snapshot: Snapshot, rows: Rows, fingerprints: Fingerprints) -> None:
        self._catalog = catalog
        self.snapshot = snapshot
        self._rows = rows
        self._fingerprints = fingerprints

    @property
    def space(self) -> Space:
        return self.snapshot.space

    @property
    def last_id(self) -> int:
        return self.snapshot.last_id

    def search(
        self, query: NDArray[np.float32], count: int, *, allowed: IdSet | None = None, exact: bool = False
    ) -> Candidates:
        return self.snapshot.search(query, count, allowed=allowed, exact=exact)

    def rows(self, embedding_ids: Sequence[int], *, include_missing: bool = False) -> list[PhotoRow]:
        known = self.snapshot.known_files(embedding_ids)
        found = self._rows.of_known_files(known, include_missing=include_missing) if known is not None else []
        return found or self._rows.of_embeddings(embedding_ids, include_missing=include_missing)

    def vectors(self, embedding_ids: Sequence[int]) -> Embeddings:
        """Stored vectors, float32 (n, dim).

        Raises:
            KeyError: an id is not in this view.
        """
        return self.snapshot.vectors(embedding_ids)

    def fingerprints(self, embedding_ids: Sequence[int]) -> NDArray[np.uint64]:
        """Fingerprints of the embeddings' pictures, shape (n,); 0 where there is none."""
        return self._fingerprints.of_embeddings(embedding_ids)

    def allowed(self, condition: Condition | None, *, include_missing: bool) -> IdSet | None:
        """Embeddings to search among; None for all visible ones.

        Args:
            condition: only embeddings that a file shows on which it holds.
            include_missing: also those that only missing files show.
        """
        if condition is None and not (include_missing and len(self.snapshot.masked)):
            return None
        facts = self.snapshot.facts(self._catalog)
        found = facts.allowed(condition, include_missing=include_missing) if facts is not None else None
        if found is None:
            chosen = self._rows.embeddings_where(condition, include_missing=include_missing)
            found = self.snapshot.id_set(np.array(chosen, dtype=np.int64))
        return found

    def fitting(self, condition: Condition | None) -> Callable[[Sequence[int]], set[int]] | None:
        """What tells, of some files, those on which the condition holds; None without a condition."""
        return functools.partial(self._rows.fitting, condition) if condition is not None else None

    def count_undated(self) -> int:
        """Visible photos of which nobody wrote down when they were taken."""
        facts = self.snapshot.facts(self._catalog)
        return facts.count_undated() if facts is not None else self._rows.count_undated()

    def by_date(self, embedding_ids: Sequence[int], *, include_missing: bool = False) -> list[int]:
        """The same embeddings by date taken, the newest first; undated ones last, by id."""
        return self._rows.by_date(embedding_ids, include_missing=include_missing)

    def words_in(self, phrases: Sequence[str], file_ids: Sequence[int]) -> dict[int, dict[str, float]]:
        """Where the phrases stand, by file: `file name "IMG_2041"`, each with 1.0, as `Match.why` has it."""
        found: dict[int, dict[str, float]] = {}
        for phrase in phrases:
            for file_id, fields in self._rows.fields_with(phrase, file_ids).items():
                found.setdefault(file_id, {}).update({f'{field} "{phrase}"': 1.0 for field in fields})
        return found

    def newest_first(self, condition: Condition | None, limit: int, offset: int) -> list[int]:
        """A page of the embeddings on which the condition holds, by date taken; undated ones last, by id."""
        facts = self.snapshot.facts(self._catalog)
        found = facts.newest_first(condition, offset + limit) if facts is not None else None
        return found[offset:] if found is not None else self._rows.newest_first(condition, limit, offset)
