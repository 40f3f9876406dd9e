"""Groups over a whole library: duplicates, and clusters by day, place or moment."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, get_args

import numpy as np

from photoseek.contracts import Census, PhotoRow
from photoseek.errors import UsageError, check_whole
from photoseek.indexer.report import Progress
from photoseek.search.groups import (
    Cluster,
    ClusterKind,
    DuplicateGroup,
    DuplicateKind,
    Duplicates,
    Places,
    Position,
    best_first,
    by_day,
    by_place,
    by_similarity,
    firsts,
    sharing,
    stars,
)
from photoseek.search.places import known_name
from photoseek.search.ranking import fold, photo_id, photo_of
from photoseek.search.results import Photo
from photoseek.search.similar import Shots, moment_pairs, near, rule_for
from photoseek.storage.neighbours import close_pairs
from photoseek.storage.store import Store, View

PAIRS_AT_ONCE = 16_384
"""Pairs whose vectors are compared together: 2 x 50 MB at 768 numbers a photo."""
ROWS_AT_ONCE = 1024
DUPLICATE_KINDS: tuple[DuplicateKind, ...] = get_args(DuplicateKind)

OnProgress: TypeAlias = Callable[[Progress], None] | None
Pairs: TypeAlias = tuple[Places, Places]


def find_duplicates(
    store: Store, kinds: Sequence[DuplicateKind], limit: int | None, on_progress: OnProgress = None
) -> Duplicates:
    """`PhotoLibrary.duplicates`."""
    unknown = [kind for kind in kinds if kind not in DUPLICATE_KINDS]
    if unknown:
        hint = f"kinds are {_listed(DUPLICATE_KINDS)}"
        raise UsageError(f"there are no duplicates of kind {unknown[0]!r}", hint=hint)
    check_whole(0, optional=True, limit=limit)
    whole = _Whole.of(store)
    if whole is None:
        return Duplicates(groups=(), counts=dict.fromkeys(kinds, 0), saveable_bytes=dict.fromkeys(kinds, 0))
    wanted = [kind for kind in DUPLICATE_KINDS if kind in kinds]
    found = {kind: _duplicates(whole, kind, on_progress) for kind in wanted}
    while (rest := whole.without_gone(found.values())) is not None:
        whole = rest
        found = {kind: _duplicates(whole, kind, on_progress) for kind in wanted}
    saveable = {kind: [_saveable(whole.census, group) for group in groups] for kind, groups in found.items()}
    listed = [
        (saved, kind, group)
        for kind, groups in found.items()
        for saved, group in zip(saveable[kind], groups, strict=True)
    ]
    ordered = sorted(listed, key=lambda one: (-one[0], DUPLICATE_KINDS.index(one[1]), int(one[2][0])))
    return Duplicates(
        groups=tuple(
            DuplicateGroup(kind=kind, photos=whole.photos(group, kind), saveable_bytes=saved)
            for saved, kind, group in ordered[:limit]
        ),
        counts={kind: len(groups) for kind, groups in found.items()},
        saveable_bytes={kind: sum(saved) for kind, saved in saveable.items()},
    )


def find_clusters(
    store: Store, by: ClusterKind, limit: int, offset: int, on_progress: OnProgress = None
) -> list[Cluster]:
    """`PhotoLibrary.clusters`."""
    if by not in get_args(ClusterKind):
        raise UsageError(f"photos cannot be grouped by {by!r}", hint=f"they can by {_listed(get_args(ClusterKind))}")
    check_whole(0, limit=limit, offset=offset)
    whole = _Whole.of(store)
    if whole is None:
        return []
    pictures = firsts(whole.census.embedding_ids, whole.order)
    page = slice(offset, offset + limit)
    match by:
        case "day":
            labelled = by_day(whole.census, pictures)[page]
        case "place":
            labelled = [(_place(where), places) for where, places in by_place(whole.census, pictures)[page]]
        case "similar":
            moments = by_similarity(pictures, _near_groups(whole, pictures, on_progress))
            labelled = [("", moment) for moment in moments[page]]
    clusters = (whole.cluster(by, label, places) for label, places in labelled)
    return [cluster for cluster in clusters if cluster is not None]


def _place(position: Position | None) -> str:
    """The degrees, after the nearest city where the names of cities are installed."""
    if position is None:
        return "no place"
    city, degrees = known_name(*position), f"{position[0]:.2f}, {position[1]:.2f}"
    return f"{city} ({degrees})" if city else degrees


def _duplicates(whole: _Whole, kind: DuplicateKind, on_progress: OnProgress) -> list[Places]:
    census = whole.census
    if kind == "bytes":
        return sharing(census.content_ids, whole.order)
    if kind == "pictures":
        return sharing(census.embedding_ids, firsts(census.content_ids, whole.order))
    return _near_groups(whole, firsts(census.embedding_ids, whole.order), on_progress)


def _near_groups(whole: _Whole, pictures: Places, on_progress: OnProgress) -> list[Places]:
    """Groups of near pictures; `pictures` has one file of each, the best first."""
    rule = rule_for(whole.view.space.model)
    census = whole.census.take(pictures)
    taken_s = census.taken_at.astype(np.int64) / 1000.0
    taken_s[np.isnat(census.taken_at)] = np.nan

    def shots(places: Places) -> Shots:
        vectors = whole.view.vectors(census.embedding_ids[places].tolist())
        return Shots(vectors, census.fingerprints[places], taken_s[places], census.cameras[places])

    def candidates() -> Iterator[Pairs]:
        for done, left, right in close_pairs(census.fingerprints, rule.most_bits):
            if on_progress is not None:
                on_progress(Progress("compare", done, len(census)))
            yield left, right
        yield from moment_pairs(taken_s)
        if rule.cosine_alone is not None:
            yield from _close_vectors(whole.view, census, rule.cosine_alone)

    left, right = [], []
    for some_left, some_right in _batched(candidates()):
        holds = near(shots(some_left), shots(some_right), rule)
        left.append(some_left[holds])
        right.append(some_right[holds])
    groups = stars(len(pictures), _joined(left), _joined(right))
    return [pictures[np.array(group)] for group in groups]


def _close_vectors(view: View, census: Census, least_cosine: float) -> Iterator[Pairs]:
    """Pairs with a high cosine of which one at least has no fingerprint, by comparing each with all."""
    unmarked = np.flatnonzero(census.fingerprints == 0)
    if not len(unmarked):
        return
    vectors = view.vectors(census.embedding_ids.tolist())
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for first in range(0, len(unmarked), ROWS_AT_ONCE):
        some = unmarked[first : first + ROWS_AT_ONCE]
        for start in range(0, len(vectors), PAIRS_AT_ONCE):
            rows, columns = np.nonzero(vectors[some] @ vectors[start : start + PAIRS_AT_ONCE].T >= least_cosine)
            left, right = some[rows], columns + start
            different = left != right
            yield left[different], right[different]


def _batched(parts: Iterable[Pairs]) -> Iterator[Pairs]:
    """The same pairs, at most `PAIRS_AT_ONCE` together."""
    for left, right in parts:
        for first in range(0, len(left), PAIRS_AT_ONCE):
            yield left[first : first + PAIRS_AT_ONCE], right[first : first + PAIRS_AT_ONCE]


def _joined(parts: Sequence[Places]) -> Places:
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


@dataclass(frozen=True)
class _Whole:
    """One consistent look at a library."""

    view: View
    census: Census
    order: Places
    """All files, the best first."""
    online: Callable[[bytes], bool]
    """Can files below this root path be opened now?"""

    @classmethod
    def of(cls, store: Store) -> _Whole | None:
        """None while nothing was indexed."""
        view = store.view()
        if view is None:
            return None
        census = store.census(view.space)
        # A commit may have come between the two looks.
        census = census.take(np.isin(census.embedding_ids, view.snapshot.ids()))
        online = functools.cache(os.path.isdir)
        for root in store.catalog.roots():
            if root.online and root.kind == "folder" and not online(root.path):
                away = np.isin(census.file_ids, store.catalog.file_ids(root.id))
                census = replace(census, online=census.online & ~away)
        return cls(view, census, best_first(census), online)

    def without_gone(self, found: Iterable[Sequence[Places]]) -> _Whole | None:
        """The same without files of these groups that are gone since the last scan; None where none are.

        Who deletes all but the best of a group must not lose the last file.
        """
        grouped = np.concatenate([np.empty(0, dtype=np.int64), *itertools.chain.from_iterable(found)])
        gone = [
            row.file_id
            for row in itertools.chain.from_iterable(self._rows(grouped).values())
            if row.root_kind != "app" and self.online(row.root_path) and not os.path.lexists(row.path)
        ]
        if not gone:
            return None
        census = self.census.take(~np.isin(self.census.file_ids, gone))
        return replace(self, census=census, order=best_first(census))

    def photos(self, places: Places, kind: DuplicateKind) -> tuple[Photo, ...]:
        """What a person sees of a group's files, in its order; near photos with all files that show them."""
        groups = self._rows(places)
        if kind == "near":
            known = places[[id in groups for id in self.census.embedding_ids[places].tolist()]]
            return tuple(self._photo(groups, place) for place in known.tolist())
        rows = {row.file_id: row for group in groups.values() for row in group}
        chosen = [rows[id] for id in self.census.file_ids[places].tolist() if id in rows]
        if kind == "bytes":
            return tuple(photo_of([row], self.online) for row in chosen)
        by_content: dict[bytes, list[PhotoRow]] = {}
        for row in rows.values():
            by_content.setdefault(row.digest, []).append(row)
        return tuple(photo_of(by_content[row.digest], self.online) for row in chosen)

    def cluster(self, by: ClusterKind, label: str, places: Places) -> Cluster | None:
        """The photos at these places, the best first, as a cluster; None where all went away meanwhile."""
        groups = self._rows(places)
        places = places[[id in groups for id in self.census.embedding_ids[places].tolist()]]
        if not len(places):
            return None
        embedding_ids = self.census.embedding_ids[places].tolist()
        taken = self.census.taken_at[places]
        dated = np.sort(taken[~np.isnat(taken)])
        cover = self._photo(groups, int(places[0]))
        earliest = np.argsort(taken, kind="stable")  # NaT comes last
        return Cluster(
            by=by,
            label=label or (cover.path.name if cover.path is not None else cover.id),
            count=len(places),
            cover=cover,
            first=dated[0].item() if len(dated) else None,
            last=dated[-1].item() if len(dated) else None,
            ids=tuple(photo_id(groups[embedding_ids[place]][0]) for place in earliest.tolist()),
        )

    def _photo(self, groups: dict[int, list[PhotoRow]], place: int) -> Photo:
        """The photo with all its files, the file at this place first."""
        file_id = self.census.file_ids[place]
        group = groups[int(self.census.embedding_ids[place])]
        return photo_of(sorted(group, key=lambda row: row.file_id != file_id), self.online)

    def _rows(self, places: Places) -> dict[int, list[PhotoRow]]:
        """The files of each photo, by embedding: those of the census that no commit has hidden since."""
        ids = np.unique(self.census.embedding_ids[places]).tolist()
        rows = self.view.rows(ids)
        known = np.isin([row.file_id for row in rows], self.census.file_ids)
        return fold([row for row, holds in zip(rows, known.tolist(), strict=True) if holds], self.online)


def _saveable(census: Census, group: Places) -> int:
    return int(census.sizes[group[1:]].sum())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
