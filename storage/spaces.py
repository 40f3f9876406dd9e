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

_SPACES = schema.spaces
_UNEMBEDDED = (
    "FROM contents c WHERE"
    " EXISTS (SELECT 1 FROM files f WHERE f.content_id = c.id AND f.state = 'indexed' AND f.missing = 0)"
    " AND NOT EXISTS (SELECT 1 FROM prepared p JOIN embeddings e"
    "   ON e.picture_digest = p.picture_digest AND e.space_id = :space"
    "   WHERE p.content_digest = c.digest AND p.preprocessing = :preprocessing)"
)


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
            inserted = connection.execute(
                sa.insert(_SPACES).values(
                    model=model,
                    checkpoint_digest=checkpoint_digest,
                    preprocessing=preprocessing,
                    dim=probe.shape[1],
                    has_text=int(text_vectors is not None),
                    state=state,
                    probe=probe.astype("<f4").tobytes(),
                    created_at=utc_now(),
                )
            ).inserted_primary_key
            assert inserted is not None
            if text_vectors is not None:
                rows = [
                    {
                        "space_id": inserted[0],
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

    def activate(self, space: Space) -> None:
        """Let this space answer searches; the one before is retired and keeps its vectors."""
        with self._database.writing() as connection:
            connection.execute(sa.update(_SPACES).where(_SPACES.c.state == "active").values(state="retired"))
            connection.execute(sa.update(_SPACES).where(_SPACES.c.id == space.id).values(state="active"))

    def count_embeddings(self, space: Space, after: int) -> int:
        """How many vectors the space has with ids above `after`."""
        table = schema.embeddings.c
        statement = sa.select(sa.func.count()).where(table.space_id == space.id, table.id > after)
        with self._database.reading() as connection:
            return connection.scalar(statement) or 0

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

    def count_unembedded(self, space: Space) -> int:
        """How many visible contents have no vector in the space."""
        values = {"space": space.id, "preprocessing": space.preprocessing}
        with self._database.reading() as connection:
            return connection.scalar(sa.text(f"SELECT count(*) {_UNEMBEDDED}"), values) or 0
