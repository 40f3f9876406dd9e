"""A run of the indexer: scan the roots, read what is new or changed, embed it, store it in small transactions."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from photoseek.contracts import (
    DecodeJob,
    FileStore,
    Outcome,
    PhotoReader,
    ReadFailure,
    ReadResult,
    Recorded,
    Root,
    WorkItem,
)
from photoseek.indexer.changes import RootChanges
from photoseek.indexer.embedding import EmbeddingRun, TowerSource
from photoseek.indexer.formats import NameVerdict, judge_name
from photoseek.indexer.report import IndexReport, PhotoTrouble, Progress
from photoseek.indexer.worklist import Worklist

log = logging.getLogger(__name__)

LOOKAHEAD = 256
"""Files whose sizes are looked up together before they are read."""
PROGRESS_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How to run; the defaults suit a first run and every later one."""

    retry_failed: bool = False
    dry_run: bool = False
    batch_size: int | None = None
    """Pictures embedded together; None finds it by itself."""


class IndexRun:
    """One run over some roots. Results are stored as it goes: killing it loses at most the batches in work."""

    def __init__(
        self,
        store: FileStore,
        *,
        open_reader: Callable[[], PhotoReader],
        towers: TowerSource,
        options: IndexOptions,
        on_progress: Callable[[Progress], None] | None = None,
        cancel: threading.Event | None = None,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self.report = IndexReport()
        self._store = store
        self._open_reader = open_reader
        self._towers = towers
        self._options = options
        self._on_progress = on_progress
        self._cancel = cancel or threading.Event()
        self._on_commit = on_commit
        self._roots: dict[int, bytes] = {}
        self._progress_due = 0.0
        self._scanned = 0

    def scan(self, targets: Sequence[tuple[Root, bytes]], own_folders: Iterable[bytes]) -> list[RootChanges]:
        """Compare each (root, sub-folder or empty) with the catalog and store what became of its known files.

        `own_folders` are not walked as parts of a root above them: other roots, and the library itself.
        """
        folders = frozenset(own_folders)
        changes = []
        self.add_roots(root for root, _under in targets)
        for root, under in targets:
            if self._cancel.is_set():
                self.report.cancelled = True
                break
            started = time.monotonic()
            change = RootChanges(
                self._store,
                root,
                under,
                may_be_picture=_may_be_picture,
                retry_failed=self._options.retry_failed,
                other_roots=folders - {root.path},
                on_folder=self._count_scanned,
            )
            _tell_scan(change, time.monotonic() - started)
            if not self._options.dry_run:
                change.apply()
            self._add_scan(change)
            changes.append(change)
        return changes

    def add_roots(self, roots: Iterable[Root]) -> None:
        """Say where the items of these roots lie."""
        self._roots.update((root.id, root.path) for root in roots)

    def read(
        self, worklists: Sequence[Worklist], obstacles: Sequence[Outcome] = (), *, only_vectors: bool = False
    ) -> None:
        """Read, embed and store the files on the worklists; `obstacles` are failures that need no reading.

        With `only_vectors` they are files that the scan has counted already, which lack a vector.
        """
        total = sum(map(len, worklists))
        if self._options.dry_run:
            self.report.to_read = total
            return
        self._commit(obstacles)
        if not total:
            return

        def commit(outcomes: Sequence[Outcome], embedded: int) -> None:
            self._commit(outcomes, only_vectors)
            self.report.embedded += embedded

        embedding = EmbeddingRun(self._store, self._towers, commit, total=total, size=self._options.batch_size)
        started, done, waited = time.monotonic(), 0, 0.0
        reader = self._open_reader()
        try:
            asked = time.monotonic()
            for item, result in self._results(reader, worklists):
                waited += time.monotonic() - asked
                embedding.add(item, result)
                done += 1
                self._tell(Progress("index", done, total, self.report.failed, *_pace(started, done, total)))
                if self._cancel.is_set():
                    break
                asked = time.monotonic()
            embedding.finish()
        finally:
            reader.close()
            embedding.close()
        log.info(
            "%d files read and %d pictures embedded in %.1f s: %.1f s of waiting for files to be decoded, %.1f s of"
            " computing vectors beside it",
            done,
            self.report.embedded,
            time.monotonic() - started,
            waited,
            embedding.computed_s,
        )
        self._tell(Progress("index", done, total, self.report.failed, *_pace(started, done, total)), force=True)
        self.report.cancelled = self._cancel.is_set()

    def _results(self, reader: PhotoReader, worklists: Sequence[Worklist]) -> Iterator[tuple[WorkItem, ReadResult]]:
        waiting: dict[int, WorkItem] = {}

        def jobs() -> Iterator[DecodeJob]:
            items = itertools.chain.from_iterable(worklists)
            key = 0
            while chunk := list(itertools.islice(items, LOOKAHEAD)):
                known = self._store.digests_of_sizes([item.size for item in chunk])
                for item in chunk:
                    if self._cancel.is_set():
                        return
                    waiting[key] = item
                    yield DecodeJob(key, self._path(item), known=known.get(item.size, frozenset()))
                    key += 1

        for job, result in reader.read(jobs()):
            yield waiting.pop(job.key), result

    def _path(self, item: WorkItem) -> bytes:
        return os.path.join(self._roots[item.root_id], item.folder, item.name)

    def _commit(self, outcomes: Sequence[Outcome], only_vectors: bool = False) -> None:
        if not outcomes:
            return
        report = self.report
        for outcome, recorded in zip(outcomes, self._store.record(outcomes), strict=True):
            if recorded is Recorded.INDEXED:
                report.indexed += not only_vectors
            elif recorded is Recorded.MOVED:
                report.moved += 1
                report.unchanged += 1
            elif recorded is Recorded.FAILED:
                report.failed += 1
                report.failures.append(self._trouble(outcome))
            elif recorded is Recorded.SKIPPED:
                report.skipped += 1
                report.skips.append(self._trouble(outcome))
            elif recorded is Recorded.IGNORED:
                report.ignored += 1
        self._on_commit()

    def _trouble(self, outcome: Outcome) -> PhotoTrouble:
        assert isinstance(outcome.result, ReadFailure)
        trouble = PhotoTrouble(Path(os.fsdecode(self._path(outcome.item))), outcome.result.reason)
        log.info("%s: %s", trouble.path, trouble.reason)
        return trouble

    def _add_scan(self, change: RootChanges) -> None:
        report, found = self.report, change.report
        if not change.available:
            report.offline.append(Path(os.fsdecode(os.path.join(change.root.path, change.under).rstrip(b"/") or b"/")))
            change.obstacles.clear()
            change.work.clear()
            return
        for name in ("unchanged", "failed", "skipped", "ignored", "returned"):
            setattr(report, name, getattr(report, name) + getattr(found, name))
        report.missing += change.missing
        report.unreadable_folders += found.unreadable_folders
        report.bad_rules += found.bad_rules

    def _count_scanned(self, files: int) -> None:
        self._scanned += files
        self._tell(Progress("scan", self._scanned))

    def _tell(self, progress: Progress, *, force: bool = False) -> None:
        now = time.monotonic()
        if self._on_progress is not None and (force or now >= self._progress_due):
            self._progress_due = now + PROGRESS_SECONDS
            self._on_progress(progress)


def _tell_scan(change: RootChanges, seconds: float) -> None:
    """Log what a walk found."""
    folder = os.fsdecode(os.path.join(change.root.path, change.under).rstrip(b"/") or b"/")
    if not change.available:
        log.info("%s cannot be reached, or is empty", folder)
        return
    log.info(
        "%s looked at in %.1f s: folders %d, files %d, of these new %d, changed or to be tried again %d, unchanged %d;"
        " missing %d, back %d",
        folder,
        seconds,
        change.folders,
        change.files,
        change.new,
        len(change.work) - change.new,
        change.report.unchanged,
        change.missing,
        change.report.returned,
    )


def _may_be_picture(name: bytes) -> bool:
    """Is a file of this name worth opening? Unknown extensions are: the reader goes by content."""
    return judge_name(name) is not NameVerdict.OTHER


def _pace(started: float, done: int, total: int) -> tuple[float | None, float | None]:
    """(files a second, seconds left) after `done` files; None before a figure makes sense."""
    seconds = time.monotonic() - started
    if done == 0 or seconds < 0.5:
        return None, None
    rate = done / seconds
    return rate, (total - done) / rate
