"""All visible files of a space at once, as columns: for what looks at a whole library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from photoseek.contracts import Census
from photoseek.storage import fingerprints
from photoseek.storage.catalog import Catalog
from photoseek.storage.spaces import Space

ROWS_AT_ONCE = 50_000

_SELECT = """
    SELECT f.id, c.id, e.id, c.size, c.width * c.height, CASE c.format WHEN 'raw' THEN 2 WHEN 'heic' THEN 1 ELSE 0 END,
           (c.taken_at NOT NULL) + (c.camera_model NOT NULL) + (c.lens NOT NULL) + (c.latitude NOT NULL)
           + (c.title NOT NULL) + (c.keywords NOT NULL),
           coalesce(c.rating, 0), f.mtime_ns, r.kind = 'app' OR r.state = 'online',
           c.taken_at, c.camera_make, c.camera_model, c.latitude, c.longitude, {fingerprint}
    FROM files f
    JOIN roots r ON r.id = f.root_id
    JOIN contents c ON c.id = f.content_id
    JOIN prepared p ON p.content_digest = c.digest AND p.preprocessing = :preprocessing
    JOIN embeddings e ON e.picture_digest = p.picture_digest AND e.space_id = :space
    WHERE f.state = 'indexed' AND f.missing = 0
    ORDER BY f.id
"""


def read_census(catalog: Catalog, space: Space) -> Census:
    """The files in one consistent view of the catalog; about 10 microseconds and 150 bytes a file."""
    cameras: dict[tuple[str | None, str | None], int] = {(None, None): 0}
    parts = []
    known = catalog.version >= fingerprints.SINCE_VERSION
    statement = sa.text(_SELECT.format(fingerprint="p.fingerprint" if known else "NULL"))
    with catalog.database.reading() as connection:
        result = connection.execute(statement, {"space": space.id, "preprocessing": space.preprocessing})
        while rows := result.fetchmany(ROWS_AT_ONCE):
            parts.append(_columns(rows, cameras))
    if not parts:
        parts.append(_columns([], cameras))
    return Census(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _columns(rows: Sequence[Any], cameras: dict[tuple[str | None, str | None], int]) -> list[NDArray[Any]]:
    """One array for each field of `Census`, in its order; new cameras are numbered on."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * 16
    *numbers, taken_at, makes, models, latitudes, longitudes, marks = columns
    kinds = (np.int64,) * 9 + (np.bool_,)
    arrays: list[NDArray[Any]] = [np.array(column, dtype=kind) for column, kind in zip(numbers, kinds, strict=True)]
    arrays.append(np.array([text or "NaT" for text in taken_at], dtype="datetime64[ms]"))
    pairs = zip(makes, models, strict=True)
    arrays.append(np.array([cameras.setdefault(pair, len(cameras)) for pair in pairs], dtype=np.int64))
    arrays += [np.array(column, dtype=np.float64) for column in (latitudes, longitudes)]  # None becomes NaN
    arrays.append(np.array([mark or 0 for mark in marks], dtype=np.uint64))
    return arrays
