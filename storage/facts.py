"""What filters ask of one snapshot: the generation's columns, and the files that are newer or changed since.

Files that came after the columns were written are known by their ids, those that changed by `changed_files`. The facts
of both are read from the catalog when the first filter comes, and stand in for what the columns say of them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from photoseek.conditions import Condition
from photoseek.contracts import Root
from photoseek.storage.catalog import Catalog
from photoseek.storage.column_files import OF_FILES, MappedColumns, usable
from photoseek.storage.columns import FACTS, NO_FILE, Columns, ColumnsBuilder
from photoseek.storage.evaluation import can_evaluate, evaluate
from photoseek.storage.idset import IdSet, positions_of
from photoseek.storage.spaces import Space

KEPT_SETS = 8
"""Answers that are kept for each snapshot: pages of one filtered search, and people who refine it."""
_NOT_CHOSEN = -2
"""Below -1, the code of an unknown date."""

# CROSS JOIN keeps SQLite to this order: from the few new rows to all else, each by an index.
_RECENT = (
    f"SELECT {FACTS} FROM changed_files d CROSS JOIN files f ON f.id = d.file_id {OF_FILES} AND d.id > :change",
    f"SELECT {FACTS} FROM files f {OF_FILES} AND f.id > :file",
    f"SELECT {FACTS} FROM embeddings e NOT INDEXED"
    " CROSS JOIN prepared p ON p.picture_digest = e.picture_digest AND p.preprocessing = :preprocessing"
    " CROSS JOIN contents c ON c.digest = p.content_digest CROSS JOIN files f ON f.content_id = c.id"
    " WHERE f.state = 'indexed' AND e.space_id = :space AND e.id > :embedding",
)

Mask: TypeAlias = NDArray[np.bool_]
Question: TypeAlias = Callable[[Columns], Mask]


class Facts:
    """Answers filters on one snapshot. Threads may share it."""

    def __init__(
        self,
        mapped: MappedColumns,
        mapped_ids: NDArray[np.int64],
        delta_ids: NDArray[np.int64],
        roots: list[Root],
        recent: ColumnsBuilder,
        changed: NDArray[np.int64],
    ) -> None:
        """`recent` has the files that are newer or changed, `changed` the ids of those that the columns may hold."""
        self._mapped = mapped
        self._mapped_ids, self._delta_ids = mapped_ids, delta_ids
        self._roots = roots
        self._recent = recent.columns()
        self._recent_ids = recent.embedding_ids
        is_changed = np.zeros(mapped.columns.last_file_id + 1, dtype=np.bool_)
        is_changed[changed[changed <= mapped.columns.last_file_id]] = True
        self._stale = np.flatnonzero(is_changed[mapped.columns.numbers("file_id")]) if len(changed) else changed
        self._guard = threading.Lock()
        self._sets: OrderedDict[tuple[Condition | None, bool], IdSet] = OrderedDict()
        self._undated: int | None = None

    @classmethod
    def load(
        cls,
        catalog: Catalog,
        space: Space,
        mapped: MappedColumns,
        mapped_ids: NDArray[np.int64],
        delta_ids: NDArray[np.int64],
    ) -> Facts | None:
        """Read what is newer than the columns; None when the catalog has forgotten what changed since."""
        header = mapped.header
        values = {
            "space": space.id,
            "preprocessing": space.preprocessing,
            "change": header.last_change_id,
            "file": header.last_file_id,
            "embedding": int(mapped_ids[-1]) if len(mapped_ids) else 0,
        }
        with catalog.database.reading() as connection:
            if not usable(connection, header):
                return None
            rows = {
                (row[0], row[1]): tuple(row)
                for statement in _RECENT
                for row in connection.execute(sa.text(statement), values)
            }
            names = connection.exec_driver_sql(
                "SELECT file_id FROM changed_files WHERE id > ?", (header.last_change_id,)
            ).scalars()
            changed = np.array(names.all(), dtype=np.int64)
        recent = ColumnsBuilder()
        recent.add(list(rows.values()))
        return cls(mapped, mapped_ids, delta_ids, catalog.roots(), recent, changed)

    def allowed(self, condition: Condition | None, *, include_missing: bool) -> IdSet | None:
        """The embeddings that a file shows on which the condition holds; None where only SQL knows."""
        if condition is not None and not can_evaluate(condition):
            return None
        key = (condition, include_missing)
        with self._guard:
            if key in self._sets:
                self._sets.move_to_end(key)
                return self._sets[key]
        found = self._embeddings(self._holds(condition), include_missing)
        with self._guard:
            self._sets[key] = found
            while len(self._sets) > KEPT_SETS:
                self._sets.popitem(last=False)
        return found

    def count_undated(self) -> int:
        """Visible photos of which nobody wrote down when they were taken."""
        if self._undated is None:
            self._undated = len(self._embeddings(lambda columns: columns.texts("taken_at").codes < 0, False))
        return self._undated

    def newest_first(self, condition: Condition | None, count: int) -> list[int] | None:
        """The first `count` embeddings on which the condition holds, by date taken; undated ones last, by id."""
        if condition is not None and not can_evaluate(condition):
            return None
        holds = self._holds(condition)
        dates: dict[int, bytes] = {}
        texts = self._recent.texts("taken_at")
        chosen = self._chosen(self._recent, holds, False)
        for row in np.flatnonzero(chosen).tolist():
            code, id = int(texts.codes[row]), int(self._recent_ids[row])
            dates[id] = max(dates.get(id, b""), texts.value(code) if code >= 0 else b"")
        texts = self._mapped.columns.texts("taken_at")
        codes = self._newest_codes(holds, texts.codes)
        known = positions_of(np.array(sorted(dates), dtype=np.int64), self._mapped_ids)
        for position in known.tolist():
            id, code = int(self._mapped_ids[position]), int(codes[position])
            dates[id] = max(dates[id], texts.value(code) if code >= 0 else b"")
        codes[known] = _NOT_CHOSEN
        for position in _best(codes, count).tolist():
            code = int(codes[position])
            dates[int(self._mapped_ids[position])] = texts.value(code) if code >= 0 else b""
        seen = dates.keys() & set(self._delta_ids.tolist()) | {
            int(self._mapped_ids[position]) for position in positions_of(sorted(dates), self._mapped_ids)
        }
        ordered = sorted(seen)
        ordered.sort(key=lambda id: dates[id], reverse=True)  # stable: undated and equal ones stay in order of id
        return ordered[:count]

    def _holds(self, condition: Condition | None) -> Question | None:
        if condition is None:
            return None
        return lambda columns: evaluate(condition, columns, self._roots)

    def _chosen(self, columns: Columns, holds: Question | None, include_missing: bool) -> Mask:
        """(rows,): files that count and of which the question is true."""
        missing = columns.numbers("missing")
        counted: Mask = missing != NO_FILE if include_missing else missing == 0
        if holds is not None:
            counted &= holds(columns)
        if columns is self._mapped.columns:
            counted[self._stale] = False
        return counted

    def _embeddings(self, holds: Question | None, include_missing: bool) -> IdSet:
        count = len(self._mapped_ids)
        chosen = self._chosen(self._mapped.columns, holds, include_missing)
        mapped = chosen[:count]
        mapped[self._mapped.extra[chosen[count:]]] = True
        recent = self._recent_ids[self._chosen(self._recent, holds, include_missing)]
        recent = np.unique(recent)
        mapped[positions_of(recent, self._mapped_ids)] = True
        return IdSet(self._mapped_ids, mapped, self._delta_ids, np.isin(self._delta_ids, recent, assume_unique=True))

    def _newest_codes(self, holds: Question | None, taken: NDArray[np.signedinteger[Any]]) -> NDArray[np.int64]:
        """(rows of the generation,): code of the latest date among the chosen files; -1 undated, -2 none chosen."""
        count = len(self._mapped_ids)
        codes = np.where(self._chosen(self._mapped.columns, holds, False), taken, _NOT_CHOSEN).astype(np.int64)
        newest = codes[:count]
        np.maximum.at(newest, self._mapped.extra, codes[count:])
        return newest


def _best(codes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Positions of the `count` highest codes above `_NOT_CHOSEN`; of equal ones the first."""
    positions = np.flatnonzero(codes != _NOT_CHOSEN)
    keys = -codes[positions] * len(codes) + positions
    if count < len(keys):
        positions = positions[np.argpartition(keys, count)[:count]] if count else positions[:0]
    return positions
