"""Files and contents: what a scan knows, and the one place where a file changes its state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from photoseek.contracts import (
    KnownFile,
    Outcome,
    PhotoKnown,
    PhotoRead,
    ReadFailure,
    Recorded,
    Trouble,
    WorkItem,
)
from photoseek.storage import schema
from photoseek.storage.catalog import Catalog, utc_now
from photoseek.storage.masking import refresh_mask, touch_contents, touch_files
from photoseek.storage.spaces import Space
from photoseek.storage.vectors import check_vectors, to_blob
from sqlalchemy.dialects.sqlite import insert

_FILES = schema.files
_STATE_OF = {
    Trouble.FILE: "failed",
    Trouble.SURROUNDINGS: "failed",
    Trouble.SKIPPED: "skipped",
    Trouble.NO_PICTURE: "ignored",
}


class Files:
    """Implements `contracts.FileStore` for one space; only the writer calls it."""

    def __init__(self, catalog: Catalog, space: Space) -> None:
        self._catalog = catalog
        self._database = catalog.database
        self._space = space

    # What a scan asks

    def known_folders(self, root_id: int, under: bytes) -> set[bytes]:
        statement = sa.select(_FILES.c.folder).where(_FILES.c.root_id == root_id).distinct()
        if under:
            below = (_FILES.c.folder >= under + b"/") & (_FILES.c.folder < under + b"0")  # "0" follows "/"
            statement = statement.where((_FILES.c.folder == under) | below)
        with self._database.reading() as connection:
            return set(connection.scalars(statement))

    def known_files(self, root_id: int, folder: bytes) -> dict[bytes, KnownFile]:
        columns = _FILES.c
        statement = sa.select(
            columns.name, columns.id, columns.size, columns.mtime_ns, columns.state, columns.missing, columns.trouble
        ).where(columns.root_id == root_id, columns.folder == folder)
        with self._database.reading() as connection:
            return {
                name: KnownFile(id, size, mtime_ns, state, bool(missing), trouble)
                for name, id, size, mtime_ns, state, missing, trouble in connection.execute(statement)
            }

    def known_stats(self, root_id: int) -> set[tuple[int, int]]:
        statement = sa.select(_FILES.c.size, _FILES.c.mtime_ns).where(
            _FILES.c.root_id == root_id, _FILES.c.missing == 0
        )
        with self._database.reading() as connection:
            return {(size, mtime_ns) for size, mtime_ns in connection.execute(statement)}

    def set_root_online(self, root_id: int, online: bool) -> None:
        self._catalog.set_root_online(root_id, online)

    def digests_of_size(self, size: int) -> frozenset[bytes]:
        contents, prepared, embeddings = schema.contents, schema.prepared, schema.embeddings
        statement = (
            sa.select(contents.c.digest)
            .join(prepared, prepared.c.content_digest == contents.c.digest)
            .join(embeddings, embeddings.c.picture_digest == prepared.c.picture_digest)
            .where(
                contents.c.size == size,
                prepared.c.preprocessing == self._space.preprocessing,
                embeddings.c.space_id == self._space.id,
            )
        )
        with self._database.reading() as connection:
            return frozenset(connection.scalars(statement))

    def embedded_pictures(self, digests: Sequence[bytes]) -> set[bytes]:
        embeddings = schema.embeddings.c
        statement = sa.select(embeddings.picture_digest).where(
            embeddings.space_id == self._space.id, embeddings.picture_digest.in_(digests)
        )
        with self._database.reading() as connection:
            return set(connection.scalars(statement))

    # Changes

    def apply_scan(
        self,
        root_id: int,
        *,
        missing: Sequence[int],
        returned: Sequence[int],
        excluded: Sequence[int],
    ) -> None:
        with self._database.writing() as connection:
            touch_files(connection, [*missing, *returned, *excluded])
            for ids, change in (
                (missing, "missing = 1"),
                (returned, "missing = 0"),
                (excluded, "missing = 0, state = 'ignored', trouble = NULL, reason = 'excluded by a rule'"),
            ):
                if ids:
                    connection.exec_driver_sql(
                        f"UPDATE files SET {change} WHERE id = ?",
                        [(id,) for id in ids],
                    )
            connection.exec_driver_sql(
                "DELETE FROM files WHERE root_id = ? AND missing = 1 AND state = 'ignored' AND content_id IS NULL",
                (root_id,),
            )
            refresh_mask(connection)

    def record(self, outcomes: Sequence[Outcome]) -> list[Recorded]:
        """Store outcomes in one transaction.

        Raises:
            ValueError: a vector has the wrong width, is not finite or no unit vector; nothing is stored then.
        """
        vectors = [outcome.vector for outcome in outcomes if outcome.vector is not None]
        if vectors:
            check_vectors(np.stack(vectors), self._space.dim)
        with self._database.writing() as connection:
            touched: list[int] = []
            recorded = [self._record_one(connection, outcome, touched) for outcome in outcomes]
            touch_contents(connection, touched)
            refresh_mask(connection)
        return recorded

    def _record_one(self, connection: sa.Connection, outcome: Outcome, touched: list[int]) -> Recorded:
        item, result = outcome.item, outcome.result
        if isinstance(result, ReadFailure):
            if result.trouble is Trouble.VANISHED:
                return Recorded.VANISHED
            state = _STATE_OF[result.trouble]
            self._place(connection, item, touched, state=state, trouble=result.trouble.value, reason=result.reason)
            return Recorded(state)
        if isinstance(result, PhotoKnown):
            content_id = self._content_id(connection, result.digest)
            assert content_id is not None, "a worker may only recognise digests that the catalog gave it"
        else:
            content_id = self._store_content(connection, result, outcome.vector)
        moved = item.file_id is None and self._take_over_missing(connection, item, result, content_id)
        if not moved:
            self._place(
                connection,
                item,
                touched,
                state="indexed",
                content_id=content_id,
                size=result.size,
                mtime_ns=result.mtime_ns or item.mtime_ns,
            )
        touched.append(content_id)
        return Recorded.MOVED if moved else Recorded.INDEXED

    def _content_id(self, connection: sa.Connection, digest: bytes) -> int | None:
        return connection.scalar(sa.select(schema.contents.c.id).where(schema.contents.c.digest == digest))

    def _store_content(self, connection: sa.Connection, photo: PhotoRead, vector: Any) -> int:
        content_id = self._content_id(connection, photo.digest)
        if content_id is None:
            camera = photo.camera
            values = {
                "digest": photo.digest,
                "size": photo.size,
                "format": photo.format,
                "width": photo.width,
                "height": photo.height,
                "orientation": camera.orientation,
                "taken_at": camera.taken_at,
                "taken_source": camera.taken_source,
                "taken_offset_minutes": camera.taken_offset_minutes,
                "camera_make": camera.camera_make,
                "camera_model": camera.camera_model,
                "lens": camera.lens,
                "latitude": camera.latitude,
                "longitude": camera.longitude,
                "rating": camera.rating,
                "title": camera.title,
                "keywords": json.dumps(camera.keywords) if camera.keywords else None,
            }
            inserted = connection.execute(sa.insert(schema.contents).values(values)).inserted_primary_key
            assert inserted is not None
            content_id = int(inserted[0])
        link = insert(schema.prepared).values(
            content_digest=photo.digest,
            preprocessing=self._space.preprocessing,
            picture_digest=photo.picture_digest,
        )
        connection.execute(link.on_conflict_do_update(set_={"picture_digest": photo.picture_digest}))
        if vector is not None:
            row = insert(schema.embeddings).values(
                space_id=self._space.id, picture_digest=photo.picture_digest, vector=to_blob(vector)
            )
            connection.execute(row.on_conflict_do_nothing())
        return content_id

    def _take_over_missing(
        self, connection: sa.Connection, item: WorkItem, result: PhotoRead | PhotoKnown, content_id: int
    ) -> bool:
        """A new path with the content of a file that went missing: the file moved, its row moves with it."""
        gone = connection.scalar(
            sa.select(_FILES.c.id)
            .where(_FILES.c.content_id == content_id, _FILES.c.missing == 1)
            .order_by(_FILES.c.name != item.name, _FILES.c.id)
            .limit(1)
        )
        if gone is None:
            return False
        connection.execute(
            sa.update(_FILES)
            .where(_FILES.c.id == gone)
            .values(
                root_id=item.root_id,
                folder=item.folder,
                name=item.name,
                size=result.size,
                mtime_ns=result.mtime_ns,
                missing=0,
                state="indexed",
                trouble=None,
                reason=None,
            )
        )
        return True

    def _place(
        self,
        connection: sa.Connection,
        item: WorkItem,
        touched: list[int],
        *,
        state: str,
        content_id: int | None = None,
        size: int | None = None,
        mtime_ns: int | None = None,
        trouble: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Write the file's row: the only statement that sets a state for a file that was read."""
        values: dict[str, Any] = {
            "root_id": item.root_id,
            "folder": item.folder,
            "name": item.name,
            "size": item.size if size is None else size,
            "mtime_ns": item.mtime_ns if mtime_ns is None else mtime_ns,
            "content_id": content_id,
            "state": state,
            "missing": 0,
            "trouble": trouble,
            "reason": reason,
        }
        if item.file_id is not None:
            before = connection.scalar(sa.select(_FILES.c.content_id).where(_FILES.c.id == item.file_id))
            if before is not None:
                touched.append(before)
        row = insert(_FILES).values(**values, added_at=utc_now())
        connection.execute(row.on_conflict_do_update(index_elements=["root_id", "folder", "name"], set_=values))
