"""A query's latency and recall as a library grows: exact search, photoseek's index, hnswlib, usearch.

    python bench/ann.py --data DIR --work WORK --rows 10000 100000 1000000

All engines hold the same vectors (bench/vectors.py) and answer the same real captions, one at a time, on one
core and one thread, each in a process of its own. Recall@10 is against exact search in float32. The captions are
others than the texts that photoseek tunes its index on.

exact       faiss.IndexFlatIP, float32
photoseek   through its own storage: a library on the disk, opened as a search opens it; "rows" adds what
            `search` adds to the vectors' answer, 20 matches with all their metadata. "+ delta" is the same
            library with 10,000 photos more that no index holds yet.
hnswlib, usearch   where installed (`pip install hnswlib usearch`): M 16, efConstruction 128, cosine as inner
            product, float32 and float16; several ef. Listed at the largest ef that is no slower than photoseek's
            answer for vectors alone ("equal latency"), and at the smallest that reaches photoseek's recall.

Memory is what no file backs (mapped index files are the system's to drop), after opening and all queries, less
what the process had before. Opening is the first in a process, files in the system's cache; "first answer" is the
first query's after it, vector known, which waits for the lists.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from grown_library import add_photos, built_library
from numpy.typing import NDArray
from report import Row, folder_mb, median, private_mb, show
from threadpoolctl import threadpool_limits
from vectors import add_arguments, grown_vectors, real_vectors

from photoseek.indexing import writing
from photoseek.search.ranking import PageOptions, Question, rank
from photoseek.storage.store import Store

COUNT, RECALL_AT = 20, 10
EFS = (20, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)
GRAPH_LINKS, GRAPH_EFFORT = 16, 128
EXACT_QUERIES = 40
"""An exact search of a million takes long, and always as long."""

Search = Callable[[NDArray[np.float32]], NDArray[np.int64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--delta", type=int, default=10_000)
    parser.add_argument("--engines", nargs="+", default=["exact", "photoseek", "hnswlib", "usearch"])
    options = parser.parse_args()
    real = real_vectors(
        options.checkpoint, options.data, options.work, photos=options.photos, captions=options.captions
    )
    rows: list[Row] = []
    for count in options.rows:
        path = options.work / f"vectors-{count + options.delta}.npy"
        vectors = grown_vectors(real, count + options.delta, path)
        case = Case(options.work, options.checkpoint, path, count, options.delta)
        np.save(case.queries, real.captions)
        np.save(case.truth, best_by_exact_search(vectors[:count], real.captions))
        rows += case.measure([name for name in options.engines if available(name)])
        show(f"{count:,} vectors of {real.photos.shape[1]} dimensions", rows, options.json)


class Case:
    """One size: its files in the work folder, and the processes that measure it."""

    def __init__(self, work: Path, checkpoint: str, vectors: Path, count: int, delta: int) -> None:
        self.checkpoint, self.vectors, self.count, self.delta = checkpoint, vectors, count, delta
        self.library = work / f"library-{count}"
        self.grown_library = work / f"library-{count}-delta"
        self.graphs = work / f"graphs-{count}"
        self.queries, self.truth = work / "queries.npy", work / f"truth-{count}.npy"

    def measure(self, engines: list[str]) -> list[Row]:
        rows = []
        frontier: Row | None = None
        for engine in engines:
            if engine == "photoseek":
                build_s = built_library(self.library, self.checkpoint, self._vectors()[: self.count])
                frontier = {"rows": self.count, "engine": engine, "build s": build_s, **self._run(engine)[0]}
                rows.append(frontier)
                rows.append({"rows": self.count, "engine": f"{engine} + delta", **self._run_with_delta()})
            elif engine == "exact":
                rows.append({"rows": self.count, "engine": engine, **self._run(engine)[0]})
            else:
                build_s = self._run_build(engine)
                for row in at_equal_terms(self._run(engine), frontier):
                    rows.append({"rows": self.count, "build s": build_s, **row})
        return rows

    def _run_with_delta(self) -> Row:
        """A copy of the library, with `delta` photos more and its generation as it was."""
        shutil.rmtree(self.grown_library, ignore_errors=True)
        shutil.copytree(self.library, self.grown_library)
        vectors = self._vectors()
        store = Store(self.grown_library)
        view = store.view()
        assert view is not None
        with writing(store):
            add_photos(store, view.space, vectors[self.count :], first=self.count)
        store.close()
        truth = self.truth.with_name(f"truth-{self.count}-delta.npy")
        np.save(truth, best_by_exact_search(vectors, np.load(self.queries)))
        row = self._run("photoseek", library=self.grown_library, truth=truth)[0]
        shutil.rmtree(self.grown_library)
        return row

    def _vectors(self) -> NDArray[np.float16]:
        vectors: NDArray[np.float16] = np.load(self.vectors, mmap_mode="r")
        return vectors

    def _run_build(self, engine: str) -> float:
        seconds: float = self._child("--build", engine)
        return seconds

    def _run(self, engine: str, library: Path | None = None, truth: Path | None = None) -> list[Row]:
        rows: list[Row] = self._child("--measure", engine, library=library, truth=truth)
        return rows

    def _child(self, what: str, engine: str, library: Path | None = None, truth: Path | None = None) -> Any:
        command = [sys.executable, __file__, what, engine, str(self.vectors), str(self.count)]
        command += map(str, (library or self.library, self.graphs, self.queries, truth or self.truth))
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def available(engine: str) -> bool:
    if engine in ("exact", "photoseek") or importlib.util.find_spec(engine):
        return True
    print(f"{engine} is not installed: left out")
    return False


def best_by_exact_search(vectors: NDArray[np.float16], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """Positions of the ten best vectors for each query, (n, 10), by float32 inner product, in pieces."""
    heap = faiss.ResultHeap(len(queries), RECALL_AT, keep_max=True)
    for first in range(0, len(vectors), 100_000):
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors[first : first + 100_000].astype(np.float32))
        scores, positions = index.search(queries, RECALL_AT)
        heap.add_result(scores, positions + first)
    heap.finalize()
    result: NDArray[np.int64] = heap.I
    return result


def at_equal_terms(curve: list[Row], frontier: Row | None) -> Iterator[Row]:
    """Of a graph's curve over ef: as fast as photoseek, and as good as photoseek."""
    if frontier is None:
        yield from ({**row, "engine": f"{row['engine']}, ef {row.pop('ef')}"} for row in curve)
        return
    fast = [row for row in curve if row["p50 ms"] <= frontier["p50 ms"]]
    good = [row for row in curve if row["recall@10"] >= frontier["recall@10"]]
    if fast:
        yield {**fast[-1], "engine": f"{fast[-1]['engine']}, equal latency (ef {fast[-1]['ef']})"}
    else:
        yield {**curve[0], "engine": f"{curve[0]['engine']}, never as fast (ef {curve[0]['ef']})"}
    if good:
        yield {**good[0], "engine": f"{good[0]['engine']}, equal recall (ef {good[0]['ef']})"}
    else:
        yield {**curve[-1], "engine": f"{curve[-1]['engine']}, never as good (ef {curve[-1]['ef']})"}


# What runs in a process of its own


def measure(engine: str, vectors: Path, count: int, library: Path, graphs: Path, queries: Path, truth: Path) -> None:
    """Print the rows of one engine as JSON."""
    use_one_core()
    asked, expected = np.load(queries), np.load(truth)
    with threadpool_limits(1):
        faiss.omp_set_num_threads(1)
        if engine == "photoseek":
            rows = [measure_photoseek(library, asked, expected)]
        elif engine == "exact":
            rows = [measure_exact(np.load(vectors, mmap_mode="r")[:count], asked, expected)]
        else:
            rows = list(measure_graph(engine, graphs, asked, expected))
    print(json.dumps(rows))


def measure_photoseek(library: Path, queries: NDArray[np.float32], truth: NDArray[np.int64]) -> Row:
    before = private_mb()
    started = time.perf_counter()
    store = Store(library)
    view = store.view()
    opened = time.perf_counter()
    assert view is not None

    def search(query: NDArray[np.float32]) -> NDArray[np.int64]:
        current = store.view()
        assert current is not None
        return current.search(query, COUNT).ids

    def with_rows(query: NDArray[np.float32]) -> NDArray[np.int64]:
        current = store.view()
        assert current is not None
        online = functools.cache(os.path.isdir)  # as a search of the library has it
        assert len(rank(current, Question(query), PageOptions(limit=COUNT), online=online)) == COUNT
        return np.empty(0, dtype=np.int64)

    search(queries[0])
    first = time.perf_counter()
    ids = view.snapshot.ids()  # the photo at position i of the vectors' file has the i-th id
    latency, found = timed(search, queries)
    latency_rows, _ = timed(with_rows, queries)
    after = private_mb()
    generation = store.generations.current(view.space)
    return {
        "p50 ms": latency,
        "p50 ms with rows": latency_rows,
        "recall@10": recall([np.searchsorted(ids, row) for row in found], truth),
        "opening ms": 1000 * (opened - started),
        "first answer ms": 1000 * (first - opened),
        "memory MB": after - before if after is not None and before is not None else None,
        "disk MB": folder_mb(library / "index"),
        "nlist": generation.nlist if generation else None,
        "nprobe": generation.nprobe if generation else None,
        "tuned recall": generation.recall if generation else None,
    }


def measure_exact(vectors: NDArray[np.float16], queries: NDArray[np.float32], truth: NDArray[np.int64]) -> Row:
    before = private_mb()
    index = faiss.IndexFlatIP(vectors.shape[1])
    for first in range(0, len(vectors), 100_000):
        index.add(vectors[first : first + 100_000].astype(np.float32))
    latency, found = timed(lambda query: index.search(query[None], COUNT)[1][0], queries[:EXACT_QUERIES])
    after = private_mb()
    return {
        "p50 ms": latency,
        "recall@10": recall(found, truth),
        "memory MB": after - before if after is not None and before is not None else None,
    }


def build_graph(engine: str, vectors: Path, count: int, graphs: Path) -> None:
    """Build and save a graph with all cores; print the seconds as JSON, those of the first build if it is there."""
    graphs.mkdir(parents=True, exist_ok=True)
    note = graphs / f"{engine}.json"
    if not note.exists():
        data = np.load(vectors, mmap_mode="r")[:count]
        started = time.perf_counter()
        if engine == "hnswlib":
            import hnswlib

            graph = hnswlib.Index(space="ip", dim=data.shape[1])
            graph.init_index(max_elements=count, M=GRAPH_LINKS, ef_construction=GRAPH_EFFORT)
            for first in range(0, count, 20_000):
                part = data[first : first + 20_000].astype(np.float32)
                graph.add_items(part, np.arange(first, first + len(part)))
            seconds = time.perf_counter() - started
            graph.save_index(str(graphs / engine))
        else:
            from usearch.index import Index

            graph = Index(
                ndim=data.shape[1], metric="ip", dtype="f16", connectivity=GRAPH_LINKS, expansion_add=GRAPH_EFFORT
            )
            for first in range(0, count, 20_000):
                part = np.asarray(data[first : first + 20_000])
                graph.add(np.arange(first, first + len(part)), part)
            seconds = time.perf_counter() - started
            graph.save(str(graphs / engine))
        note.write_text(json.dumps(seconds))
    print(note.read_text())


def measure_graph(engine: str, graphs: Path, queries: NDArray[np.float32], truth: NDArray[np.int64]) -> Iterator[Row]:
    before = private_mb()
    started = time.perf_counter()
    search: Search
    if engine == "hnswlib":
        import hnswlib

        graph = hnswlib.Index(space="ip", dim=queries.shape[1])
        graph.load_index(str(graphs / engine))
        graph.set_num_threads(1)
        search = lambda query: graph.knn_query(query, k=COUNT)[0][0].astype(np.int64)  # noqa: E731
    else:
        from usearch.index import Index

        graph = Index.restore(str(graphs / engine), view=True)
        assert graph is not None
        search = lambda query: graph.search(query, COUNT, threads=1).keys.astype(np.int64)  # noqa: E731
    opened = time.perf_counter()
    for ef in EFS:
        if engine == "hnswlib":
            graph.set_ef(ef)
        else:
            graph.expansion_search = ef
        latency, found = timed(search, queries)
        after = private_mb()
        yield {
            "engine": engine,
            "ef": ef,
            "p50 ms": latency,
            "recall@10": recall(found, truth),
            "opening ms": 1000 * (opened - started),
            "memory MB": after - before if after is not None and before is not None else None,
            "disk MB": (graphs / engine).stat().st_size / 1e6,
        }


def timed(search: Search, queries: NDArray[np.float32]) -> tuple[float, list[NDArray[np.int64]]]:
    """Median milliseconds of a query, and the answers; every query once before the clock runs."""
    answers = [search(query) for query in queries]
    times = []
    for query in queries:
        started = time.perf_counter()
        search(query)
        times.append(time.perf_counter() - started)
    return 1000 * median(times), answers


def recall(found: list[NDArray[np.int64]], truth: NDArray[np.int64]) -> float:
    """Share of the true ten best that are among the ten first found."""
    return float(np.mean([np.isin(row, got[:RECALL_AT]).mean() for got, row in zip(found, truth, strict=False)]))


def use_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--build":
        build_graph(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[6]))
    elif len(sys.argv) > 1 and sys.argv[1] == "--measure":
        measure(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), *map(Path, sys.argv[5:9]))
    else:
        main()
