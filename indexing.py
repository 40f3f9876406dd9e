"""Runs that write: wires the indexer to storage and the model, under the library's lock."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from photoseek.binding import ModelBinding
from photoseek.contracts import FileStore, KnownFile, Outcome, Root, WorkItem
from photoseek.errors import LibraryUnreadableError, UsageError
from photoseek.indexer.embedding import TowerSource
from photoseek.indexer.pipeline import IndexOptions, IndexRun
from photoseek.indexer.report import IndexReport, Progress
from photoseek.indexer.scan import leaves_out
from photoseek.indexer.workers import DecodeWorkers
from photoseek.indexer.worklist import Worklist
from photoseek.picture_reader import PictureReader
from photoseek.storage.generations import IndexSettings
from photoseek.storage.spaces import INCOMPLETE, Space
from photoseek.storage.store import Store

log = logging.getLogger(__name__)

APP_ROOT = b"app:"
"""The root of pictures that are no files; no absolute path looks like it."""
MERGE_LOOK_ROWS = 50_000
"""New vectors between two looks, during a run, at whether the delta should be merged."""
CONTENTS_PER_QUERY = 1000

OnProgress = Callable[[Progress], None] | None


@contextmanager
def writing(store: Store) -> Iterator[None]:
    """Hold the library's lock, with its folder and catalog made if need be.

    Raises:
        LibraryBusyError: somebody else is writing.
        LibraryUnreadableError: the folder cannot be made or written.
    """
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LibraryUnreadableError(
            f"the library {store.folder} cannot be made: {error.strerror}", hint="name another folder with --library"
        ) from error
    with store.lock():
        store.create()
        remove_litter(store)
        yield


def remove_litter(store: Store) -> None:
    """Delete what killed processes left under `index/`; the caller holds the writer's lock.

    While a model is being changed, the index of a space that does not answer yet may be half written just now.
    """
    if store.generations.litter():
        changing = not store.model_change_lock().free()
        sparing = [space for space in store.spaces.all() if space.state != "active"] if changing else []
        store.generations.remove_litter(sparing=sparing)


@contextmanager
def writing_space(store: Store, binding: ModelBinding) -> Iterator[Space]:
    """Hold the library's lock with its active space, made if need be.

    The model is looked for before anything is made: one that is not there must not leave an empty library behind.
    """
    if not store.exists:
        binding.requested()
    with writing(store):
        space = store.spaces.active()
        if space is None:
            space = binding.make_space(binding.requested(), state="active")
        else:
            binding.check_request(space)
        yield space


def index_folders(
    store: Store,
    binding: ModelBinding,
    paths: Sequence[bytes] | None,
    options: IndexOptions,
    *,
    workers: int | None = None,
    settings: IndexSettings | None = None,
    on_progress: OnProgress = None,
    cancel: threading.Event | None = None,
) -> IndexReport:
    """`PhotoLibrary.index`."""
    check_paths(paths, store.catalog.roots() if store.exists else [])
    if options.dry_run:
        return _dry_run(store, paths, options, on_progress, cancel)
    with writing_space(store, binding) as space:
        log.info("library %s, model %s (checkpoint %s)", store.folder, space.model, space.checkpoint_digest[:12])
        if settings is not None:
            settings.save(store.catalog)
        roots = store.catalog.roots()
        targets = _targets(roots, paths, store.catalog.add_root)
        files = store.files(space)
        run = index_run(
            files,
            binding,
            space,
            options,
            workers=workers,
            on_progress=on_progress,
            cancel=cancel,
            on_commit=_MergeWatch(store, space),
        )
        run.report.roots_within = _roots_within(roots, targets)
        changes = run.scan(targets, _own_folders(store, targets))
        lists = [change.work for change in changes]
        unended = store.catalog.unended_roots()
        if run.report.cancelled or any(len(worklist) for worklist in lists):
            store.catalog.note_unended(unended | {root.id for root, _under in targets})
        try:
            run.read(lists, [outcome for change in changes for outcome in change.obstacles])
            if run.report.moved:
                gone = [id for change in changes if change.available for id in change.missing_ids]
                run.report.missing = files.count_missing(gone)
            if store.catalog.setting(INCOMPLETE) is not None and not run.report.cancelled:
                roots = store.catalog.roots()
                run.add_roots(roots)
                lists.append(unembedded(store, space, roots))
                run.read(lists[-1:], only_vectors=True)
        finally:
            for worklist in lists:
                worklist.close()
        run.report.replaced = _replaced(store, roots, targets)
        if store.catalog.setting(INCOMPLETE) is not None and not store.spaces.unembedded_contents(space, 1):
            store.catalog.drop_setting(INCOMPLETE)
        if not run.report.cancelled:
            store.catalog.note_unended(unended - {root.id for root, under in targets if not under})
            files.prune()
        _finish(store, space, run.report, on_progress)
        return run.report


def check_paths(paths: Sequence[bytes] | None, roots: Sequence[Root]) -> None:
    """Refuse a run that has nothing to go on, before anything is made.

    Raises:
        UsageError: a path that is neither a folder nor a root of old; no path for a library without roots.
    """
    known = {root.path for root in roots}
    away = [root.rstrip(b"/") + b"/" for root in known if not os.path.isdir(root)]
    if paths is None:
        if not any(root.kind == "folder" for root in roots):
            raise UsageError("this library has no folders yet", hint='name one: "photoseek index FOLDER"')
        return
    if not paths:
        raise UsageError("no folder to index was given")
    for path in paths:
        name = os.fsdecode(path)
        if path in known or path.startswith(tuple(away)) or os.path.isdir(path):
            continue
        if os.path.exists(path):
            raise UsageError(f"{name} is not a folder", hint="name the folder that the photo lies in")
        raise UsageError(f"there is no folder {name}", hint="check the spelling, or mount its drive first")


def add_picture(store: Store, binding: ModelBinding, reader: PictureReader, data: bytes, id: str) -> None:
    """`PhotoLibrary.add`: a picture that is no file.

    Raises:
        UsageError: the id is no text.
        PhotoUnreadableError: the bytes are no picture that can be read.
    """
    name = app_name(id)
    if name is None:
        raise UsageError(f"{id!r} cannot be the id of a picture: it is no text")
    with writing_space(store, binding) as space:
        photo = reader.read(data, f"the picture {id!r}", binding.preprocessing(space))
        files = store.files(space)
        vector = None
        if not files.embedded_pictures([photo.picture_digest]):
            vector = binding.vision(space).encode([photo.picture])[0]
        root = store.catalog.add_root(APP_ROOT, "app")
        row = files.known_files(root.id, b"").get(name)
        item = WorkItem(root.id, b"", name, len(data), 0, KnownFile._make(row).id if row else None)
        files.record([Outcome(item, photo, vector)])
        files.prune()
        store.generations.merge_if_due(space, IndexSettings.load(store.catalog), finishing=True)


def app_name(id: str) -> bytes | None:
    """The name by which a picture of an app is stored; None for what is no text, which no picture has as its id."""
    try:
        return os.fsencode(id)
    except UnicodeEncodeError:
        return None


def index_run(
    files: FileStore,
    binding: ModelBinding,
    space: Space,
    options: IndexOptions,
    *,
    workers: int | None,
    on_progress: OnProgress,
    cancel: threading.Event | None,
    on_commit: Callable[[], None] = lambda: None,
) -> IndexRun:
    """A run into one space, wired to its decode workers and its tower."""
    return IndexRun(
        files,
        open_reader=lambda: DecodeWorkers(binding.preprocessing(space), workers=workers),
        towers=TowerSource(lambda: binding.vision(space), functools.partial(binding.long_run_vision, space)),
        options=options,
        on_progress=on_progress,
        cancel=cancel,
        on_commit=on_commit,
    )


def _finish(store: Store, space: Space, report: IndexReport, on_progress: OnProgress) -> None:
    if report.cancelled:
        return
    if on_progress is not None:
        on_progress(Progress("merge", 0))
    store.generations.merge_if_due(space, IndexSettings.load(store.catalog), finishing=True)


def _targets(
    known: Sequence[Root], paths: Sequence[bytes] | None, add_root: Callable[[bytes], Root]
) -> list[tuple[Root, bytes]]:
    """(root, sub-folder) for each path; a path inside a root is that root's sub-folder, any other a new root.

    So is a path that the walk over the root above it leaves out, since that walk would take its photos out again.
    Roots that lie in a path are looked at, too: each is walked as itself. Nothing comes twice, also when a path lies
    in another one.
    """
    roots = [root for root in known if root.kind == "folder"]
    if paths is None:
        return [(root, b"") for root in roots]
    targets: list[tuple[Root, bytes]] = []
    for path in sorted(set(paths)):  # a folder comes before what lies in it
        above = [root for root in roots if _lies_in(path, root.path)]
        root = max(above, key=lambda root: len(root.path), default=None)
        under = path[len(root.path) :].strip(b"/") if root is not None else b""
        if root is None or (os.path.isdir(path) and leaves_out(root.path, under)):
            root, under = add_root(path), b""
            roots.append(root)
        inner = [(inner, b"") for inner in roots if inner != root and _lies_in(inner.path, path)]
        for target in [(root, under), *inner]:
            if not any(other == target[0] and _lies_in(target[1], part) for other, part in targets):
                targets.append(target)
    return targets


def _lies_in(path: bytes, folder: bytes) -> bool:
    """Is it this folder, or below? The empty folder holds everything."""
    return not folder or (path + b"/").startswith(folder.rstrip(b"/") + b"/")


def _roots_within(known: Sequence[Root], targets: Sequence[tuple[Root, bytes]]) -> list[Path]:
    """Roots of old in which a new one would have found its photos."""
    old = {root.path for root in known if root.kind == "folder"}
    new = {root.path for root, _under in targets} - old
    return [Path(os.fsdecode(path)) for path in sorted(old) if any(_lies_in(path, folder) for folder in new)]


def _replaced(store: Store, known: Sequence[Root], targets: Sequence[tuple[Root, bytes]]) -> list[tuple[Path, Path]]:
    """Roots of old that cannot be reached, each with a new one that has all of its photos."""
    old = {root.id for root in known}
    new = {root.id: root for root, _under in targets if root.id not in old}
    return [
        (Path(os.fsdecode(away.path)), Path(os.fsdecode(root.path)))
        for away in known
        if away.kind == "folder" and new and not os.path.isdir(away.path)
        for root in new.values()
        if store.catalog.has_all_of(root.id, away.id)
    ]


def _own_folders(store: Store, targets: Sequence[tuple[Root, bytes]]) -> list[bytes]:
    """Folders that no walk enters from above: the roots, each walked as itself, and the library."""
    known = store.catalog.roots() if store.exists else []
    roots = [*known, *(root for root, _under in targets)]
    return [os.fsencode(store.folder), *(root.path for root in roots if root.kind == "folder")]


def _dry_run(
    store: Store,
    paths: Sequence[bytes] | None,
    options: IndexOptions,
    on_progress: OnProgress,
    cancel: threading.Event | None,
) -> IndexReport:
    """Compare only. New roots get numbers that the catalog does not know, so that they have no files in it."""
    numbers = itertools.count(-1, -1)
    roots = store.catalog.roots() if store.exists else []
    targets = _targets(roots, paths, lambda path: Root(next(numbers), path, "folder", True, None))
    with _catalog_to_read(store) as readable:
        run = IndexRun(
            readable.files(readable.spaces.active() or Space(0, "", "", "", 0, False, "active")),
            open_reader=_never,
            towers=TowerSource(_never),
            options=options,
            on_progress=on_progress,
            cancel=cancel,
        )
        run.report.roots_within = _roots_within(roots, targets)
        changes = run.scan(targets, _own_folders(store, targets))
        run.read([change.work for change in changes], [])
        return run.report


@contextmanager
def _catalog_to_read(store: Store) -> Iterator[Store]:
    """The library itself; where there is none, an empty one that goes again."""
    if store.exists:
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="photoseek-") as folder:
        empty = Store(Path(folder) / "library")
        empty.folder.mkdir()
        try:
            empty.create()
            yield empty
        finally:
            empty.close()


def _never() -> NoReturn:
    raise AssertionError("a dry run reads no photo")


def unembedded(store: Store, space: Space, roots: Sequence[Root]) -> Worklist:
    """One reachable file below these roots for each visible content without a vector in the space."""
    worklist = Worklist()
    known = {root.id for root in roots}
    after = 0
    while contents := store.spaces.unembedded_contents(space, CONTENTS_PER_QUERY, after):
        after = contents[-1]
        for item in store.files(space).reachable_files(contents):
            if item.root_id in known:
                worklist.add(item)
    return worklist


class _MergeWatch:
    """Looks now and then whether a long run should merge its vectors into the index."""

    def __init__(self, store: Store, space: Space) -> None:
        self._store = store
        self._space = space
        self._looked_at = 0

    def __call__(self) -> None:
        newest = self._store.spaces.newest_embedding()
        if newest - self._looked_at >= MERGE_LOOK_ROWS:
            self._looked_at = newest
            self._store.generations.merge_if_due(self._space, IndexSettings.load(self._store.catalog), finishing=False)
