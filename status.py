"""What a library says about itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from photoseek.indexer.report import PhotoTrouble
from photoseek.storage.catalog import Catalog, FileTrouble
from photoseek.storage.spaces import Space
from photoseek.storage.store import Store
from photoseek.storage.vectors import BYTES_PER_NUMBER


@dataclass(frozen=True, slots=True)
class RootStatus:
    """One indexed folder."""

    path: Path
    online: bool
    """The last run reached it, and its folder is there now."""
    scanned_at: str | None
    """UTC, ISO 8601."""
    unended: bool
    """A run is reading its photos, or was stopped before it had read all of them; the next one goes on."""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The derived index of the active model's vectors."""

    kind: str
    """`none` (few vectors, read from the catalog), `flat` (exact) or `ivf`."""
    rows: int
    """Vectors in the current generation."""
    delta: int
    """Newer vectors, scanned exactly until the next merge."""
    nlist: int
    nprobe: int
    recall_at_10: float | None
    """Measured against exact search on texts that nprobe was not tuned on; None when the search is exact."""


@dataclass(frozen=True, slots=True)
class SpaceStatus:
    """The vectors of one model."""

    model: str
    state: str
    """`active` (answers searches), `building` (not complete yet) or `retired` (answered before)."""
    dim: int
    words: bool
    """Can it be searched by words?"""
    vectors: int
    bytes: int
    """Of its vectors and its index."""


@dataclass(frozen=True, slots=True)
class BuildStatus:
    """How far the vectors of a new model are; photos are counted once, however many copies there are."""

    model: str
    photos: int
    """Different photos that the library shows."""
    embedded: int
    """How many of them have a vector."""
    away: int
    """How many have none and cannot be reached: on drives that are away, or added by an app."""
    running: bool
    """Is a process at it now? Otherwise `models use` goes on."""


@dataclass(frozen=True, slots=True)
class LibraryStatus:
    """`photos == indexed + failed + skipped + missing`; files are counted, copies too."""

    path: Path
    photos: int
    indexed: int
    failed: int
    skipped: int
    missing: int
    offline: int
    """How many of the indexed photos lie in a root that is not online."""
    failures: tuple[PhotoTrouble, ...]
    skips: tuple[PhotoTrouble, ...]
    missing_in: tuple[tuple[Path, int], ...]
    """Folders with missing files, and how many each has; a whole folder may be a drive that is away."""
    roots: tuple[RootStatus, ...]
    model: str | None
    """None while nothing was indexed."""
    dim: int | None
    words: bool
    """Can the model be searched by words?"""
    index: IndexStatus
    building: tuple[BuildStatus, ...]
    """Models whose vectors are being built beside the active one's."""
    retired: tuple[SpaceStatus, ...]
    """Models that answered before, whose vectors are kept until `models prune`."""
    bytes: int
    """Size of the library's folder on the disk."""


def read_status(store: Store) -> LibraryStatus:
    """Ask every part of a library's storage once."""
    catalog = store.catalog
    roots = read_roots(catalog)
    counts = catalog.counts(away={id for id, root in roots.items() if not root.online})
    troubles = catalog.troubles()
    space = store.spaces.active()
    return LibraryStatus(
        path=store.folder,
        photos=counts.indexed + counts.failed + counts.skipped + counts.missing,
        indexed=counts.indexed,
        failed=counts.failed,
        skipped=counts.skipped,
        missing=counts.missing,
        offline=counts.offline,
        failures=_troubles(troubles, "failed"),
        skips=_troubles(troubles, "skipped"),
        missing_in=tuple((Path(os.fsdecode(folder)), count) for folder, count in catalog.missing_folders()),
        roots=tuple(roots.values()),
        model=space.model if space is not None else None,
        dim=space.dim if space is not None else None,
        words=space is not None and space.has_text,
        index=_index_status(store),
        building=_builds(store),
        retired=tuple(found for found in read_spaces(store) if found.state == "retired"),
        bytes=_folder_bytes(store.folder),
    )


def read_roots(catalog: Catalog) -> dict[int, RootStatus]:
    """The indexed folders as they are now, by the roots' ids."""
    unended = catalog.unended_roots()
    return {
        root.id: RootStatus(
            Path(os.fsdecode(root.path)), root.online and os.path.isdir(root.path), root.scanned_at, root.id in unended
        )
        for root in catalog.roots()
        if root.kind == "folder"
    }


def read_spaces(store: Store) -> tuple[SpaceStatus, ...]:
    """The vectors of every model, in the order in which the models came."""
    return tuple(read_space(store, space) for space in store.spaces.all())


def read_space(store: Store, space: Space) -> SpaceStatus:
    vectors = store.spaces.count_embeddings(space, 0)
    generation = store.generations.current(space)
    index_bytes = _folder_bytes(generation.folder) if generation is not None else 0
    return SpaceStatus(
        space.model,
        space.state,
        space.dim,
        space.has_text,
        vectors,
        vectors * space.dim * BYTES_PER_NUMBER + index_bytes,
    )


def _builds(store: Store) -> tuple[BuildStatus, ...]:
    building = [space for space in store.spaces.all() if space.state == "building"]
    if not building:
        return ()
    photos, running = store.spaces.count_visible(), not store.model_change_lock().free()
    left = [(space, store.spaces.count_unembedded(space)) for space in building]
    return tuple(
        BuildStatus(space.model, photos, photos - without.total, without.total - without.reachable, running)
        for space, without in left
    )


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a writer removes files meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def _troubles(troubles: Sequence[FileTrouble], state: str) -> tuple[PhotoTrouble, ...]:
    return tuple(
        PhotoTrouble(Path(os.fsdecode(trouble.path)), trouble.reason) for trouble in troubles if trouble.state == state
    )


def _index_status(store: Store) -> IndexStatus:
    space = store.spaces.active()
    generation = store.generations.current(space) if space is not None else None
    if space is None or generation is None:
        rows = store.spaces.count_embeddings(space, 0) if space is not None else 0
        return IndexStatus("none", 0, rows, 0, 0, None)
    return IndexStatus(
        kind="ivf" if generation.nlist else "flat",
        rows=generation.rows,
        delta=store.spaces.count_embeddings(space, generation.last_embedding_id),
        nlist=generation.nlist,
        nprobe=generation.nprobe,
        recall_at_10=generation.recall,
    )
