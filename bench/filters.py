"""Search under filters in a large library: are the best allowed photos found, and how soon?

    python bench/filters.py --data DIR --work WORK --rows 1000000

Every photo of the library has a date, a place and a camera at random, and three numbers that say how well its vector
fits three captions (its rank among all, in its size, width and height). Filters let through 0.01% to 50% of it:

dates            taken until a moment: allowed photos lie anywhere
place            near a place, another one for each query: they lie anywhere
camera and dates one camera of ten, and dates
correlated       those that fit a caption best; queries are that caption and those most like it
anti-correlated  those that fit it least, with the same queries

Answers come through photoseek's storage as a search takes them, on one core and one thread: the filter is evaluated
(no two queries share one, so nothing is kept from the last), then 20 photos are searched. The truth is computed here,
from the facts that the photos were made with: float32 scores of all, those of allowed ones sorted. "wrong" counts
photos in answers that the filter excludes, "short" answers of less than 20 photos where more are allowed.

Beside them:
exact scan        the filter evaluated, then the faster one of multiplying copies of the allowed rows, and FAISS's flat
                  index with a bitmap

And with the filter already evaluated:
post-filtering    1,000 photos searched without the filter, those that it excludes dropped
fixed nprobe      the nearest lists with FAISS's bitmap selector, as many as the nprobe of an unfiltered search
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from ann import use_one_core
from grown_library import PhotoFacts, built_library
from numpy.typing import NDArray
from report import Row, median, show
from threadpoolctl import threadpool_limits
from vectors import add_arguments, grown_vectors, real_vectors

from photoseek import where
from photoseek.conditions import Condition
from photoseek.contracts import CameraFacts
from photoseek.storage.distance import EARTH_RADIUS_KM
from photoseek.storage.faissfile import flat_rows, open_index
from photoseek.storage.idset import IdSet
from photoseek.storage.list_files import open_lists, read_shapes
from photoseek.storage.lists import Lists, Reach
from photoseek.storage.manifest import VECTORS_FILE
from photoseek.storage.store import Store, View

COUNT, RECALL_AT = 20, 10
TOPICS = 3
QUERIES_PER_TOPIC = 20
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5)
CAMERAS = 10
POST_FILTERED = 1000
CANDIDATES = 256
FIRST_MOMENT = datetime(2000, 1, 1)

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Facts:
    """What the photos' facts are, as arrays (rows,) and as the catalog's rows."""

    def __init__(self, vectors: Floats, topics: Floats) -> None:
        random = np.random.default_rng(5)
        rows = len(vectors)
        self.moment = random.permutation(rows)
        """Minutes after `FIRST_MOMENT`."""
        self.camera = random.integers(0, CAMERAS, rows)
        points = random.standard_normal((rows, 3))
        self.points = points / np.linalg.norm(points, axis=1, keepdims=True)
        self.latitude = np.degrees(np.arcsin(self.points[:, 2]))
        self.longitude = np.degrees(np.arctan2(self.points[:, 1], self.points[:, 0]))
        self.ranks = np.empty((TOPICS, rows), dtype=np.int64)
        """How many photos fit each topic better."""
        for ranks, topic in zip(self.ranks, topics, strict=True):
            ranks[np.argsort(-(vectors @ topic), kind="stable")] = np.arange(rows)

    def of(self, number: int) -> PhotoFacts:
        camera = CameraFacts(
            taken_at=moment(int(self.moment[number])),
            taken_source="DateTimeOriginal",
            camera_make="Bench",
            camera_model=f"B{self.camera[number]}",
            latitude=float(self.latitude[number]),
            longitude=float(self.longitude[number]),
        )
        size, width, height = (int(rank) + 1 for rank in self.ranks[:, number])
        return PhotoFacts(size, width, height, camera)


def moment(minutes: int) -> str:
    return (FIRST_MOMENT + timedelta(minutes=minutes)).isoformat()


@dataclass(frozen=True)
class Filtered:
    """A query under a filter, and which photos that allows."""

    query: int
    condition: Condition
    allowed: Mask


class Cases:
    """The filters of every kind."""

    def __init__(self, facts: Facts, queries: int) -> None:
        self._facts = facts
        self._queries = queries
        self._rows = facts.moment.size

    def of(self, kind: str, share: float) -> Iterator[Filtered]:
        for query in range(self._queries):
            # A few photos more with each query, so that no two filters are the same.
            kept = round(share * self._rows) + query
            yield Filtered(query, *getattr(self, kind.replace(" ", "_").replace("-", "_"))(kept, query))

    def dates(self, kept: int, _query: int) -> tuple[Condition, Mask]:
        return where.taken.until(moment(kept - 1)), self._facts.moment < kept

    def place(self, kept: int, query: int) -> tuple[Condition, Mask]:
        point = self._facts.points[query]
        angle = float(np.arccos(1 - 2 * kept / self._rows))
        latitude, longitude = self._facts.latitude[query], self._facts.longitude[query]
        near = where.near(float(latitude), float(longitude), EARTH_RADIUS_KM * angle)
        return near, np.arccos(np.clip(self._facts.points @ point, -1, 1)) <= angle

    def camera_and_dates(self, kept: int, query: int) -> tuple[Condition, Mask]:
        camera, dates = query % CAMERAS, min(kept * CAMERAS, self._rows)
        condition = where.camera.contains(f"bench b{camera}") & where.taken.until(moment(dates - 1))
        return condition, (self._facts.camera == camera) & (self._facts.moment < dates)

    def correlated(self, kept: int, query: int) -> tuple[Condition, Mask]:
        topic = query // QUERIES_PER_TOPIC
        return self._rank_of(topic) <= kept, self._facts.ranks[topic] < kept

    def anti_correlated(self, kept: int, query: int) -> tuple[Condition, Mask]:
        topic = query // QUERIES_PER_TOPIC
        return self._rank_of(topic) > self._rows - kept, self._facts.ranks[topic] >= self._rows - kept

    def _rank_of(self, topic: int) -> Any:
        return (where.size, where.width, where.height)[topic]


KINDS = ("dates", "place", "camera and dates", "correlated", "anti-correlated")


class Measured:
    """One library, opened, and the other ways to search it."""

    def __init__(self, library: Path, queries: Floats, scores: Floats) -> None:
        self._queries, self._scores = queries, scores
        self._store = Store(library)
        self._ids = self._view().snapshot.ids()  # the photo at position i of the vectors has the i-th id
        generation = self._store.generations.current(self._view().space)
        assert generation is not None
        self._generation = generation

    @cached_property
    def _flat(self) -> Any:
        return open_index(self._generation.folder / VECTORS_FILE, mapped=True)

    @cached_property
    def _lists(self) -> Lists:
        index = open_lists(self._generation.folder, mapped=True)
        return Lists(index, read_shapes(self._generation.folder, index), Reach(0.0, CANDIDATES, 0.0))

    def row(self, kind: str, share: float, cases: list[Filtered]) -> Row:
        """Every figure of one kind of filter at one selectivity."""
        self._answers(cases)
        answers, times = self._answers(cases)
        sets = [self._set(case.allowed) for case in cases]
        scan = min(self._timed(self._gathered, cases, sets)[1], self._timed(self._scanned, cases, sets)[1])
        filter_ms = self._evaluated(cases)
        post, post_ms = self._timed(self._post_filtered, cases, sets)
        fixed, fixed_ms = self._timed(self._fixed, cases, sets)
        return {
            "filter": kind,
            "allowed": f"{100 * share:g}%",
            "recall@10": self._recall(cases, answers),
            "wrong": self._wrong(cases, answers),
            "short": self._short(cases, answers),
            "p50 ms": median(times),
            "p95 ms": float(np.quantile(times, 0.95)),
            "filter alone ms": filter_ms,
            "exact scan ms": filter_ms + scan,
            "against it": median(times) / (filter_ms + scan),
            "post-filtering: recall": self._recall(cases, post),
            "its short": self._short(cases, post),
            "its ms": post_ms,
            "fixed nprobe: recall": self._recall(cases, fixed),
            "its short ": self._short(cases, fixed),
            "its ms ": fixed_ms,
        }

    def unfiltered(self) -> Row:
        """The same queries without a filter."""
        times = []
        for query in [*self._queries, *self._queries]:
            started = time.perf_counter()
            self._view().search(query, COUNT)
            times.append(1000 * (time.perf_counter() - started))
        return {"filter": "none", "allowed": "100%", "p50 ms": median(times[len(self._queries) :])}

    def first_ms(self, case: Filtered) -> float:
        """The first filter after opening: columns are read from the disk's cache."""
        store = Store(self._store.folder)
        store.view()
        started = time.perf_counter()
        view = store.view()
        assert view is not None
        view.search(self._queries[case.query], COUNT, allowed=view.allowed(case.condition, include_missing=False))
        return 1000 * (time.perf_counter() - started)

    def _view(self) -> View:
        view = self._store.view()
        assert view is not None
        return view

    def _set(self, allowed: Mask) -> IdSet:
        return IdSet(self._ids, allowed, self._ids[:0], allowed[:0])

    def _answers(self, cases: list[Filtered]) -> tuple[list[NDArray[np.int64]], list[float]]:
        """Positions of the photos found for each, and milliseconds."""
        self._store.view()
        answers, times = [], []
        for case in cases:
            started = time.perf_counter()
            view = self._view()
            allowed = view.allowed(case.condition, include_missing=False)
            found = view.search(self._queries[case.query], COUNT, allowed=allowed)
            times.append(1000 * (time.perf_counter() - started))
            answers.append(np.searchsorted(self._ids, found.ids))
        return answers, times

    def _evaluated(self, cases: list[Filtered]) -> float:
        """Milliseconds for the filters alone; a store of its own, that has seen none of them."""
        store, times = Store(self._store.folder), []
        for case in [cases[0], *cases]:
            view = store.view()
            assert view is not None
            started = time.perf_counter()
            view.allowed(case.condition, include_missing=False)
            times.append(1000 * (time.perf_counter() - started))
        store.close()
        return median(times[2:])

    def _timed(
        self, search: Callable[[Floats, IdSet], NDArray[np.int64]], cases: list[Filtered], sets: list[IdSet]
    ) -> tuple[list[NDArray[np.int64]], float]:
        answers, times = [], []
        for case, allowed in zip(cases, sets, strict=True):
            allowed.position_bits  # noqa: B018 - computed before the clock runs
            started = time.perf_counter()
            answers.append(search(self._queries[case.query], allowed))
            times.append(1000 * (time.perf_counter() - started))
        return answers, median(times)

    def _gathered(self, query: Floats, allowed: IdSet) -> NDArray[np.int64]:
        positions = np.flatnonzero(allowed.mapped)
        return self._best(query, positions)

    def _scanned(self, query: Floats, allowed: IdSet) -> NDArray[np.int64]:
        parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(allowed.position_bits))
        found: NDArray[np.int64] = self._flat.search(query[None], COUNT, params=parameters)[1][0]
        return found[found >= 0]

    def _post_filtered(self, query: Floats, allowed: IdSet) -> NDArray[np.int64]:
        found = self._lists.probe(query, POST_FILTERED, self._nearest(query), None)[0]
        return self._best(query, found[allowed.mapped[found]])

    def _fixed(self, query: Floats, allowed: IdSet) -> NDArray[np.int64]:
        selector = faiss.IDSelectorBitmap(allowed.position_bits)
        return self._best(query, self._lists.probe(query, CANDIDATES, self._nearest(query), selector)[0])

    def _nearest(self, query: Floats) -> NDArray[np.int64]:
        """The `nprobe` nearest lists. FAISS would choose by distance along the axes, and score by it as well."""
        return np.argpartition(-self._lists.nearness(query), self._generation.nprobe)[: self._generation.nprobe]

    def _best(self, query: Floats, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        scores = flat_rows(self._flat)[positions].astype(np.float32) @ query
        return positions[np.argsort(-scores, kind="stable")[:COUNT]]

    def _recall(self, cases: list[Filtered], answers: list[NDArray[np.int64]]) -> float:
        parts = []
        for case, found in zip(cases, answers, strict=True):
            scores = np.where(case.allowed, self._scores[case.query], -np.inf)
            best = np.argpartition(-scores, RECALL_AT)[:RECALL_AT]
            best = best[np.isfinite(scores[best])]
            parts.append(np.isin(best, found[:RECALL_AT]).mean() if len(best) else 1.0)
        return float(np.mean(parts))

    def _wrong(self, cases: list[Filtered], answers: list[NDArray[np.int64]]) -> int:
        return sum(int(np.count_nonzero(~case.allowed[found])) for case, found in zip(cases, answers, strict=True))

    def _short(self, cases: list[Filtered], answers: list[NDArray[np.int64]]) -> int:
        return sum(len(found) < min(COUNT, int(case.allowed.sum())) for case, found in zip(cases, answers, strict=True))


def topics_and_queries(captions: Floats) -> tuple[Floats, Floats]:
    """Captions far from one another, and for each those most like it, itself first."""
    chosen = [0]
    while len(chosen) < TOPICS:
        chosen.append(int(np.argmin((captions @ captions[chosen].T).max(axis=1))))
    queries = [
        captions[np.argsort(-(captions @ captions[topic]), kind="stable")[:QUERIES_PER_TOPIC]] for topic in chosen
    ]
    return captions[chosen], np.concatenate(queries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    real = real_vectors(
        options.checkpoint, options.data, options.work, photos=options.photos, captions=options.captions
    )
    stored = grown_vectors(real, options.rows, options.work / f"vectors-{options.rows}.npy")
    vectors = stored.astype(np.float32)
    topics, queries = topics_and_queries(real.captions)
    facts = Facts(vectors, topics)
    library = options.work / f"library-filters-{options.rows}"
    built_library(library, options.checkpoint, stored, facts.of)
    scores = queries @ vectors.T
    del vectors
    use_one_core()
    rows: list[Row] = []
    with threadpool_limits(1):
        faiss.omp_set_num_threads(1)
        measured = Measured(library, queries, scores)
        cases = Cases(facts, len(queries))
        first = measured.first_ms(next(cases.of("dates", 0.01)))
        rows.append(measured.unfiltered())
        for kind in KINDS:
            rows += [measured.row(kind, share, list(cases.of(kind, share))) for share in SHARES]
    rows.append({"filter": "dates, the first filter after opening", "allowed": "1%", "p50 ms": first})
    show(f"{options.rows:,} photos, {len(queries)} queries a row", rows, options.json)


if __name__ == "__main__":
    main()
