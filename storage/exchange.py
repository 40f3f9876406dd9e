"""Vectors out and in as npy files, so that hours of embedding move between machines.

A folder with three files: `vectors.npy`, float16 (n, dim); `ids.npy`, uint8 (n, 2, 32), for each vector the
SHA-256 of the photo's bytes and that of its prepared picture; `space.json`, the contract of the vectors.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.sqlite import insert

from photoseek.errors import ModelMismatchError, UsageError
from photoseek.storage import schema
from photoseek.storage.catalog import Catalog
from photoseek.storage.durable import new_folder, synced_file
from photoseek.storage.spaces import Space
from photoseek.storage.vectors import check_vectors, to_blob

CHUNK_ROWS = 4096


def export_vectors(catalog: Catalog, space: Space, target: Path) -> int:
    """Write every vector of the space to the new folder `target`; returns how many.

    Raises:
        UsageError: `target` exists.
        StorageFullError: the disk is full; `target` does not exist then.
    """
    if os.path.lexists(target):
        raise UsageError(f"{target} exists; name a folder that does not")
    statement = sa.text(
        "SELECT p.content_digest, e.picture_digest, e.vector FROM embeddings e JOIN prepared p"
        " ON p.picture_digest = e.picture_digest AND p.preprocessing = :preprocessing"
        " WHERE e.space_id = :space ORDER BY e.id, p.content_digest"
    )
    with catalog.database.reading() as connection:
        rows = connection.execute(statement, {"space": space.id, "preprocessing": space.preprocessing}).all()
    vectors = np.frombuffer(b"".join(row.vector for row in rows), dtype="<f2").reshape(-1, space.dim)
    ids = np.frombuffer(b"".join(row.content_digest + row.picture_digest for row in rows), dtype=np.uint8)
    with new_folder(target) as folder:
        with synced_file(folder / "vectors.npy") as stream:
            np.save(stream, vectors)
        with synced_file(folder / "ids.npy") as stream:
            np.save(stream, ids.reshape(-1, 2, 32))
        with synced_file(folder / "space.json") as stream:
            stream.write(json.dumps(_contract(space), indent=2).encode())
    return len(rows)


def import_vectors(catalog: Catalog, space: Space, source: Path) -> int:
    """Add the vectors of an exported folder that the space does not have; returns how many.

    Photos with these pictures are then indexed without the model.

    Raises:
        UsageError: the folder is no export, or its files do not fit each other.
        ModelMismatchError: the vectors are another model's.
    """
    try:
        contract = json.loads((source / "space.json").read_bytes())
        vectors = _read_array(source / "vectors.npy")
        ids = _read_array(source / "ids.npy")
    except (OSError, ValueError) as error:
        raise UsageError(f"{source} is no folder of exported vectors: {error}") from error
    if contract != _contract(space):
        raise ModelMismatchError(
            f"the vectors in {source} are not of this library's model {space.model}",
            hint="export and import need the same checkpoint on both sides",
        )
    if vectors.dtype != np.float16 or ids.dtype != np.uint8 or ids.shape != (*vectors.shape[:1], 2, 32):
        raise UsageError(f"{source} is no folder of exported vectors: its arrays do not fit each other")
    try:
        check_vectors(vectors, space.dim)
    except ValueError as error:
        raise UsageError(f"{source} holds damaged vectors: {error}") from error
    added = 0
    for first in range(0, len(vectors), CHUNK_ROWS):
        part = slice(first, first + CHUNK_ROWS)
        with catalog.database.writing() as connection:
            links = [
                {
                    "content_digest": content.tobytes(),
                    "preprocessing": space.preprocessing,
                    "picture_digest": picture.tobytes(),
                }
                for content, picture in ids[part]
            ]
            connection.execute(insert(schema.prepared).on_conflict_do_nothing(), links)
            for (_content, picture), vector in zip(ids[part], vectors[part], strict=True):
                row = insert(schema.embeddings).values(
                    space_id=space.id, picture_digest=picture.tobytes(), vector=to_blob(vector)
                )
                added += connection.execute(row.on_conflict_do_nothing()).rowcount
            # Until a file shows them, no search may return them.
            connection.exec_driver_sql(
                "INSERT OR IGNORE INTO masked SELECT e.id, e.space_id FROM embeddings e WHERE e.space_id = ?"
                " AND NOT EXISTS (SELECT 1 FROM prepared p CROSS JOIN contents c ON c.digest = p.content_digest"
                "  CROSS JOIN files f ON f.content_id = c.id WHERE p.picture_digest = e.picture_digest"
                "  AND p.preprocessing = ? AND f.state = 'indexed' AND f.missing = 0)",
                (space.id, space.preprocessing),
            )
    return added


def _read_array(path: Path) -> NDArray[Any]:
    """One array of numbers; unlike `numpy.load`, this takes neither archives nor pickled objects.

    Raises:
        OSError, ValueError: the file cannot be read, or holds something else.
    """
    with path.open("rb") as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _contract(space: Space) -> dict[str, object]:
    return {
        "format": 1,
        "checkpoint_digest": space.checkpoint_digest,
        "preprocessing": space.preprocessing,
        "dim": space.dim,
    }
