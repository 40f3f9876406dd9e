"""How the command line shows what a search found: as JSON, as a table, as pictures on the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from photoseek.conditions import Condition, mentions_date
from photoseek.search.filters import where
from photoseek.search.query import Example
from photoseek.show import one_line, to_json

if TYPE_CHECKING:
    from photoseek.library import PhotoLibrary
    from photoseek.search.query import Query
    from photoseek.search.results import Photo, Results, Verdict
    from photoseek.terminal.detect import Terminal
    from photoseek.thumbnails import Thumbnail

CLOSEST = 3
"""Photos shown when none is likely."""
CERTAINTIES = ((0.8, "very likely"), (0.5, "likely"))
"""Words for how likely a photo shows what was asked for, each from this confidence on; below these it is "perhaps" from
the answer's threshold on, and "unlikely"."""


@dataclass(frozen=True)
class Listing(Sequence["Photo"]):
    """Photos that filters alone have listed, the newest first; nothing is to be said of how well they fit."""

    photos: Sequence[Photo]
    offset: int
    """How many come before them."""
    total: int
    """How many satisfy the filters."""
    undated: int
    """How many a filter on the date left out, since they have none."""
    verdict: Verdict = "uncalibrated"
    threshold = total_above = next = None
    exact = True

    @classmethod
    def of(cls, library: PhotoLibrary, condition: Condition, limit: int, offset: int) -> Listing:
        photos = library.photos(where=condition, limit=limit, offset=offset)
        undated = library.count() - library.count(where=where.taken.known()) if mentions_date(condition) else 0
        return cls(photos, offset, library.count(where=condition), undated)

    def __getitem__(self, index: Any) -> Any:
        return self.photos[index]

    def __len__(self) -> int:
        return len(self.photos)


def answer_json(answer: Results | Listing) -> str:
    """One object: what is said of the answer, and its matches."""
    said = ["verdict", "threshold", "total_above", "exact", "undated", "next"]
    said += ["total"] if isinstance(answer, Listing) else []
    return to_json({**{name: getattr(answer, name) for name in said}, "matches": list(answer)})


@dataclass(frozen=True, slots=True)
class Shown:
    """The photos of an answer that a person sees, and what is said around them."""

    photos: Sequence[Photo]
    threshold: float | None = None
    """The answer's."""
    first: int = 1
    """Rank of the first of them, where they have none of their own."""
    above: str | None = None
    below: str | None = None


def shown(answer: Results | Listing, query: Query, likely: Callable[[float], Results] | None) -> Shown:
    """All matches; with `likely`, which asks the same for a least confidence, only those that are likely enough.

    A query with pictures keeps all: how likely a photo shows the words says little about the whole of it. One with
    exclusions gets no others instead of those that are left out: these may be what was excluded.
    """
    if isinstance(answer, Listing):
        last = answer.offset + len(answer)
        more = f'{answer.total - last:,} more: "--offset {last}" goes on.' if last < answer.total else None
        return Shown(answer, first=answer.offset + 1, below=more if sys.stdout.isatty() else None)
    threshold = answer.threshold
    if likely is None or threshold is None or _has_pictures(query):
        return Shown(answer, threshold)
    if nothing := nothing_said(answer, query):
        below = _more(len(answer) - CLOSEST, "more below")
        return Shown(answer[:CLOSEST], threshold, above=nothing, below=below)
    if any(part.weight < 0 for part in query.parts):
        kept = [match for match in answer if (match.confidence or 0.0) >= threshold]
        above = None if kept else "None of these is likely."
        return Shown(kept, threshold, above=above, below=_more(len(answer) - len(kept), "less likely left out"))
    found = likely(threshold)
    last = found[-1].rank if found else 0
    further = (found.total_above or 0) - last if found.next is not None else 0
    notes = [
        f'{further:,} more {"is" if further == 1 else "are"} likely: "--offset {last}" goes on.'
        if further > 0
        else None,
        'The others are less likely; "--all" shows them.' if len(found) < len(answer) else None,
    ]
    above = None if found else "No more photos are likely."
    return Shown(found, threshold, above=above, below="\n".join(filter(None, notes)) or None)


def nothing_said(answer: Results | Listing, query: Query) -> str:
    """That no photo is likely; empty where some is, and for a query with pictures, of which words are only a part."""
    if answer.verdict != "nothing" or _has_pictures(query):
        return ""
    return f"Nothing looks like {one_line(query)}; closest:"


def _has_pictures(query: Query) -> bool:
    return any(isinstance(part, Example) for part in query.parts)


def _more(hidden: int, what: str) -> str | None:
    return f'{hidden:,} {what}; "--all" shows them.' if hidden > 0 else None


def match_table(photos: Iterable[Photo], first: int = 1) -> str:
    """Score, date and path; on a terminal in columns with a heading, otherwise `score<TAB>path`.

    Ranks begin with `first` where photos have none of their own. Photos that filters alone have listed have no score,
    nor is there a confidence without a calibrated model.
    """
    if not sys.stdout.isatty():
        return "\n".join(f"{_score(photo, 4)}\t{one_line(photo.path or photo.id)}" for photo in photos)
    lines = ["rank  score  likely  taken       photo"]
    for rank, photo in enumerate(photos, start=first):
        notes = [text for text, holds in (("offline", photo.offline), ("missing", photo.missing)) if holds]
        if len(photo.ids) > 1:
            notes.append(f"{len(photo.ids)} copies")
        if similar := len(getattr(photo, "similar", ())):
            notes.append(f"and {similar} similar")
        notes += [one_line(label) for label, value in getattr(photo, "why", {}).items() if is_quoted(label, value)]
        note = f"  ({', '.join(notes)})" if notes else ""
        place, confidence = getattr(photo, "rank", rank), getattr(photo, "confidence", None)
        likely = f"{confidence:.0%}" if confidence is not None else "-"
        path = short_path(photo.path or photo.id)
        lines.append(f"{place:>4}  {_score(photo, 3):>5}  {likely:>6}  {_day(photo) or '-':<10}  {path}{note}")
    return "\n".join(lines)


def is_quoted(label: str, value: float) -> bool:
    """Does this entry of `Match.why` say where quoted words stand, as `file name "IMG_2041"` does?"""
    return value == 1 and label.endswith('"')


def _score(photo: Photo, digits: int) -> str:
    score = getattr(photo, "score", None)
    return f"{score:.{digits}f}" if score is not None else "-"


def _day(photo: Photo) -> str | None:
    return photo.taken_at.date().isoformat() if photo.taken_at else None


def short_path(path: object) -> str:
    """Below the current folder relative to it, otherwise whole: it must stay usable by copy and paste."""
    text = os.fspath(path) if isinstance(path, Path) else str(path)
    here = os.getcwd() + os.sep
    return one_line(text[len(here) :] if text.startswith(here) else text)


def certainty(photo: Photo, threshold: float | None) -> str | None:
    """The confidence of a match in words; its cosine where there is none; None for a photo that was only listed.

    Args:
        threshold: the answer's.
    """
    confidence = getattr(photo, "confidence", None)
    if confidence is not None:
        bands = (*CERTAINTIES, (threshold or 0.0, "perhaps"))
        return next((words for least, words in bands if confidence >= least), "unlikely")
    return _score(photo, 3) if hasattr(photo, "score") else None


def preview_rows(
    photos: Sequence[Photo],
    threshold: float | None,
    terminal: Terminal,
    thumbnails: Callable[[int], Iterable[Thumbnail]],
) -> Iterator[str]:
    """The photos as pictures with rank, certainty, date and path, one row of the grid after the other.

    Args:
        threshold: the answer's.
        thumbnails: gives the pictures of all photos, in order, with a longer side of so many pixels.
    """
    from photoseek.terminal.grid import Grid, Tile

    grid = Grid(terminal, len(photos))
    tiles = []
    for number, thumbnail in enumerate(thumbnails(grid.thumbnail_side), start=1):
        photo = thumbnail.photo
        words = [str(getattr(photo, "rank", number)), certainty(photo, threshold), _day(photo)]
        tiles.append(
            Tile(
                thumbnail.picture,
                thumbnail.reason or "",
                "  ".join(word for word in words if word),
                short_path(photo.path or photo.id),
                photo.path.as_uri() if photo.path is not None else None,
            )
        )
        if len(tiles) == grid.columns:
            yield grid.row(tiles)
            tiles = []
    if tiles:
        yield grid.row(tiles)
