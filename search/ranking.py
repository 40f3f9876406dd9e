"""Candidates into matches: exact order, ties by path, copies folded into one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photoseek.contracts import PhotoRow, VectorStore
from photoseek.errors import UsageError
from photoseek.search.results import Match, Photo, Results, taken_time

SPARE = 16
"""Candidates beyond the page, so that a tie across its edge is broken by path and not by chance."""
FILE_ID_PREFIX = "file-"


def rank(
    store: VectorStore,
    query: NDArray[np.float32],
    *,
    limit: int,
    offset: int = 0,
    allowed: NDArray[np.int64] | None = None,
    exact: bool = False,
    include_missing: bool = False,
    online: Callable[[bytes], bool] = lambda root: True,
    undated: int = 0,
) -> Results:
    """The matches from `offset` on, `limit` of them, by cosine with `query` (a unit vector), ties by path.

    Args:
        allowed: ascending embedding ids to search among; all visible ones without it.
        exact: score every vector, also where inverted lists would serve.
        online: can files below this root path be opened now?
    Raises:
        UsageError: a negative limit or offset.
    """
    if limit < 0 or offset < 0:
        raise UsageError("limit and offset must not be negative")
    wanted = offset + limit
    candidates = store.search(query, wanted + SPARE, allowed=allowed, exact=exact)
    scores = dict(zip(candidates.ids.tolist(), candidates.scores.tolist(), strict=True))
    cut = candidates.scores[min(wanted, len(scores)) - 1] if scores and wanted else np.inf
    kept = [id for id, score in scores.items() if score >= cut]
    photos = fold(store.rows(kept, include_missing=include_missing), online)
    ordered = sorted(photos.items(), key=lambda pair: (-scores[pair[0]], _path_key(pair[1])))
    page = ordered[offset:wanted]
    return Results(
        [
            # The score is float32; as such it is written, so that a printed one compares equal to a computed one.
            Match(**_fields(photo), score=float(scores[id]), rank=offset + number)
            for number, (id, photo) in enumerate(page, start=1)
        ],
        exact=candidates.exact,
        undated=undated,
    )


def fold(rows: Iterable[PhotoRow], online: Callable[[bytes], bool]) -> dict[int, Photo]:
    """One photo for each embedding: all files that show the picture, those that can be opened first, by path."""
    by_embedding: dict[int, list[PhotoRow]] = {}
    for row in rows:
        by_embedding.setdefault(row.embedding_id, []).append(row)
    reachable = {
        root: kind == "app" or (state and online(root))
        for root, kind, state in {
            (row.root_path, row.root_kind, row.root_online) for rows in by_embedding.values() for row in rows
        }
    }
    photos = {}
    for embedding_id, group in by_embedding.items():
        group.sort(key=lambda row: (row.missing, not reachable[row.root_path], row.root_kind == "app", row.path))
        photos[embedding_id] = _photo(group, offline=not reachable[group[0].root_path])
    return photos


def _photo(group: list[PhotoRow], *, offline: bool) -> Photo:
    first = group[0]
    paths = tuple(Path(os.fsdecode(row.path)) for row in group if row.root_kind == "folder")
    camera = asdict(first.camera)
    camera["taken_at"] = taken_time(first.camera.taken_at, camera.pop("taken_offset_minutes"))
    return Photo(
        id=photo_id(first),
        path=paths[0] if paths else None,
        paths=paths,
        ids=tuple(photo_id(row) for row in group),
        digest=first.digest.hex(),
        size=first.size,
        modified_at=datetime.fromtimestamp(first.mtime_ns / 1e9, UTC) if first.mtime_ns else None,
        format=first.format,
        width=first.width,
        height=first.height,
        offline=offline,
        missing=first.missing,
        **camera,
    )


def photo_id(row: PhotoRow) -> str:
    """The id that apps see."""
    return os.fsdecode(row.path) if row.root_kind == "app" else f"{FILE_ID_PREFIX}{row.file_id}"


def _path_key(photo: Photo) -> bytes:
    return os.fsencode(photo.path) if photo.path is not None else os.fsencode(photo.id)


def _fields(photo: Photo) -> dict[str, Any]:
    return {name: getattr(photo, name) for name in Photo.__slots__}
