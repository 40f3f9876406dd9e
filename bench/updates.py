"""What keeping up costs: adding, removing and merging on a large library, and growing one from nothing.

    python bench/updates.py --data DIR --work WORK --rows 100000 1000000

Each size starts from a copy of the library that bench/ann.py makes. Adding commits as the indexer does, 64
photos a transaction, without the time to decode and embed; "seen" is a reader's next look, after which the new
photos are found, the removed are not. A merge runs while another process searches all the time; its slowest
search is listed. With --grow the library is filled as a first `index` of that many photos fills it, and every
rewrite of the index is counted and timed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from grown_library import add_photos, built_library
from numpy.typing import NDArray
from report import Row, median, show
from vectors import Real, add_arguments, grown_vectors, real_vectors

from photoseek.binding import EngineOptions, ModelBinding
from photoseek.indexing import MERGE_LOOK_ROWS, writing
from photoseek.storage.generations import IndexSettings
from photoseek.storage.spaces import Space
from photoseek.storage.store import Store

CHANGED = 1000
BATCH = 64
DELTA = 10_000
FOUND_AMONG = 500
"""A photo is among the best for its own vector, not always first: near copies lie there, float16 lengths differ."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--changed", type=int, default=CHANGED, help="photos added, and removed")
    parser.add_argument("--delta", type=int, default=DELTA, help="photos merged")
    parser.add_argument("--grow", action="store_true", help="also fill a library from nothing, merging as it grows")
    options = parser.parse_args()
    real = real_vectors(
        options.checkpoint, options.data, options.work, photos=options.photos, captions=options.captions
    )
    np.save(options.work / "queries.npy", real.captions)
    rows: list[Row] = []
    for count in options.rows:
        rows += measure(options, real, count)
        show("Keeping up", rows, options.json)
    if options.grow:
        grown = [grow(options, real, count) for count in options.rows]
        path = options.json and options.json.with_name(f"grow-{options.json.name}")
        show("Growing from nothing, by `index`", grown, path)


def measure(options: argparse.Namespace, real: Real, count: int) -> list[Row]:
    """The steps on a copy of the library with `count` photos, in the order that a library meets them."""
    vectors = grown_vectors(real, count + DELTA, options.work / f"vectors-{count + DELTA}.npy")
    source = options.work / f"library-{count}"
    first_build_s = built_library(source, options.checkpoint, vectors[:count])
    folder = options.work / f"library-{count}-updates"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    library = Library(folder, count)
    rows = [{"step": "first build, lists trained", "seconds": first_build_s}]
    extra = vectors[count : count + options.delta]
    library.reader.view()  # opened before anything changes
    rows.append({"step": f"add {options.changed:,}", **library.add(extra[: options.changed])})
    gone = np.random.default_rng(0).permutation(count)[: 2 * options.changed] + 1
    rows.append({"step": f"{options.changed:,} files missing", **library.lose(gone[: options.changed])})
    library.add(extra[options.changed :])
    queries = options.work / "queries.npy"
    rows.append({"step": f"merge {options.delta:,}, searches going on", **library.merge(queries)})
    rows.append({"step": f"forget {options.changed:,}", **library.forget(gone[options.changed :])})
    rows.append({"step": "build without the forgotten, searches going on", **library.merge(queries)})
    library.close()
    shutil.rmtree(folder)
    return [{"photos": count, **row} for row in rows]


class Library:
    """A library with its writer and one reader; file number n has embedding n."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.writer, self.reader = Store(folder), Store(folder)
        space = self.writer.spaces.active()
        assert space is not None
        self.space: Space = space

    def close(self) -> None:
        self.writer.close()
        self.reader.close()

    def add(self, vectors: NDArray[np.float16]) -> Row:
        before = self._index_files()
        started = time.perf_counter()
        with writing(self.writer):
            add_photos(self.writer, self.space, vectors, first=self.count, commit_rows=BATCH)
            committed = time.perf_counter()
            self.writer.generations.merge_if_due(self.space, IndexSettings(delta_max_rows=2**40), finishing=True)
        self.count += len(vectors)
        row = self._seen(started, committed)
        newest = vectors[-1].astype(np.float32)
        assert self.count in self._found(newest), "the photo added last is not found"
        assert self._index_files() == before, "adding rewrote the index"
        return row

    def lose(self, ids: NDArray[np.int64]) -> Row:
        """What a rescan stores when these files are not there any more."""
        root = self.writer.catalog.roots()[0]
        before, vector = self._index_files(), self._vector(ids[0])
        started = time.perf_counter()
        with writing(self.writer):
            files = self.writer.files(self.space)
            files.apply_scan(root.id, missing=ids.tolist(), returned=[], excluded=[])
        return self._gone(ids[0], vector, started, before)

    def forget(self, ids: NDArray[np.int64]) -> Row:
        before, vector = self._index_files(), self._vector(ids[0])
        started = time.perf_counter()
        with writing(self.writer):
            self.writer.catalog.forget_files(ids.tolist())
        return self._gone(ids[0], vector, started, before)

    def merge(self, queries: Path) -> Row:
        """Build a generation of everything, while another process searches."""
        stop = self.folder / "stop"
        command = [sys.executable, __file__, "--search-until", str(stop), str(self.folder), str(queries)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as searcher:
            assert searcher.stdout is not None
            searcher.stdout.readline()  # it is under way
            started = time.perf_counter()
            with writing(self.writer):
                self.writer.generations.build(self.space, IndexSettings.load(self.writer.catalog))
            built = time.perf_counter()
            stop.touch()
            searched = json.loads(searcher.stdout.readline())
        stop.unlink()
        return {**self._seen(started, built), **searched}

    def _seen(self, started: float, committed: float) -> Row:
        looked = time.perf_counter()
        self.reader.view()
        return {"seconds": committed - started, "seen ms": 1000 * (time.perf_counter() - looked)}

    def _gone(self, id: int, vector: NDArray[np.float32], started: float, before: dict[str, int]) -> Row:
        row = self._seen(started, time.perf_counter())
        assert id not in self._found(vector), "a removed photo is still found"
        assert self._index_files() == before, "removing rewrote the index"
        return row

    def _vector(self, id: int) -> NDArray[np.float32]:
        view = self.reader.view()
        assert view is not None
        vector: NDArray[np.float32] = view.snapshot.vectors([id])[0]
        return vector

    def _found(self, vector: NDArray[np.float32]) -> list[int]:
        view = self.reader.view()
        assert view is not None
        ids: list[int] = view.search(vector / np.linalg.norm(vector), FOUND_AMONG).ids.tolist()
        return ids

    def _index_files(self) -> dict[str, int]:
        files = (self.folder / "index").rglob("*")
        return {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}


def search_until(stop: Path, folder: Path, queries: Path) -> None:
    """Search until the file `stop` appears; print how often and how slowly."""
    store, texts = Store(folder), np.load(queries)
    times: list[float] = []
    store.view()
    print("searching", flush=True)
    while not stop.exists():
        started = time.perf_counter()
        view = store.view()
        assert view is not None
        view.search(texts[len(times) % len(texts)], 20)
        times.append(time.perf_counter() - started)
        time.sleep(0.01)
    print(
        json.dumps({"searches meanwhile": len(times), "p50 ms": 1000 * median(times), "slowest ms": 1000 * max(times)}),
        flush=True,
    )


def grow(options: argparse.Namespace, real: Real, count: int) -> Row:
    """Fill a new library, looking every so often whether a merge is due, as `index` does."""
    vectors = grown_vectors(real, count + DELTA, options.work / f"vectors-{count + DELTA}.npy")
    folder = options.work / f"library-{count}-grow"
    shutil.rmtree(folder, ignore_errors=True)
    store = Store(folder)
    binding = ModelBinding(lambda: store.spaces, options.checkpoint, EngineOptions())
    builds: list[tuple[int, float]] = []

    def look(done: int, *, finishing: bool) -> None:
        started = time.perf_counter()
        if store.generations.merge_if_due(space, IndexSettings.load(store.catalog), finishing=finishing):
            builds.append((done, time.perf_counter() - started))

    with writing(store):
        space = binding.make_space(binding.requested(), state="active")
        started = time.perf_counter()
        for first in range(0, count, MERGE_LOOK_ROWS):
            part = vectors[first : min(first + MERGE_LOOK_ROWS, count)]
            add_photos(store, space, part, first=first)
            look(first + len(part), finishing=False)
        look(count, finishing=True)
    seconds = time.perf_counter() - started
    store.close()
    shutil.rmtree(folder)
    return {
        "photos": count,
        "rewrites": len(builds),
        "at rows": ", ".join(f"{rows:,}" for rows, _ in builds),
        "rows written, of the final": sum(rows for rows, _ in builds) / count,
        "s for rewrites": sum(seconds for _, seconds in builds),
        "s in all": seconds,
    }


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--search-until":
        search_until(*map(Path, sys.argv[2:]))
    else:
        main()
