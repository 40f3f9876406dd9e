"""Rows for people: which files show an embedding's picture, and what their cameras wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from photoseek.contracts import CameraFacts, PhotoRow
from photoseek.storage.catalog import Catalog, full_path
from photoseek.storage.spaces import Space

ROWS_PER_STATEMENT = 500
"""SQLite takes at most 32,766 bound values in one statement; a page of results needs a few dozen."""

_SELECT = """
    SELECT e.id AS embedding_id, f.id AS file_id, r.path AS root_path, r.kind AS root_kind, r.state AS root_state,
           f.folder, f.name, f.missing, c.size, f.mtime_ns, c.digest, c.format, c.width, c.height, c.orientation,
           c.taken_at, c.taken_source, c.taken_offset_minutes, c.camera_make, c.camera_model, c.lens,
           c.latitude, c.longitude, c.rating, c.title, c.keywords
    FROM embeddings e
    JOIN prepared p ON p.picture_digest = e.picture_digest AND p.preprocessing = :preprocessing
    JOIN contents c ON c.digest = p.content_digest
    JOIN files f ON f.content_id = c.id
    JOIN roots r ON r.id = f.root_id
    WHERE e.space_id = :space AND f.state = 'indexed'
"""


class Rows:
    """Looks up photos in one space."""

    def __init__(self, catalog: Catalog, space: Space) -> None:
        self._database = catalog.database
        self._values = {"space": space.id, "preprocessing": space.preprocessing}

    def of_embeddings(self, embedding_ids: Sequence[int], *, include_missing: bool = False) -> list[PhotoRow]:
        """Every file that shows one of the embeddings' pictures, in no particular order."""
        visible = "" if include_missing else " AND f.missing = 0"
        return self._rows(" AND e.id IN :keys" + visible, list(embedding_ids))

    def of_files(self, file_ids: Sequence[int]) -> list[PhotoRow]:
        """The rows of these files, missing ones too, in no particular order."""
        return self._rows(" AND f.id IN :keys", list(file_ids))

    def file_ids(self, paths: Sequence[tuple[bytes, bytes, bytes]]) -> dict[tuple[bytes, bytes, bytes], int]:
        """File ids by (root path, folder, name); places without a file are left out."""
        statement = sa.text(
            "SELECT f.id FROM files f JOIN roots r ON r.id = f.root_id"
            " WHERE r.path = :root AND f.folder = :folder AND f.name = :name"
        )
        found = {}
        with self._database.reading() as connection:
            for root, folder, name in paths:
                id = connection.scalar(statement, {"root": root, "folder": folder, "name": name})
                if id is not None:
                    found[root, folder, name] = int(id)
        return found

    def missing_embeddings(self) -> list[int]:
        """Embeddings that only missing files show: masked for searches unless asked for."""
        statement = sa.text(
            "SELECT DISTINCT e.id FROM masked m JOIN embeddings e ON e.id = m.embedding_id"
            " JOIN prepared p ON p.picture_digest = e.picture_digest AND p.preprocessing = :preprocessing"
            " JOIN contents c ON c.digest = p.content_digest JOIN files f ON f.content_id = c.id"
            " WHERE e.space_id = :space AND f.state = 'indexed' AND f.missing = 1 ORDER BY e.id"
        )
        with self._database.reading() as connection:
            return list(connection.scalars(statement, self._values))

    def _rows(self, condition: str, keys: list[int]) -> list[PhotoRow]:
        statement = sa.text(_SELECT + condition).bindparams(sa.bindparam("keys", expanding=True))
        rows: list[PhotoRow] = []
        with self._database.reading() as connection:
            for first in range(0, len(keys), ROWS_PER_STATEMENT):
                values = {**self._values, "keys": keys[first : first + ROWS_PER_STATEMENT]}
                rows.extend(_to_row(row) for row in connection.execute(statement, values))
        return rows


def _to_row(row: sa.Row[Any]) -> PhotoRow:
    return PhotoRow(
        embedding_id=row.embedding_id,
        file_id=row.file_id,
        root_path=row.root_path,
        root_kind=row.root_kind,
        root_online=row.root_state == "online",
        path=row.name if row.root_kind == "app" else full_path(row.root_path, row.folder, row.name),
        missing=bool(row.missing),
        size=row.size,
        mtime_ns=row.mtime_ns,
        digest=row.digest,
        format=row.format,
        width=row.width,
        height=row.height,
        camera=CameraFacts(
            orientation=row.orientation,
            taken_at=row.taken_at,
            taken_source=row.taken_source,
            taken_offset_minutes=row.taken_offset_minutes,
            camera_make=row.camera_make,
            camera_model=row.camera_model,
            lens=row.lens,
            latitude=row.latitude,
            longitude=row.longitude,
            rating=row.rating,
            title=row.title,
            keywords=tuple(json.loads(row.keywords)) if row.keywords else (),
        ),
    )
