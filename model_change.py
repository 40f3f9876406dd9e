"""Changing a library's model: vectors of the new one are built beside those that answer, while others read and write.

Reading and embedding photos needs no lock. Each batch is stored under the writer's lock, which is held for
milliseconds, and so is the switch at the end; an `index`, `add` or `forget` that comes meanwhile gets its turn, and
this run waits for it. What others add, move, forget or bring back is seen by looking again, until a look finds
nothing more to embed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from photoseek.binding import ModelBinding
from photoseek.errors import Cancelled, LibraryNotFoundError, StorageFullError, UsageError
from photoseek.indexer.pipeline import IndexOptions
from photoseek.indexer.report import IndexReport, Progress
from photoseek.indexing import OnProgress, index_run, unembedded, writing
from photoseek.status import SpaceStatus, read_space
from photoseek.storage.generations import IndexSettings
from photoseek.storage.spaces import Space
from photoseek.storage.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelChange:
    """What came of changing the model."""

    switched: bool
    """False while photos wait: then the old model still answers."""
    report: IndexReport
    """`indexed`: photos that got a vector; `failures`: those that could not be read, whose state has not changed."""
    waiting: int
    """Different photos without a vector of the new model."""
    unread: int
    """Those of them whose folder is there: changed or moved since the last `index`, or unreadable now. The others are
    on drives that are away, or an app has to add them again."""


def change_model(
    store: Store,
    binding: ModelBinding,
    model: str | Path,
    *,
    leave_waiting: bool = False,
    workers: int | None = None,
    on_progress: OnProgress = None,
    cancel: threading.Event | None = None,
) -> ModelChange:
    """`PhotoLibrary.use_model`.

    Raises:
        LibraryNotFoundError: there is no library.
        LibraryBusyError: somebody else is changing the model, or was writing when this began.
    """
    from photoseek.aimv2 import open_checkpoint

    if not store.exists:
        raise LibraryNotFoundError(store.folder)
    checkpoint = open_checkpoint(model)
    if store.spaces.active() is None:
        with writing(store):
            binding.make_space(checkpoint, state="active")
    with _changing(store):
        space = binding.make_space(checkpoint, state="building", committing=lambda: store.brief_lock(cancel))
        if space.state == "active":
            return ModelChange(True, IndexReport(), 0, 0)
        return _Build(store, binding, space, leave_waiting, workers, on_progress, cancel).run()


@contextmanager
def _changing(store: Store) -> Iterator[None]:
    """Be the only one who builds or removes spaces. The lock for it is taken under the writer's, and outlasts it."""
    with ExitStack() as held:
        with store.brief_lock(patient=False):
            held.enter_context(store.model_change_lock())
            store.create()
            store.generations.remove_litter()
        yield


class _Build:
    """One run that completes a space and lets it answer."""

    def __init__(
        self,
        store: Store,
        binding: ModelBinding,
        space: Space,
        leave_waiting: bool,
        workers: int | None,
        on_progress: OnProgress,
        cancel: threading.Event | None,
    ) -> None:
        self._store = store
        self._binding = binding
        self._space = space
        self._leave_waiting = leave_waiting
        self._workers = workers
        self._on_progress = on_progress
        self._cancel = cancel
        self._report = IndexReport()

    def run(self) -> ModelChange:
        try:
            while not self._report.cancelled:
                listed, stored = self._embed()
                if stored or self._report.cancelled:
                    continue  # look again: others may have added, moved or brought back photos
                self._merge()
                change = self._switch(listed)
                if change is not None:
                    return change
        except Cancelled:
            self._report.cancelled = True
        left = self._store.spaces.count_unembedded(self._space)
        return ModelChange(False, self._report, left.total, left.reachable)

    def _embed(self) -> tuple[int, int]:
        """Embed every reachable photo without a vector; returns how many were listed, and how many were stored."""
        store, report = self._store, self._report
        roots = store.catalog.roots()  # before their files: others may add and remove some meanwhile
        worklist = unembedded(store, self._space, roots)
        try:
            if len(worklist) and self._space.state == "retired":
                with store.brief_lock(self._cancel):
                    store.spaces.set_building(self._space)
            run = index_run(
                store.building_files(self._space, self._cancel),
                self._binding,
                self._space,
                IndexOptions(),
                workers=self._workers,
                on_progress=self._on_progress,
                cancel=self._cancel,
            )
            run.add_roots(roots)
            run.read([worklist])
        finally:
            worklist.close()
        found = run.report
        report.indexed += found.indexed
        report.embedded += found.embedded
        report.failed, report.failures = found.failed, found.failures  # those of the last look are all there are
        report.cancelled = found.cancelled
        return len(worklist), found.indexed

    def _merge(self) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress("merge", 0))
        settings = IndexSettings.load(self._store.catalog)
        self._store.building_generations(self._cancel).merge_if_due(self._space, settings, finishing=True)

    def _switch(self, listed: int) -> ModelChange | None:
        """Let the space answer; None when there is more to embed than the `listed` photos that could not be."""
        spaces = self._store.spaces
        with self._store.brief_lock(self._cancel):
            left = spaces.count_unembedded(self._space)
            if left.reachable > listed:
                return None
            switched = self._leave_waiting or not left.total
            if switched:
                spaces.activate(self._space, incomplete=left.total > 0)
                log.info("%s answers now, %d photos wait", self._space.model, left.total)
        return ModelChange(switched, self._report, left.total, left.reachable)


def prunable(store: Store, model: str | None = None) -> list[Space]:
    """Spaces that no search needs: the retired ones, or those of one model, half-built ones too.

    Raises:
        UsageError: the named model answers, or has no vectors here.
    """
    spaces = store.spaces.all()
    if model is None:
        return [space for space in spaces if space.state == "retired"]
    named = [space for space in spaces if space.model in (model, os.path.abspath(model))]
    if not named:
        raise UsageError(
            f"this library holds no vectors of the model {model}", hint='"photoseek models list" shows whose it holds'
        )
    unused = [space for space in named if space.state != "active"]
    if not unused:
        raise UsageError(
            f"the model {model} answers this library's searches", hint='let another one answer first: "models use"'
        )
    return unused


def prune_models(store: Store, model: str | None = None, *, dry_run: bool = False) -> tuple[SpaceStatus, ...]:
    """`PhotoLibrary.prune_models`."""
    if dry_run:
        return tuple(read_space(store, space) for space in prunable(store, model))
    with writing(store), store.model_change_lock():
        spaces = prunable(store, model)
        removed = tuple(read_space(store, space) for space in spaces)
        for space in spaces:
            store.spaces.remove(space)
        store.generations.remove_litter()
        try:
            store.catalog.shrink()
        except StorageFullError as error:
            log.warning("the catalog keeps its size, and uses the free part for new photos: %s", error)
    return removed
