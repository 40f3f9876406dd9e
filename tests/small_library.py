"""Small photos on the disk, and what a library holds as plain values that can be compared."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from fakes import COLOURS
from numpy.typing import NDArray
from PIL import Image


def write_photo(path: Path | bytes, colour: str = "grey", *, seed: int = 0, format: str = "PNG") -> Path:
    """A photo of 40 x 40 that is mostly one colour; another seed makes another photo."""
    where = Path(os.fsdecode(path))
    where.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-12, 13, (40, 40, 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    with where.open("wb") as stream:
        Image.fromarray(pixels).save(stream, format)
    return where


def write_photos(folder: Path, number: int, *, first_seed: int = 0) -> list[Path]:
    """Different photos `00.png`, `01.png`, ... in all colours."""
    names = list(COLOURS)
    return [
        write_photo(folder / f"{index:02}.png", names[index % len(names)], seed=first_seed + index)
        for index in range(number)
    ]


Files = dict[bytes, tuple[str, int, bytes | None]]
Vectors = dict[bytes, NDArray[np.float32]]


def stored_files(library: Path) -> Files:
    """By path: state, missing, digest of the content."""
    rows = _rows(
        library,
        "SELECT r.path, f.folder, f.name, f.state, f.missing, c.digest FROM files f JOIN roots r ON r.id = f.root_id"
        " LEFT JOIN contents c ON c.id = f.content_id",
    )
    return {os.path.join(*place): (state, missing, digest) for *place, state, missing, digest in rows}


def stored_vectors(library: Path) -> Vectors:
    """The active space's vectors of photos that a search may find, by the digest of the prepared picture."""
    rows = _rows(
        library,
        "SELECT e.picture_digest, e.vector FROM embeddings e JOIN spaces s ON s.id = e.space_id AND s.state = 'active'"
        " WHERE e.id NOT IN (SELECT embedding_id FROM masked)",
    )
    return {digest: np.frombuffer(vector, dtype="<f2").astype(np.float32) for digest, vector in rows}


def assert_same_vectors(found: Vectors, expected: Vectors, when: str) -> None:
    """The same pictures with the same directions."""
    assert found.keys() == expected.keys(), when
    for key, vector in found.items():
        cosine = vector @ expected[key] / np.linalg.norm(vector) / np.linalg.norm(expected[key])
        assert cosine > 0.9999, when


def _rows(library: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{library}/catalog.sqlite?mode=ro", uri=True)) as connection:
        return connection.execute(statement).fetchall()
