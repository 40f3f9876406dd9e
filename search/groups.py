"""Groups of files of a whole library: the same bytes, the same picture, one moment, one day, one place.

Places here are positions in a `Census`; groups are arrays of them, the best file first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from photoseek.contracts import Census
from photoseek.search.results import Photo

DuplicateKind: TypeAlias = Literal["bytes", "pictures", "near"]
ClusterKind: TypeAlias = Literal["day", "place", "similar"]
Places: TypeAlias = NDArray[np.int64]
Position: TypeAlias = tuple[float, float]
"""Latitude and longitude in degrees."""

PLACE_KM = 5.0
"""A place of `clusters(by="place")` is a circle of this radius: a town, or a part of a city."""
CELLS_PER_DEGREE = 100
"""Photos within about a kilometre are moved together: so a place is decided by few cells instead of many photos."""
EARTH_RADIUS_KM = 6371.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateGroup:
    """Files of which one would do."""

    kind: DuplicateKind
    """`bytes`: copies of one file. `pictures`: other bytes, the same prepared picture, as after an edit of the
    metadata. `near`: one moment, as bursts, resized copies and JPEG beside RAW or HEIC."""
    photos: tuple[Photo, ...]
    """The best first: the largest picture, then RAW, then HEIC before other formats, then the higher rating, more known
    of when and where, more bytes, reachable now, the older file."""
    saveable_bytes: int
    """Of all but the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """What `duplicates` found. Nothing is ever deleted."""

    groups: tuple[DuplicateGroup, ...]
    """Those that save most first."""
    counts: dict[DuplicateKind, int]
    """How many groups of each kind there are in all, whatever the limit."""
    saveable_bytes: dict[DuplicateKind, int]
    """Of all groups of a kind. The kinds add up: each leaves out what the one before has counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Photos of one day, place or moment."""

    by: ClusterKind
    label: str
    """The day as `2024-06-12`, the middle of the place as `45.44, 12.33`, the cover's file name; `undated` and
    `no place` for the photos of which nobody knows."""
    count: int
    cover: Photo
    """The best of them."""
    first: datetime | None
    """Local time of the earliest photo; None where none has a date."""
    last: datetime | None
    ids: tuple[str, ...]
    """The ids of all of them, the earliest first."""


def best_first(census: Census) -> Places:
    """All files, those to keep first (`DuplicateGroup.photos`); the last word has the file id."""
    ages = np.where(census.mtimes_ns > 0, census.mtimes_ns, np.iinfo(np.int64).max)
    keys = (
        census.file_ids,
        ages,
        ~census.online,
        -census.sizes,
        -census.facts,
        -census.ratings,
        -census.originals,
        -census.pixels,
    )
    return np.lexsort(keys).astype(np.int64)  # the last key counts most


def firsts(keys: Places, order: Places) -> Places:
    """For each key its first file in the order; they come in that order."""
    _, first = np.unique(keys[order], return_index=True)
    return order[np.sort(first)]


def sharing(keys: Places, order: Places) -> list[Places]:
    """Groups of at least two files with one key, each in the order."""
    sorted_by_key = order[np.argsort(keys[order], kind="stable")]
    cuts = np.flatnonzero(np.diff(keys[sorted_by_key])) + 1
    return [group for group in np.split(sorted_by_key, cuts) if len(group) > 1]


def stars(count: int, left: Places, right: Places) -> list[list[int]]:
    """Groups of things 0 to count - 1, best first, by pairs of them that belong together.

    In order, each thing joins the best centre that it is paired with, or becomes a centre. A thing that has joined
    draws no others after it, so that chains do not grow into one group: 500 photos along a beach, each like the
    next, stay many groups. `similar.fold_similar` groups in the same way. Only groups of at least two are returned.
    """
    sources, targets = np.concatenate([left, right]), np.concatenate([right, left])
    order = np.lexsort((targets, sources))
    sources, targets = sources[order], targets[order]
    nodes, starts = np.unique(sources, return_index=True)
    ends = [*starts[1:].tolist(), len(sources)]
    centre = np.arange(count)
    groups: dict[int, list[int]] = {}
    for node, start, end in zip(nodes.tolist(), starts.tolist(), ends[: len(nodes)], strict=True):
        paired = targets[start:end]
        better = paired[paired < node]
        centres = better[centre[better] == better]
        if len(centres):
            centre[node] = centres[0]
            groups[int(centres[0])].append(node)
        else:
            groups[node] = [node]
    return [group for group in groups.values() if len(group) > 1]


def by_day(census: Census, places: Places) -> list[tuple[str, Places]]:
    """The files by the local day on which they were taken, the newest day first, undated ones last."""
    days = census.taken_at[places].astype("datetime64[D]")
    dated = ~np.isnat(days)
    found, numbers = np.unique(days[dated], return_inverse=True)
    parts = _parted(places[dated], numbers, len(found))
    clusters = [(str(day), part) for day, part in zip(found, parts, strict=True)][::-1]
    return clusters + ([("undated", places[~dated])] if not dated.all() else [])


def by_place(census: Census, places: Places) -> list[tuple[Position | None, Places]]:
    """The files by where they were taken: circles of `PLACE_KM`, those with most photos first.

    Photos are moved together into cells of a hundredth of a degree. The cell with most photos becomes the middle of
    a place and takes all cells within the radius; so on with what is left. Ties go to the south, then to the west.
    The files without a position come last, with None.
    """
    latitudes, longitudes = census.latitudes[places], census.longitudes[places]
    known = ~(np.isnan(latitudes) | np.isnan(longitudes))
    degrees = np.stack([latitudes[known], longitudes[known]], axis=1)
    cells, numbers, counts = np.unique(
        np.round(degrees * CELLS_PER_DEGREE).astype(np.int64), axis=0, return_inverse=True, return_counts=True
    )
    middles = cells / CELLS_PER_DEGREE
    place_of_cell = np.full(len(cells), -1)
    taken: list[Position | None] = []
    for cell in np.lexsort((cells[:, 1], cells[:, 0], -counts)).tolist():
        if place_of_cell[cell] < 0:
            free = np.flatnonzero(place_of_cell < 0)
            near = free[distances_km(middles[cell], middles[free]) <= PLACE_KM]
            place_of_cell[near] = len(taken)
            taken.append((float(middles[cell][0]), float(middles[cell][1])))
    parts = _parted(places[known], place_of_cell[numbers.ravel()], len(taken))
    clusters = list(zip(taken, parts, strict=True))
    clusters.sort(key=lambda cluster: -len(cluster[1]))
    return clusters + ([(None, places[~known])] if not known.all() else [])


def _parted(places: Places, numbers: NDArray[np.int64], count: int) -> list[Places]:
    """Places by their numbers from 0 to count - 1, each part in the order it had."""
    cuts = np.searchsorted(np.sort(numbers), np.arange(1, count))
    return np.split(places[np.argsort(numbers, kind="stable")], cuts) if count else []


def distances_km(point: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Great-circle distances (haversine) from one (latitude, longitude) to others (n, 2), in degrees."""
    phi, lam = np.radians(point)
    phis, lams = np.radians(others).T
    half = np.sin((phis - phi) / 2) ** 2 + np.cos(phi) * np.cos(phis) * np.sin((lams - lam) / 2) ** 2
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0))))


def by_similarity(places: Places, groups: Sequence[Places]) -> list[Places]:
    """Groups of near photos, the largest first, then each other photo alone; ties in the order of `places`."""
    grouped = np.concatenate(groups) if groups else places[:0]
    ordered = sorted(groups, key=len, reverse=True)
    return [*ordered, *(places[~np.isin(places, grouped)][:, None])]
