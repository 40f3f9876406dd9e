"""Fingerprints of the prepared pictures that embeddings belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from photoseek.storage.catalog import Catalog
from photoseek.storage.rows import ROWS_PER_STATEMENT
from photoseek.storage.spaces import Space

SINCE_VERSION = 2
"""Of the schema; a catalog that no writer has migrated yet has none."""

# CROSS JOIN keeps SQLite to this order: from the embeddings asked for to their pictures, by the index on them.
_FROM = (
    "FROM embeddings e CROSS JOIN prepared p ON p.picture_digest = e.picture_digest"
    " WHERE p.preprocessing = :preprocessing AND p.fingerprint NOT NULL"
)


class Fingerprints:
    """Reads fingerprints in one space."""

    def __init__(self, catalog: Catalog, space: Space) -> None:
        self._catalog = catalog
        self._space = space

    def of_embeddings(self, embedding_ids: Sequence[int]) -> NDArray[np.uint64]:
        """The fingerprint of each embedding's picture, shape (n,); 0 where there is none."""
        statement = sa.text(f"SELECT DISTINCT e.id, p.fingerprint {_FROM} AND e.id IN :ids").bindparams(
            sa.bindparam("ids", expanding=True)
        )
        found: dict[int, int] = {}
        ids = list(embedding_ids)
        if self._catalog.version >= SINCE_VERSION:
            with self._catalog.database.reading() as connection:
                for first in range(0, len(ids), ROWS_PER_STATEMENT):
                    values = {
                        "preprocessing": self._space.preprocessing,
                        "ids": ids[first : first + ROWS_PER_STATEMENT],
                    }
                    found.update((row.id, row.fingerprint) for row in connection.execute(statement, values))
        return np.array([found.get(id, 0) for id in ids], dtype=np.uint64)
