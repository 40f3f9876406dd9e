"""Files and contents: what a scan knows, and the one place where a file changes its state."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from photoseek.contracts import (
    CameraFacts,
    KnownRow,
    Outcome,
    PhotoRead,
    ReadFailure,
    Recorded,
    Trouble,
    WorkItem,
)
from photoseek.storage import pruning, schema, words
from photoseek.storage.catalog import Catalog, below, utc_now
from photoseek.storage.masking import refresh_mask, touch_contents, touch_files
from photoseek.storage.spaces import Space
from photoseek.storage.vectors import check_vectors, to_blob

_FILES = schema.files
_STATE_OF = {
    Trouble.FILE: "failed",
    Trouble.SURROUNDINGS: "failed",
    Trouble.SKIPPED: "skipped",
    Trouble.NO_PICTURE: "ignored",
}
_MAY_COME_BACK = (Trouble.SURROUNDINGS, Trouble.SKIPPED)
"""Troubles with which a file keeps the content that it had: nobody has seen another one."""
_CAMERA_FIELDS = CameraFacts._fields

DIGESTS_PER_SIZE = 64
"""Where more contents share a size (thumbnails, icons), decoding the small file costs less than comparing."""


class Files:
    """Implements `contracts.FileStore` for one space; only the writer calls it."""

    def __init__(self, catalog: Catalog, space: Space) -> None:
        self._catalog = catalog
        self._database = catalog.database
        self._space = space
        self._lost = array("q")
        self._has_all_lost = True

    # What a scan asks

    def known_folders(self, root_id: int, under: bytes) -> set[bytes]:
        statement = sa.select(_FILES.c.folder).where(_FILES.c.root_id == root_id).distinct()
        if under:
            statement = statement.where((_FILES.c.folder == under) | below(under))
        with self._database.reading() as connection:
            return set(connection.scalars(statement))

    def known_files(self, root_id: int, folder: bytes) -> dict[bytes, KnownRow]:
        # The driver's own tuples: a rescan reads every row of the catalog, and SQLAlchemy's rows cost twice as much.
        statement = (
            "SELECT name, id, size, mtime_ns, state, missing, trouble FROM files WHERE root_id = ? AND folder = ?"
        )
        with self._database.reading() as connection:
            cursor = connection.exec_driver_sql(statement, (root_id, folder)).cursor
            assert cursor is not None
            return {row[0]: row for row in cursor.fetchall()}

    def known_stats(self, root_id: int) -> set[tuple[int, int]]:
        statement = sa.select(_FILES.c.size, _FILES.c.mtime_ns).where(
            _FILES.c.root_id == root_id, _FILES.c.missing == 0
        )
        with self._database.reading() as connection:
            return {(size, mtime_ns) for size, mtime_ns in connection.execute(statement)}

    def set_root_online(self, root_id: int, online: bool) -> None:
        self._catalog.set_root_online(root_id, online)

    def digests_of_sizes(self, sizes: Sequence[int]) -> dict[int, frozenset[bytes]]:
        contents, prepared, embeddings = schema.contents, schema.prepared, schema.embeddings
        rare = (
            sa.select(contents.c.size)
            .where(contents.c.size.in_(set(sizes)))
            .group_by(contents.c.size)
            .having(sa.func.count() <= DIGESTS_PER_SIZE)
        )
        statement = (
            sa.select(contents.c.size, contents.c.digest)
            .join(prepared, prepared.c.content_digest == contents.c.digest)
            .join(embeddings, embeddings.c.picture_digest == prepared.c.picture_digest)
            .where(
                contents.c.size.in_(rare),
                prepared.c.preprocessing == self._space.preprocessing,
                embeddings.c.space_id == self._space.id,
            )
        )
        found: dict[int, set[bytes]] = {}
        with self._database.reading() as connection:
            for size, digest in connection.execute(statement):
                found.setdefault(size, set()).add(digest)
        return {size: frozenset(digests) for size, digests in found.items()}

    def embedded_pictures(self, digests: Sequence[bytes]) -> set[bytes]:
        embeddings = schema.embeddings.c
        statement = sa.select(embeddings.picture_digest).where(
            embeddings.space_id == self._space.id, embeddings.picture_digest.in_(digests)
        )
        with self._database.reading() as connection:
            return set(connection.scalars(statement))

    def count_missing(self, file_ids: Sequence[int]) -> int:
        """How many of these photos are missing: of those that a scan did not find, the moved ones are back."""
        with self._database.reading() as connection:
            touch_files(connection, file_ids)
            statement = (
                "SELECT count(*) FROM files WHERE missing = 1 AND state <> 'ignored'"
                " AND id IN (SELECT file_id FROM temp.touched_files)"
            )
            return int(connection.exec_driver_sql(statement).scalar_one())

    def reachable_files(self, content_ids: Sequence[int]) -> list[WorkItem]:
        """One visible file on an online root for each of the contents that has one."""
        columns, roots = _FILES.c, schema.roots.c
        statement = (
            sa.select(
                sa.func.min(columns.id).label("id"),
                columns.root_id,
                columns.folder,
                columns.name,
                columns.size,
                columns.mtime_ns,
            )
            .join(schema.roots, roots.id == columns.root_id)
            .where(
                columns.content_id.in_(content_ids),
                columns.state == "indexed",
                columns.missing == 0,
                roots.kind == "folder",
                roots.state == "online",
            )
            .group_by(columns.content_id)
        )
        with self._database.reading() as connection:
            return [
                WorkItem(row.root_id, row.folder, row.name, row.size, row.mtime_ns, row.id)
                for row in connection.execute(statement)
            ]

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
        """Store outcomes in one transaction; what files had before stays until `prune`.

        Raises:
            ValueError: a vector has the wrong width, is not finite or no unit vector; nothing is stored then.
        """
        self._check_vectors(outcomes)
        with self._database.writing() as connection:
            content_ids, touched = self._store_photos(connection, outcomes)
            recorded, lost = self._place(connection, outcomes, content_ids, touched)
            if lost and not self._lost:
                self._has_all_lost = pruning.note_lost(connection)
            words.refresh_places(connection, [(o.item.root_id, o.item.folder, o.item.name) for o in outcomes])
            touch_contents(connection, touched)
            refresh_mask(connection)
        self._lost.extend(lost)
        return recorded

    def prune(self) -> None:
        """At the end of a run: remove the contents that files have lost and that no file has now.

        Costs nothing where no file lost its content, in this run or in one that did not come to its end.
        """
        with self._database.reading() as connection:
            if not pruning.is_noted(connection):
                return
            lost = self._lost if self._lost and self._has_all_lost else pruning.lost_contents(connection)
        pruning.prune_contents(self._database, lost)
        self._lost = array("q")

    def _check_vectors(self, outcomes: Sequence[Outcome]) -> None:
        vectors = [outcome.vector for outcome in outcomes if outcome.vector is not None]
        if vectors:
            check_vectors(np.stack(vectors), self._space.dim)

    def _store_photos(
        self, connection: sa.Connection, outcomes: Sequence[Outcome]
    ) -> tuple[dict[bytes, int], list[int]]:
        """Store contents, pictures and vectors; returns content ids by digest, and the contents that were known."""
        digests = [outcome.result.digest for outcome in outcomes if not isinstance(outcome.result, ReadFailure)]
        known = self._content_ids(connection, digests)
        read = [(outcome.result, outcome.vector) for outcome in outcomes if isinstance(outcome.result, PhotoRead)]
        photos = {photo.digest: photo for photo, _vector in read}
        new = [_content_values(photo) for digest, photo in photos.items() if digest not in known]
        if new:
            connection.execute(sa.insert(schema.contents), new)
        links = [
            {
                "content_digest": photo.digest,
                "preprocessing": self._space.preprocessing,
                "picture_digest": photo.picture_digest,
                "fingerprint": photo.fingerprint,
            }
            for photo in photos.values()
        ]
        if links:
            link = insert(schema.prepared)
            again = {name: link.excluded[name] for name in ("picture_digest", "fingerprint")}
            connection.execute(link.on_conflict_do_update(set_=again), links)
        rows = [
            {"space_id": self._space.id, "picture_digest": photo.picture_digest, "vector": to_blob(vector)}
            for photo, vector in read
            if vector is not None
        ]
        if rows:
            connection.execute(insert(schema.embeddings).on_conflict_do_nothing(), rows)
        # A new content with a new vector is visible from the start; only these may have been hidden before.
        touched = [*known.values()]
        content_ids = {**known, **self._content_ids(connection, list(photos.keys() - known.keys()))}
        touched += [content_ids[photo.digest] for photo, vector in read if vector is None]
        return content_ids, touched

    def _content_ids(self, connection: sa.Connection, digests: Sequence[bytes]) -> dict[bytes, int]:
        contents = schema.contents.c
        statement = sa.select(contents.digest, contents.id).where(contents.digest.in_(digests))
        return {digest: id for digest, id in connection.execute(statement)}  # noqa: C416 - rows are no pairs to mypy

    def _place(
        self,
        connection: sa.Connection,
        outcomes: Sequence[Outcome],
        content_ids: dict[bytes, int],
        touched: list[int],
    ) -> tuple[list[Recorded], list[int]]:
        """Write the files' rows: the only place that sets a state for files that were read.

        Returns what became of each, and the contents that were some of these files' and are no longer.
        """
        had = self._contents_of_files(connection, [outcome.item.file_id for outcome in outcomes])
        touched += had.values()
        has = dict[int | None, int | None](had)
        gone = self._missing_files(connection, list(content_ids.values()))
        app_roots = set(connection.scalars(sa.select(schema.roots.c.id).where(schema.roots.c.kind == "app")))
        placed, moved, recorded = [], [], []
        for outcome in outcomes:
            item, result = outcome.item, outcome.result
            if isinstance(result, ReadFailure):
                if result.trouble is Trouble.VANISHED:
                    recorded.append(Recorded.VANISHED)
                    continue
                trouble, state = result.trouble, _STATE_OF[result.trouble]
                kept_id = had.get(item.file_id) if trouble in _MAY_COME_BACK else None
                has[item.file_id] = kept_id
                placed.append(
                    _file_values(item, state=state, content_id=kept_id, trouble=trouble.value, reason=result.reason)
                )
                recorded.append(Recorded(state))
                continue
            content_id = has[item.file_id] = content_ids[result.digest]
            values = _file_values(
                item,
                state="indexed",
                content_id=content_id,
                size=result.size,
                mtime_ns=result.mtime_ns or item.mtime_ns,
            )
            candidates = gone.get(content_id)
            if item.file_id is None and candidates and item.root_id not in app_roots:
                # A new path with the content of a file that went missing: the file moved, its row moves with it.
                same_name = next((file for file in candidates if file[1] == item.name), candidates[0])
                candidates.remove(same_name)
                moved.append({**values, "moved_id": same_name[0]})
                recorded.append(Recorded.MOVED)
            else:
                placed.append(values)
                recorded.append(Recorded.INDEXED)
        if moved:
            move = sa.update(_FILES).where(_FILES.c.id == sa.bindparam("moved_id"))
            connection.execute(move, moved)
        if placed:
            row = insert(_FILES)
            kept = {name: row.excluded[name] for name in placed[0] if name not in ("root_id", "folder", "name")}
            added_at = utc_now()
            connection.execute(
                row.on_conflict_do_update(index_elements=["root_id", "folder", "name"], set_=kept),
                [{**values, "added_at": added_at} for values in placed],
            )
        return recorded, [content_id for file_id, content_id in had.items() if has[file_id] != content_id]

    def _contents_of_files(self, connection: sa.Connection, file_ids: Sequence[int | None]) -> dict[int | None, int]:
        """The content that each file has, by the file; those without one are left out."""
        columns = _FILES.c
        known = [id for id in file_ids if id is not None]
        statement = sa.select(columns.id, columns.content_id).where(
            columns.id.in_(known), columns.content_id.is_not(None)
        )
        return {id: content_id for id, content_id in connection.execute(statement)} if known else {}  # noqa: C416

    def _missing_files(
        self, connection: sa.Connection, content_ids: Sequence[int]
    ) -> dict[int, list[tuple[int, bytes]]]:
        """(id, name) of missing files by content."""
        columns = _FILES.c
        statement = (
            sa.select(columns.content_id, columns.id, columns.name)
            .where(columns.content_id.in_(content_ids), columns.missing == 1)
            .order_by(columns.id)
        )
        found: dict[int, list[tuple[int, bytes]]] = {}
        for content_id, id, name in connection.execute(statement):
            found.setdefault(content_id, []).append((id, name))
        return found


def _content_values(photo: PhotoRead) -> dict[str, Any]:
    # asdict copies deeply: ten times the time
    camera = {name: getattr(photo.camera, name) for name in _CAMERA_FIELDS}
    for name in ("captions", "keywords"):
        camera[name] = json.dumps(camera[name]) if camera[name] else None
    return {
        "digest": photo.digest,
        "size": photo.size,
        "format": photo.format,
        "width": photo.width,
        "height": photo.height,
        **camera,
    }


def _file_values(
    item: WorkItem,
    *,
    state: str,
    content_id: int | None = None,
    size: int | None = None,
    mtime_ns: int | None = None,
    trouble: str | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    return {
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
