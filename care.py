"""What a library needs now and then: checks and repair, folders that moved, photos that should be forgotten."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from photoseek.contracts import Root
from photoseek.errors import UsageError
from photoseek.indexing import writing
from photoseek.storage.store import Store

if TYPE_CHECKING:
    from photoseek.storage.verify import VerifyReport


def verify_library(store: Store, *, repair: bool) -> VerifyReport:
    """`PhotoLibrary.verify`."""
    from photoseek.storage import verify as checks

    report = checks.verify(store.catalog, store.folder)
    if repair and (report.problems or report.litter):
        with writing(store), store.model_change_lock():
            mended = checks.verify(store.catalog, store.folder)
            checks.repair(store.catalog, store.folder, mended)
        report = checks.verify(store.catalog, store.folder)
        report.repaired = mended.repaired
    return report


def move_root(store: Store, old: bytes, new: bytes) -> None:
    """`PhotoLibrary.move_root`; both paths are absolute."""
    root = _root_at(store, old)
    if not os.path.isdir(new):
        raise UsageError(f"there is no folder {os.fsdecode(new)}")
    with closing(store.catalog.iter_places(root.id)) as places:
        stand = (os.path.exists(os.path.join(new, place)) for place in places)
        is_moved = next(stand, True) or any(stand)
    if not is_moved:
        raise UsageError(
            f"none of the photos of {os.fsdecode(root.path)} stand in {os.fsdecode(new)}",
            hint='name the folder in which they stand as before; "photoseek index" finds those moved elsewhere',
        )
    with writing(store):
        store.catalog.move_root(root.id, new)


def remove_root(store: Store, path: bytes) -> int:
    """`PhotoLibrary.remove_root`; the path is absolute."""
    root = _root_at(store, path)
    with writing(store):
        removed = store.catalog.forget_files(store.catalog.file_ids(root.id))
        store.catalog.remove_root(root.id)
    return removed


def forget(store: Store, paths: Iterable[bytes], *, missing: bool, dry_run: bool) -> int:
    """`PhotoLibrary.forget`; the paths are absolute."""
    if dry_run:
        return len(_chosen_files(store, paths, missing=missing))
    with writing(store):
        return store.catalog.forget_files(sorted(_chosen_files(store, paths, missing=missing)))


def _chosen_files(store: Store, paths: Iterable[bytes], *, missing: bool) -> set[int]:
    ids = set(store.catalog.missing_ids()) if missing else set()
    for path in paths:
        found = store.catalog.file_ids_at(path)
        if not found:
            raise UsageError(f"{os.fsdecode(path)} is not in this library")
        ids.update(found)
    return ids


def _root_at(store: Store, path: bytes) -> Root:
    for root in store.catalog.roots():
        if root.path == path:
            return root
    raise UsageError(f"{os.fsdecode(path)} is no root of this library", hint='"photoseek roots list" shows them')
