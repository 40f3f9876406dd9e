"""How long it takes to find the duplicates of a whole library, and to group it by moment.

    python bench/duplicates.py --data DIR --work WORK --rows 10000 100000

The vectors are grown from real ones (bench/vectors.py). Every tenth photo is made a near copy of the one before it:
its vector a little turned, a few bits of its fingerprint changed, taken two seconds later; every fiftieth file is a
copy, byte by byte. All other fingerprints are random, all other photos taken 40 seconds apart. Each kind is looked for
in a process of its own, from opening the library on, and must find what was put in.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from grown_library import ROOT, outcomes
from numpy.typing import NDArray
from report import Row, show
from vectors import add_arguments, grown_vectors, real_vectors, unit

from photoseek import PhotoLibrary
from photoseek.binding import EngineOptions, ModelBinding
from photoseek.contracts import Outcome, PhotoRead
from photoseek.indexing import writing
from photoseek.search.groups import DuplicateKind
from photoseek.storage.generations import IndexSettings
from photoseek.storage.store import Store

COMMIT_ROWS = 4096
COPY_EVERY, NEAR_EVERY = 50, 10
KINDS: tuple[DuplicateKind, ...] = ("bytes", "pictures", "near")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--look", nargs=2, metavar=("LIBRARY", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        print(json.dumps(look(*options.look)))
        return
    real = real_vectors(
        options.checkpoint, options.data, options.work, photos=options.photos, captions=options.captions
    )
    rows: list[Row] = []
    for count in options.rows:
        vectors = grown_vectors(real, count, options.work / f"vectors-{count}.npy")
        folder = options.work / f"duplicates-{count}"
        fill(folder, options.checkpoint, vectors)
        for kind in KINDS:
            command = [sys.executable, __file__, "--data", ".", "--work", ".", "--look", str(folder), kind]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            expected = expected_groups(kind, count)
            assert found["groups"] >= expected, f"{expected} groups of {kind} were put in, {found} came out"
            rows.append({"photos": count, "kind": kind, "put in": expected, **found})
        show("Duplicates", rows, options.json)


def fill(folder: Path, checkpoint: str, vectors: NDArray[np.float16]) -> None:
    """A library with one photo a vector and an index of them, unless it is there."""
    done = folder.with_name(f"{folder.name}.filled")
    if done.exists():
        return
    store = Store(folder)
    binding = ModelBinding(lambda: store.spaces, checkpoint, EngineOptions())
    random = np.random.default_rng(0)
    with writing(store):
        space = binding.make_space(binding.requested(), state="active")
        root = store.catalog.add_root(ROOT)
        files = store.files(space)
        for first in range(0, len(vectors), COMMIT_ROWS):
            part = vectors[first : first + COMMIT_ROWS].astype(np.float32)
            near = np.arange(first, first + len(part)) % NEAR_EVERY == 1
            near[0] = False
            noise = random.standard_normal(part.shape, dtype=np.float32) * np.float32(0.2 / np.sqrt(part.shape[1]))
            part[near] = unit(part[np.flatnonzero(near) - 1] + noise[near])
            files.record(_with_copies(outcomes(root.id, part, first), random))
        store.generations.build(space, IndexSettings.load(store.catalog))
    store.close()
    done.touch()


def _with_copies(made: Sequence[Outcome], random: np.random.Generator) -> list[Outcome]:
    """The photos with fingerprints and dates; some are near copies of the one before, some the same bytes."""
    given: list[Outcome] = []
    for outcome in made:
        photo = outcome.result
        assert isinstance(photo, PhotoRead)
        number = int(outcome.item.name[4:11])
        fingerprint = int(random.integers(1, 2**62))
        seconds = 40 * number
        before = given[-1].result if given else None
        if number % NEAR_EVERY == 1 and isinstance(before, PhotoRead) and before.fingerprint is not None:
            fingerprint = before.fingerprint ^ (1 << int(random.integers(62)) | 1 << int(random.integers(62)))
            seconds -= 38
        taken = (datetime(2010, 1, 1) + timedelta(seconds=seconds)).isoformat()
        changed = replace(photo, fingerprint=fingerprint, camera=photo.camera._replace(taken_at=taken))
        if number % COPY_EVERY == 5 and isinstance(before, PhotoRead):
            given.append(Outcome(outcome.item, replace(before, mtime_ns=photo.mtime_ns)))
        else:
            given.append(replace(outcome, result=changed))
    return given


def expected_groups(kind: str, count: int) -> int:
    """How many groups were put in; at the seams between two commits there are none."""
    seams = count // COMMIT_ROWS + 1
    return max(0, {"bytes": count // COPY_EVERY - seams, "pictures": 0, "near": count // NEAR_EVERY - seams}[kind])


def look(folder: str, kind: DuplicateKind) -> Row:
    started = time.perf_counter()
    with PhotoLibrary.open(folder) as library:
        found = library.duplicates(kind, limit=100)
    elapsed = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"groups": found.counts[kind], "seconds": elapsed, "peak memory, MB": peak}


if __name__ == "__main__":
    main()
