"""Libraries of any size for the benchmarks: real storage, made-up photos, grown vectors.

Rows go in by the same call that the indexer makes (`Files.record`), in one transaction for 4,096 photos instead
of one a batch; digests, sizes, dates and cameras are made up, and the photos' folder does not exist.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photoseek.binding import EngineOptions, ModelBinding
from photoseek.contracts import CameraFacts, Outcome, PhotoRead, WorkItem
from photoseek.indexing import writing
from photoseek.storage.generations import IndexSettings
from photoseek.storage.spaces import Space
from photoseek.storage.store import Store

ROOT = b"/photos of a benchmark"
COMMIT_ROWS = 4096
PHOTOS_PER_FOLDER = 500
NO_PICTURE = np.zeros((1, 1, 3), dtype=np.uint8)
NOON_NS = 1_600_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class PhotoFacts:
    """What stands in the catalog of a made-up photo."""

    size: int
    width: int
    height: int
    camera: CameraFacts


def some_facts(number: int) -> PhotoFacts:
    """Facts like anybody's."""
    camera = CameraFacts(
        taken_at=f"20{number % 25:02}-{1 + number % 12:02}-{1 + number % 28:02}T12:00:00",
        taken_source="DateTimeOriginal",
        camera_make="Bench",
        camera_model=f"B{number % 9}",
    )
    return PhotoFacts(2_000_000 + number * 7 % 6_000_000, 4000, 3000, camera)


FactsOf = Callable[[int], PhotoFacts]


def filled_library(folder: Path, checkpoint: str, vectors: NDArray[np.float16], facts: FactsOf = some_facts) -> Space:
    """The library with one photo a vector, made if it is not there; no generation is built. Returns its space."""
    done = folder.with_name(f"{folder.name}.filled")
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
    store = Store(folder)
    binding = ModelBinding(lambda: store.spaces, checkpoint, EngineOptions())
    with writing(store):
        space = binding.make_space(binding.requested(), state="active")
        if not done.exists():
            add_photos(store, space, vectors, first=0, facts=facts)
            done.touch()
    store.close()
    return space


def built_library(folder: Path, checkpoint: str, vectors: NDArray[np.float16], facts: FactsOf = some_facts) -> float:
    """The library with a generation of all vectors, made if it is not there; returns how long the build took, in s."""
    note = folder.with_name(f"{folder.name}.json")
    if not note.exists():
        space = filled_library(folder, checkpoint, vectors, facts)
        store = Store(folder)
        with writing(store):
            started = time.perf_counter()
            store.generations.build(space, IndexSettings.load(store.catalog))
            note.write_text(json.dumps(time.perf_counter() - started))
        store.close()
    return float(json.loads(note.read_text()))


def add_photos(
    store: Store,
    space: Space,
    vectors: NDArray[np.floating],
    *,
    first: int,
    commit_rows: int = COMMIT_ROWS,
    facts: FactsOf = some_facts,
) -> None:
    """Store photos number `first` and on, one a vector; the caller holds the lock."""
    root = store.catalog.add_root(ROOT)
    files = store.files(space)
    for start in range(0, len(vectors), commit_rows):
        part = vectors[start : start + commit_rows].astype(np.float32)
        files.record(outcomes(root.id, part, first + start, facts))


def outcomes(root_id: int, vectors: NDArray[np.float32], first: int, facts: FactsOf = some_facts) -> Sequence[Outcome]:
    """What the indexer would hand over for photos number `first` and on."""
    return [_outcome(root_id, first + number, vector, facts) for number, vector in enumerate(vectors)]


def place(number: int) -> tuple[bytes, bytes]:
    """Folder and name of a photo."""
    return b"%04d" % (number // PHOTOS_PER_FOLDER), b"IMG_%07d.jpg" % number


def _outcome(root_id: int, number: int, vector: NDArray[np.float32], facts: FactsOf) -> Outcome:
    folder, name = place(number)
    known, mtime_ns = facts(number), NOON_NS + number * 60_000_000_000
    photo = PhotoRead(
        digest=hashlib.sha256(b"content %d" % number).digest(),
        size=known.size,
        mtime_ns=mtime_ns,
        format="jpeg",
        width=known.width,
        height=known.height,
        camera=known.camera,
        picture=NO_PICTURE,
        picture_digest=hashlib.sha256(b"picture %d" % number).digest(),
    )
    return Outcome(WorkItem(root_id, folder, name, known.size, mtime_ns), photo, vector)
