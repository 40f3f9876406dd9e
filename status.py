"""What a library says about itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from photoseek.indexer.report import PhotoTrouble
from photoseek.storage.catalog import FileTrouble
from photoseek.storage.store import Store


@dataclass(frozen=True, slots=True)
class RootStatus:
    """One indexed folder."""

    path: Path
    online: bool
    """As the last run found it."""
    scanned_at: str | None
    """UTC, ISO 8601."""


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
class LibraryStatus:
    """`photos == indexed + failed + skipped + missing`; files are counted, copies too."""

    path: Path
    photos: int
    indexed: int
    failed: int
    skipped: int
    missing: int
    offline: int
    """How many of the indexed photos lie on a root that is offline."""
    failures: tuple[PhotoTrouble, ...]
    skips: tuple[PhotoTrouble, ...]
    roots: tuple[RootStatus, ...]
    model: str | None
    """None while nothing was indexed."""
    dim: int | None
    words: bool
    """Can the model be searched by words?"""
    index: IndexStatus
    bytes: int
    """Size of the library's folder on the disk."""


def read_status(store: Store) -> LibraryStatus:
    """Ask every part of a library's storage once."""
    catalog = store.catalog
    counts = catalog.counts()
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
        roots=tuple(
            RootStatus(Path(os.fsdecode(root.path)), root.online, root.scanned_at)
            for root in catalog.roots()
            if root.kind == "folder"
        ),
        model=space.model if space is not None else None,
        dim=space.dim if space is not None else None,
        words=space is not None and space.has_text,
        index=_index_status(store),
        bytes=sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file()),
    )


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
