"""What a search returns: photos with what is known of them, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import overload


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """One photo of the library: a picture, at one or several places."""

    id: str
    """`file-N` for files, the app's own id for pictures that an app added."""
    path: Path | None
    """The first of `paths`; None for pictures that an app added."""
    paths: tuple[Path, ...]
    """Every known file with this picture: copies, and files that differ in their metadata only."""
    ids: tuple[str, ...]
    """The ids of all of them, app pictures included."""
    digest: str
    """SHA-256 of the bytes, hexadecimal."""
    size: int
    """Bytes."""
    modified_at: datetime | None
    """The file's own date, UTC."""
    format: str
    width: int
    """Pixels of the upright picture, like height."""
    height: int
    taken_at: datetime | None
    """When the photo was taken by its metadata: with an offset where the camera wrote one, local time otherwise."""
    taken_source: str | None
    camera_make: str | None
    camera_model: str | None
    lens: str | None
    latitude: float | None
    """Degrees, north positive."""
    longitude: float | None
    """Degrees, east positive."""
    orientation: int
    rating: int | None
    title: str | None
    keywords: tuple[str, ...]
    offline: bool
    """Its drive is away: the photo is known, its file cannot be opened now."""
    missing: bool
    """The last scan did not find the file; left out of searches unless asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match(Photo):
    """A photo that a search found."""

    score: float
    """Cosine of the query and the photo, -1 to 1. Compares photos within one query, not queries with each other."""
    rank: int
    """1 for the best match of the whole answer, whatever the offset."""


class Results(Sequence[Match]):
    """Matches, best first; a read-only sequence."""

    def __init__(self, matches: Sequence[Match], *, exact: bool, undated: int = 0) -> None:
        self._matches = tuple(matches)
        self.undated = undated
        """With a condition on the date taken: how many photos have no date and were therefore left out."""
        self.exact = exact
        """Every photo was scored; false when inverted lists were probed (recall@10 in `status().index`)."""

    @overload
    def __getitem__(self, index: int) -> Match: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Match, ...]: ...
    def __getitem__(self, index: int | slice) -> Match | tuple[Match, ...]:
        return self._matches[index]

    def __len__(self) -> int:
        return len(self._matches)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Results) and self._matches == other._matches

    def __hash__(self) -> int:
        return hash(self._matches)

    def __repr__(self) -> str:
        return f"Results({list(self._matches)!r})"


def taken_time(taken_at: str | None, offset_minutes: int | None) -> datetime | None:
    """A stored date as datetime, aware when the file names an offset."""
    if taken_at is None:
        return None
    moment = datetime.fromisoformat(taken_at)
    if offset_minutes is None:
        return moment
    return moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
