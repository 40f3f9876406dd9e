"""Spaces: one per model, with the contract that keeps vectors of different models apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from photoseek.contracts import Embeddings
from photoseek.storage import schema
from photoseek.storage.catalog import Catalog, utc_now

INCOMPLETE = "incomplete_space"
"""Setting that is there while the active space lacks vectors of photos that could not be reached when it took over."""
HIGHEST_ID = "highest_space"
"""Setting that keeps the highest id of a space once one was removed: readers know a space by its id."""

_SPACES = schema.spaces
_VISIBLE = (
    "FROM contents c WHERE"
    " EXISTS (SELECT 1 FROM files f WHERE f.content_id = c.id AND f.state = 'indexed' AND f.missing = 0)"
)
_UNEMBEDDED = (
    f"{_VISIBLE} AND NOT EXISTS (SELECT 1 FROM prepared p JOIN embeddings e"
    "   ON e.picture_digest = p.picture_digest AND e.space_id = :space"
    "   WHERE p.content_digest = c.digest AND p.preprocessing = :preprocessing)"
)
_REACHABLE = (
    "EXISTS (SELECT 1 FROM files f JOIN roots r ON r.id = f.root_id WHERE f.content_id = c.id"
    " AND f.state = 'indexed' AND f.missing = 0 AND r.kind = 'folder' AND r.state = 'online')"
)
PRUNE_ROWS = 20_000
"""Vectors that one transaction removes: a fraction of a second, and a WAL of some ten megabytes."""


@dataclass(frozen=True, slots=True)
class Space:
    """Vectors of one checkpoint under one preprocessing."""

    id: int
    model: str
    """What the user named: `builtin`, a Hub name or an absolute folder."""
    checkpoint_digest: str
    preprocessing: str
    dim: int
    has_text: bool
    state: str
    """`active` (searched), `building` (a new model, not complete yet) or `retired`."""


@dataclass(frozen=True, slots=True)
class Unembedded:
    """Different photos (copies count once) that are shown and have no vector in a space."""

    total: int
    reachable: int
    """Those with a file in a folder that is there; the others are on drives that are away, or came from an app."""


def to_space(row: sa.Row[Any]) -> Space:
    """A row of the table as a value."""
    return Space(row.id, row.model, row.checkpoint_digest, row.preprocessing, row.dim, bool(row.has_text), row.state)


class Spaces:
    """The table of spaces; only the writer calls what changes it."""

    def __init__(self, catalog: Catalog) -> None:
        self._database = catalog.database

    def all(self) -> list[Space]:
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(_SPACES).order_by(_SPACES.c.id)).all()
        return [to_space(row) for row in rows]

    def active(self) -> Space | None:
        return next((space for space in self.all() if space.state == "active"), None)

    def find(self, checkpoint_digest: str, preprocessing: str) -> Space | None:
        key = (checkpoint_digest, preprocessing)
        return next((space for space in self.all() if (space.checkpoint_digest, space.preprocessing) == key), None)

    def create(
        self,
        *,
        model: str,
        checkpoint_digest: str,
        preprocessing: str,
        probe: Embeddings,
        texts: Sequence[str],
        text_vectors: Embeddings | None,
        state: str,
    ) -> Space:
        """Make a space with the vectors of its probe pictures (n, dim) and of the texts (len(texts), dim)."""
        with self._database.writing() as connection:
            space_id = _highest_id(connection) + 1
            connection.execute(
                sa.insert(_SPACES).values(
                    id=space_id,
                    model=model,
                    checkpoint_digest=checkpoint_digest,
                    preprocessing=preprocessing,
                    dim=probe.shape[1],
                    has_text=int(text_vectors is not None),
                    state=state,
                    probe=probe.astype("<f4").tobytes(),
                    created_at=utc_now(),
                )
            )
            if text_vectors is not None:
                rows = [
                    {
                        "space_id": space_id,
                        "position": number,
                        "text": text,
                        "vector": vector.astype("<f4").tobytes(),
                    }
                    for number, (text, vector) in enumerate(zip(texts, text_vectors, strict=True))
                ]
                connection.execute(insert(schema.space_texts), rows)
        space = self.find(checkpoint_digest, preprocessing)
        assert space is not None
        return space

    def probe(self, space: Space) -> Embeddings:
        """Vectors of the probe pictures, as the space's first engine computed them: float32 (n, dim)."""
        with self._database.reading() as connection:
            blob = connection.scalars(sa.select(_SPACES.c.probe).where(_SPACES.c.id == space.id)).one()
        return np.frombuffer(blob, dtype="<f4").reshape(-1, space.dim)

    def text_vectors(self, space: Space) -> Embeddings:
        """Vectors of the everyday texts that came with the package: float32 (n, dim), n may be 0."""
        table = schema.space_texts.c
        with self._database.reading() as connection:
            blobs = connection.scalars(
                sa.select(table.vector).where(table.space_id == space.id).order_by(table.position)
            ).all()
        return np.frombuffer(b"".join(blobs), dtype="<f4").reshape(-1, space.dim)

    def set_building(self, space: Space) -> None:
        """Say that a retired space is being completed."""
        with self._database.writing() as connection:
            connection.execute(sa.update(_SPACES).where(_SPACES.c.id == space.id).values(state="building"))

    def activate(self, space: Space, *, incomplete: bool) -> None:
        """Let this space answer searches; the one before is retired and keeps its vectors.

        `incomplete` notes that photos wait for their vectors, so that the indexer fills them in.
        """
        with self._database.writing() as connection:
            connection.execute(sa.update(_SPACES).where(_SPACES.c.state == "active").values(state="retired"))
            connection.execute(sa.update(_SPACES).where(_SPACES.c.id == space.id).values(state="active"))
            connection.execute(sa.delete(schema.settings).where(schema.settings.c.key == INCOMPLETE))
            if incomplete:
                connection.execute(sa.insert(schema.settings).values(key=INCOMPLETE, value="1"))

    def remove(self, space: Space) -> None:
        """Remove a space that does not answer, with its vectors; its derived files are litter then.

        In several transactions: a process that is killed meanwhile leaves a space with fewer vectors.
        """
        assert space.state != "active"
        of_space = {"space": space.id}
        with self._database.writing() as connection:
            connection.execute(sa.delete(schema.generations).where(schema.generations.c.space_id == space.id))
        after = 0
        while ids := self._embedding_ids(space, after):
            after = ids[-1]
            gone = [(id,) for id in ids]
            with self._database.writing() as connection:
                connection.exec_driver_sql("DELETE FROM masked WHERE embedding_id = ?", gone)
                connection.exec_driver_sql("DELETE FROM embeddings WHERE id = ?", gone)
        with self._database.writing() as connection:
            note = insert(schema.settings).values(key=HIGHEST_ID, value=str(_highest_id(connection)))
            kept = note.on_conflict_do_update(index_elements=["key"], set_={"value": note.excluded.value})
            connection.execute(kept)
            connection.execute(sa.text("DELETE FROM masked WHERE space_id = :space"), of_space)
            connection.execute(sa.text("DELETE FROM space_texts WHERE space_id = :space"), of_space)
            connection.execute(sa.text("DELETE FROM spaces WHERE id = :space"), of_space)
            connection.execute(
                sa.text("DELETE FROM prepared WHERE preprocessing NOT IN (SELECT preprocessing FROM spaces)")
            )

    def _embedding_ids(self, space: Space, after: int) -> list[int]:
        # Not by the index, whose order is that of digests: neighbours in the table are removed page by page.
        statement = sa.text(
            "SELECT id FROM embeddings NOT INDEXED WHERE id > :after AND space_id = :space ORDER BY id LIMIT :rows"
        )
        with self._database.reading() as connection:
            return list(connection.scalars(statement, {"after": after, "space": space.id, "rows": PRUNE_ROWS}))

    def count_embeddings(self, space: Space, after: int) -> int:
        """How many vectors the space has with ids above `after`."""
        # Few are left above an id: by the ids. All are counted by the index that holds no vectors.
        by = "NOT INDEXED" if after else ""
        statement = sa.text(f"SELECT count(*) FROM embeddings {by} WHERE space_id = :space AND id > :after")
        with self._database.reading() as connection:
            return connection.scalar(statement, {"space": space.id, "after": after}) or 0

    def newest_embedding(self) -> int:
        """The highest embedding id of any space; 0 without one."""
        with self._database.reading() as connection:
            return connection.scalar(sa.select(sa.func.max(schema.embeddings.c.id))) or 0

    def unembedded_contents(self, space: Space, limit: int, after: int = 0) -> list[int]:
        """Ids above `after` of visible contents without a vector in the space, ascending."""
        statement = sa.text(f"SELECT c.id {_UNEMBEDDED} AND c.id > :after ORDER BY c.id LIMIT :limit")
        values = {"after": after, "space": space.id, "preprocessing": space.preprocessing, "limit": limit}
        with self._database.reading() as connection:
            return list(connection.scalars(statement, values))

    def count_unembedded(self, space: Space) -> Unembedded:
        """How many visible contents have no vector in the space."""
        values = {"space": space.id, "preprocessing": space.preprocessing}
        statement = sa.text(f"SELECT count(*), coalesce(sum({_REACHABLE}), 0) {_UNEMBEDDED}")
        with self._database.reading() as connection:
            total, reachable = connection.execute(statement, values).one()
        return Unembedded(total, reachable)

    def count_visible(self) -> int:
        """How many different photos (contents) the library shows, with a vector or without."""
        with self._database.reading() as connection:
            return connection.scalar(sa.text(f"SELECT count(*) {_VISIBLE}")) or 0


def _highest_id(connection: sa.Connection) -> int:
    """The highest id that a space has or had; 0 without one."""
    had = connection.scalar(sa.select(schema.settings.c.value).where(schema.settings.c.key == HIGHEST_ID))
    return max(int(had or 0), connection.scalar(sa.select(sa.func.max(_SPACES.c.id))) or 0)
