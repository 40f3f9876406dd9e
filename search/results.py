"""What a search returns: photos with what is known of them, in order."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, overload


@dataclass(frozen=True, kw_only=True)
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
    captions: tuple[str, ...]
    """Headline, description and comments beside the title."""
    keywords: tuple[str, ...]
    offline: bool
    """Its drive is away: the photo is known, its file cannot be opened now."""
    missing: bool
    """The last scan did not find the file; left out of searches unless asked for."""

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> Self:
        """The photo with just these fields, all of them; it keeps the dict.

        Instead of `path` and `paths` it has `files`, the paths as bytes: Path objects are made when they are asked for.
        A frozen dataclass sets its fields one by one past its own guard. For a page of photos either takes a fifth as
        long as finding them.
        """
        photo = object.__new__(cls)
        object.__setattr__(photo, "__dict__", fields)
        return photo

    if not TYPE_CHECKING:  # where attributes are declared

        def __getattr__(self, name: str) -> Any:
            if name not in ("path", "paths"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            fields = self.__dict__
            fields["paths"] = tuple([Path(os.fsdecode(file)) for file in fields["files"]])
            fields["path"] = fields["paths"][0] if fields["paths"] else None
            return fields[name]


@dataclass(frozen=True, kw_only=True)
class Match(Photo):
    """A photo that a search found."""

    score: float
    """Cosine of the query and the photo, -1 to 1. Compares photos within one query, not queries with each other.

    1 where only words in quotes were asked for: these stand there, or they do not.
    """
    confidence: float | None
    """How likely the photo shows what the words say, 0 to 1; None without words, or for an uncalibrated model."""
    why: dict[str, float]
    """What each part of the query adds: the cosine with each of its words and pictures; 1 for words in quotes."""
    rank: int
    """1 for the best match of the whole answer, whatever the page."""
    similar: tuple[str, ...] = ()
    """With `collapse`: ids of the other photos of the same moment, which this one stands for."""


Verdict: TypeAlias = Literal["found", "nothing", "uncalibrated"]


class Results(Sequence[Match]):
    """One page of matches, best first; a read-only sequence."""

    def __init__(
        self,
        matches: Sequence[Match],
        *,
        exact: bool,
        undated: int = 0,
        verdict: Verdict = "uncalibrated",
        threshold: float | None = None,
        next: Callable[[], str | None] = lambda: None,
        count_above: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._matches = tuple(matches)
        self._next, self._count_above = next, count_above
        self.undated = undated
        """With a condition on the date taken: how many photos have no date and were therefore left out."""
        self.exact = exact
        """Every photo was scored; false when inverted lists were probed (recall@10 in `status().index`)."""
        self.verdict: Verdict = verdict
        """`found`: some photo reaches `threshold`. `nothing`: no photo does, and the matches are only the closest.

        `uncalibrated`: nothing can be said, without words or for a model that nobody calibrated.
        """
        self.threshold = threshold
        """The confidence from which on a photo counts as found: the one asked for, or the model's."""

    @functools.cached_property
    def next(self) -> str | None:
        """Give it as `after` for the next page; None at the end."""
        return self._next()

    @functools.cached_property
    def total_above(self) -> int | None:
        """How many photos reach `threshold`, among the best 4,096; counted when it is read first.

        None where nothing can be said. With `exact` false it counts what the probed lists gave.
        """
        return self._count_above()

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
        return hash(tuple(match.id for match in self._matches))

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
