"""Rows for people: which files show an embedding's picture, and what their cameras wrote."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from photoseek.conditions import Condition, OfFiles, mentions_words
from photoseek.contracts import CameraFacts, PhotoRow
from photoseek.storage import schema, words
from photoseek.storage.catalog import Catalog, full_path
from photoseek.storage.column_files import UNCHANGED, KnownFiles
from photoseek.storage.database import VALUES_PER_STATEMENT
from photoseek.storage.filtering import compile_condition
from photoseek.storage.spaces import Space

ROWS_PER_STATEMENT = 500
"""A page of results needs a few dozen."""

_FACTS = """
    f.id, r.path, r.kind, r.state, f.folder, f.name, f.missing, c.size, f.mtime_ns, c.digest, c.format,
    c.width, c.height, c.orientation, c.taken_at, c.taken_source, c.taken_offset_minutes, c.camera_make,
    c.camera_model, c.lens, c.latitude, c.longitude, c.rating, c.title, {captions}, c.keywords
"""
_OF_EMBEDDINGS = """
    FROM embeddings e
    JOIN prepared p ON p.picture_digest = e.picture_digest AND p.preprocessing = ?
    JOIN contents c ON c.digest = p.content_digest
    JOIN files f ON f.content_id = c.id
    JOIN roots r ON r.id = f.root_id
    WHERE f.state = 'indexed' AND +e.space_id = ?
"""
# The plus keeps SQLite from walking all of the space's embeddings by an index instead of looking up the keys.
_OF_FILES = """
    FROM files f
    JOIN contents c ON c.id = f.content_id
    JOIN roots r ON r.id = f.root_id
    WHERE f.state = 'indexed'
"""

_DATES = """
    SELECT e.id, max(c.taken_at) AS taken_at FROM embeddings e
    JOIN prepared p ON p.picture_digest = e.picture_digest AND p.preprocessing = :preprocessing
    JOIN contents c ON c.digest = p.content_digest
    JOIN files f ON f.content_id = c.id
    WHERE e.id IN :keys AND +e.space_id = :space AND f.state = 'indexed'{visible} GROUP BY e.id
"""


class Rows:
    """Looks up photos in one space."""

    def __init__(self, catalog: Catalog, space: Space) -> None:
        self._catalog = catalog
        self._database = catalog.database
        self._values = {"space": space.id, "preprocessing": space.preprocessing}

    def of_embeddings(self, embedding_ids: Sequence[int], *, include_missing: bool = False) -> list[PhotoRow]:
        """Every file that shows one of the embeddings' pictures, in no particular order."""
        visible = "" if include_missing else " AND f.missing = 0"
        return self._rows(" AND e.id IN ({keys})" + visible, list(embedding_ids))

    def of_known_files(self, known: KnownFiles, *, include_missing: bool = False) -> list[PhotoRow]:
        """The same by the files that are known to show them, which is faster; empty once the catalog changed.

        Empty, too, where one statement cannot take so many files.
        """
        if len(known.embedding_of) > VALUES_PER_STATEMENT:
            return []
        visible = "" if include_missing else " AND f.missing = 0"
        embedding_of, header = known.embedding_of, known.header
        condition = f"{_OF_FILES} AND f.id IN ({_marks(len(embedding_of))}){visible} AND {UNCHANGED}"
        with self._database.mapped() as connection:
            values = (*embedding_of, header.last_file_id, header.last_change_id)
            found = connection.execute(f"SELECT {self._facts}{condition}", values).fetchall()
        return [_to_row(embedding_of[row[0]], row) for row in found]

    def of_files(self, file_ids: Sequence[int]) -> list[PhotoRow]:
        """The rows of these files, missing ones too, in no particular order."""
        return self._rows(" AND f.id IN ({keys})", list(file_ids))

    def embeddings_where(self, condition: Condition | None, *, include_missing: bool = False) -> list[int]:
        """Embeddings that some file shows on which the condition holds, ascending."""
        statement = self._chosen(sa.select(schema.embeddings.c.id).distinct(), condition, include_missing)
        with self._database.reading() as connection:
            return list(connection.scalars(statement.order_by(schema.embeddings.c.id)))

    def newest_first(self, condition: Condition | None, limit: int, offset: int) -> list[int]:
        """A page of the embeddings on which the condition holds, by date taken; undated ones last, by id."""
        taken = sa.func.max(schema.contents.c.taken_at)
        statement = self._chosen(sa.select(schema.embeddings.c.id), condition, False)
        statement = statement.group_by(schema.embeddings.c.id).order_by(
            taken.desc().nulls_last(), schema.embeddings.c.id
        )
        with self._database.reading() as connection:
            return list(connection.scalars(statement.limit(limit).offset(offset)))

    def by_date(self, embedding_ids: Sequence[int], *, include_missing: bool = False) -> list[int]:
        """The same embeddings by date taken, the newest first; undated ones last, by id."""
        visible = "" if include_missing else " AND f.missing = 0"
        statement = sa.text(_DATES.format(visible=visible)).bindparams(sa.bindparam("keys", expanding=True))
        dates: dict[int, str] = {}
        with self._database.reading() as connection:
            for first in range(0, len(embedding_ids), VALUES_PER_STATEMENT):
                keys = embedding_ids[first : first + VALUES_PER_STATEMENT]
                rows = connection.execute(statement, {**self._values, "keys": list(keys)})
                dates.update((row.id, row.taken_at) for row in rows)
        ordered = sorted(embedding_ids)
        ordered.sort(key=lambda id: dates.get(id) or "", reverse=True)
        return ordered

    def fitting(self, condition: Condition, file_ids: Sequence[int]) -> set[int]:
        """Of these files, those on which the condition holds."""
        files, contents = schema.files, schema.contents
        roots = self._catalog.roots()
        # Joined here and not as one condition, which might be larger than a caller's may be.
        chosen = [compile_condition(part, roots) for part in (condition, OfFiles(tuple(file_ids)))]
        statement = sa.select(files.c.id).join(contents, contents.c.id == files.c.content_id).where(*chosen)
        with self._database.reading() as connection:
            return set(connection.scalars(statement))

    def count_undated(self) -> int:
        """Visible photos of which nobody wrote down when they were taken."""
        statement = self._chosen(sa.select(sa.func.count(schema.embeddings.c.id.distinct())), None, False)
        with self._database.reading() as connection:
            return connection.scalar(statement.where(schema.contents.c.taken_at.is_(None))) or 0

    def fields_with(self, phrase: str, file_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
        """In which fields the words of a phrase stand, by file (`words.FIELDS`); files without it are left out."""
        with self._database.reading() as connection:
            return words.fields_with(connection, phrase, file_ids)

    def _chosen(self, columns: sa.Select[Any], condition: Condition | None, include_missing: bool) -> sa.Select[Any]:
        """`columns` of the space's embeddings with their visible files on which a condition holds."""
        files, contents, prepared, embeddings = schema.files, schema.contents, schema.prepared, schema.embeddings
        statement = (
            columns.select_from(files)
            .join(contents, contents.c.id == files.c.content_id)
            .join(prepared, prepared.c.content_digest == contents.c.digest)
            .join(embeddings, embeddings.c.picture_digest == prepared.c.picture_digest)
            .where(
                files.c.state == "indexed",
                prepared.c.preprocessing == self._values["preprocessing"],
                embeddings.c.space_id == self._values["space"],
            )
        )
        if not include_missing:
            statement = statement.where(files.c.missing == 0)
        if condition is None:
            return statement
        if mentions_words(condition):
            with self._database.reading() as connection:
                words.check_usable(connection)
        return statement.where(compile_condition(condition, self._catalog.roots()))

    def _rows(self, condition: str, keys: list[int]) -> list[PhotoRow]:
        rows: list[PhotoRow] = []
        # The driver itself: what SQLAlchemy does around a statement takes longer than the page's rows.
        with self._database.mapped() as connection:
            for first in range(0, len(keys), ROWS_PER_STATEMENT):
                part = keys[first : first + ROWS_PER_STATEMENT]
                statement = f"SELECT {self._facts}, e.id {_OF_EMBEDDINGS}{condition.format(keys=_marks(len(part)))}"
                values = (self._values["preprocessing"], self._values["space"], *part)
                rows.extend(_to_row(row[-1], row[:-1]) for row in connection.execute(statement, values))
        return rows

    @functools.cached_property
    def _facts(self) -> str:
        return _FACTS.format(captions="c.captions" if self._catalog.version >= 2 else "NULL")


@functools.cache
def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _to_row(embedding: int, facts: Sequence[Any]) -> PhotoRow:
    """A row of `_FACTS`, whose columns stand in the order of PhotoRow's and CameraFacts' fields."""
    file, root_path, root_kind, root_state, folder, name, missing = facts[:7]
    path = name if root_kind == "app" else full_path(root_path, folder, name)
    camera = CameraFacts._make((*facts[13:-2], _texts(facts[-2]), _texts(facts[-1])))
    place = (embedding, file, root_path, root_kind, root_state == "online", path, missing != 0)
    return PhotoRow._make((*place, *facts[7:13], camera))


def _texts(stored: str | None) -> tuple[str, ...]:
    return tuple(json.loads(stored)) if stored else ()
