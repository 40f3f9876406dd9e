"""Batches on their way through the vision tower: it computes in threads of its own while photos are collected.

    main thread     collect a batch -> hand it over -> collect the next ... -> store what is done, in order
    tower's thread  .................. embed ..................... embed ...

One more batch is handed over than the tower computes at once, so that it never waits for the main thread, neither
while that collects pictures nor while it stores. The store is used by the main thread only.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from photoseek.contracts import Embeddings, FileStore, Outcome, PhotoRead, Picture, ReadResult, VisionTower, WorkItem

BATCH_START = 8
BATCH_MAX = 64
"""A tower that asks for more gets more (`VisionTower.batch_size`)."""
BATCH_SECONDS = 1.0
"""The batch grows while a batch takes less than this, so that a kill costs seconds of work on any machine."""
COMMIT_SECONDS = 5.0
"""Results without pictures to embed (copies, failures) are stored at least this often."""
COMMIT_ITEMS = 512
LONG_RUN_SECONDS = 180.0
"""Embedding that takes longer is worth a minute of finding out how this machine does it fastest."""

Results = list[tuple[WorkItem, ReadResult]]


@dataclass(frozen=True, slots=True)
class TowerSource:
    """Where vision towers come from; either function may take seconds."""

    open: Callable[[], VisionTower]
    """The tower for the first pictures; called in a thread of its own once there is one to embed."""
    open_for_long_run: Callable[[Sequence[Picture], float], VisionTower] | None = None
    """A faster one, given some of the run's pictures and the seconds that embedding will take without it."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Results that are stored together, and the vectors they wait for."""

    results: Results
    digests: list[bytes]
    """Of the pictures in the tower's hands, in the order of their vectors."""
    pictures: list[Picture]
    computed: Future[tuple[Embeddings, float]] | None
    """Vectors (n, dim) and the seconds they took; None where nothing is new."""

    @property
    def is_done(self) -> bool:
        return self.computed is None or self.computed.done()


class EmbeddingRun:
    """Collects results, has their new pictures embedded, and stores them in the order they came.

    Args:
        store: tells which pictures have a vector already.
        commit: stores outcomes, and is told how many vectors were computed for them.
        total: files of the run, from which its length is estimated.
        size: pictures embedded together; None finds it.
    """

    def __init__(
        self,
        store: FileStore,
        towers: TowerSource,
        commit: Callable[[list[Outcome], int], None],
        *,
        total: int,
        size: int | None = None,
    ) -> None:
        self._store, self._towers, self._commit, self._total = store, towers, commit, total
        self._is_fixed = size is not None
        self._size, self._size_max = size or BATCH_START, BATCH_MAX
        self._tower: Future[VisionTower] | None = None
        self._threads, self._at_once = ThreadPoolExecutor(1, "photoseek-embed"), 1
        self._computed_batches = 0
        self.computed_s = 0.0
        """Seconds in which vectors were computed; of several threads, the sum."""
        self._pending: deque[_Batch] = deque()
        self._in_flight: set[bytes] = set()
        self._new_batch()

    def add(self, item: WorkItem, result: ReadResult) -> None:
        """Take one result; stores earlier ones that are done, and waits for one where too many are not.

        Raises:
            PhotoseekError: the tower does not load or computes nothing usable.
        """
        self._results.append((item, result))
        if isinstance(result, PhotoRead):
            self._pictures += 1
            if self._tower is None and not self._store.embedded_pictures([result.picture_digest]):
                self._tower = self._threads.submit(self._towers.open)
        is_due = (
            self._pictures >= self._size
            or len(self._results) >= COMMIT_ITEMS
            or time.monotonic() - self._since >= COMMIT_SECONDS
        )
        if is_due:
            self._hand_over()
        while self._pending and (self._pending[0].is_done or len(self._pending) > self._at_once + 1):
            self._store_oldest()

    def finish(self) -> None:
        """Embed and store what is left. Raises as `add`."""
        self._hand_over()
        self._store_all()

    def close(self) -> None:
        """Drop what is not stored, and wait for the batch that is being computed."""
        self._threads.shutdown(cancel_futures=True)

    def _new_batch(self) -> None:
        self._results: Results = []
        self._pictures = 0
        self._since = time.monotonic()

    def _hand_over(self) -> None:
        photos = {result.picture_digest: result for _item, result in self._results if isinstance(result, PhotoRead)}
        known = self._in_flight | (self._store.embedded_pictures(list(photos)) if photos else set())
        new = {digest: photo.picture for digest, photo in photos.items() if digest not in known}
        pictures = list(new.values())
        computed = self._threads.submit(self._embed, pictures) if pictures else None
        self._pending.append(_Batch(self._results, list(new), pictures, computed))
        self._in_flight |= new.keys()
        self._new_batch()

    def _embed(self, pictures: list[Picture]) -> tuple[Embeddings, float]:
        """Runs in a tower's thread."""
        assert self._tower is not None  # opened with the first picture to embed, in the thread of the first batch
        tower = self._tower.result()
        started = time.monotonic()
        return tower.encode(pictures), time.monotonic() - started

    def _store_all(self) -> None:
        while self._pending:
            self._store_oldest()

    def _store_oldest(self) -> None:
        batch = self._pending.popleft()
        vectors, seconds = batch.computed.result() if batch.computed else ((), 0.0)
        waiting = dict(zip(batch.digests, vectors, strict=True))
        outcomes = []
        for item, result in batch.results:
            vector = waiting.pop(result.picture_digest, None) if isinstance(result, PhotoRead) else None
            outcomes.append(Outcome(item, result, vector))
        self._commit(outcomes, len(batch.digests))
        self._in_flight.difference_update(batch.digests)
        self.computed_s += seconds
        if batch.computed:
            self._learn(batch.pictures, seconds)

    def _learn(self, pictures: list[Picture], seconds: float) -> None:
        """Take what a batch's time says about the rest of the run."""
        assert self._tower is not None
        self._computed_batches += 1
        if self._computed_batches == 1:
            self._use(self._tower)
        if not self._is_fixed and seconds < BATCH_SECONDS:
            self._size = min(self._size_max, self._size * 2)
        # The first batch pays for warming up; the second tells what the whole run will take.
        run_seconds = seconds / len(pictures) * self._total
        if self._computed_batches == 2 and self._towers.open_for_long_run and run_seconds > LONG_RUN_SECONDS:
            self._store_all()  # the machine is quiet then, and no old tower in use
            self._tower = None  # nor in memory, once its source lets go of it
            opened: Future[VisionTower] = Future()
            opened.set_result(self._towers.open_for_long_run(pictures, run_seconds))
            self._use(opened)

    def _use(self, opened: Future[VisionTower]) -> None:
        """Take a tower, with as many threads as it gains from."""
        self._tower, tower = opened, opened.result()
        self._size_max = max(BATCH_MAX, tower.batch_size)
        if tower.batches_at_once != self._at_once:
            self._at_once = tower.batches_at_once
            self._threads.shutdown(wait=False)  # batches that wait there are computed still
            self._threads = ThreadPoolExecutor(self._at_once, "photoseek-embed")
