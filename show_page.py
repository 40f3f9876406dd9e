"""How the command line shows an answer as a page: the words that go with each photo."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from photoseek import __version__
from photoseek.gallery import SIDE, Entry, page, write_page
from photoseek.search.places import known_name
from photoseek.show import one_line
from photoseek.show_matches import certainty

if TYPE_CHECKING:
    from photoseek.library import PhotoLibrary
    from photoseek.search.results import Photo
    from photoseek.thumbnails import Thumbnail


NamePlace: TypeAlias = Callable[[float, float], "str | None"]


def save_page(
    library: PhotoLibrary,
    target: Path,
    photos: Sequence[Photo],
    question: str,
    remarks: Sequence[str],
    threshold: float | None,
) -> None:
    """Write the page of an answer.

    Args:
        question: what was asked for; empty where filters alone have listed the photos.
        remarks: what is said below it, besides the number of photos and today's date; empty ones are left out.
        threshold: the answer's, from which on a photo is likely enough.
    Raises:
        PhotoseekError: it cannot be written.
    """
    today = date.today()
    number = "1 photo" if len(photos) == 1 else f"{len(photos):,} photos"
    said = [one_line(remark) for remark in (*remarks, f"{number} · {today.day} {today:%B %Y}") if remark]
    heading = one_line(question or "Photos, newest first")
    thumbnails = library.iter_thumbnails(photos, side=SIDE)
    write_page(target, page(heading, said, entries(thumbnails, threshold, place_name), __version__))


def coordinates(latitude: float, longitude: float) -> str:
    """A place in degrees, to about 10 metres."""
    north, east = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
    return f"{abs(latitude):.4f}° {north}, {abs(longitude):.4f}° {east}"


def place_name(latitude: float, longitude: float) -> str:
    """The nearest city, where the names of cities are installed and one is near, and the degrees."""
    city = known_name(latitude, longitude)
    degrees = coordinates(latitude, longitude)
    return f"{city} ({degrees})" if city else degrees


def entries(
    thumbnails: Iterable[Thumbnail], threshold: float | None, name_place: NamePlace = coordinates
) -> Iterator[Entry]:
    """What the page says of each photo.

    Args:
        threshold: the answer's, from which on a photo is likely enough.
        name_place: gives words for a latitude and longitude in degrees.
    """
    for number, thumbnail in enumerate(thumbnails, start=1):
        photo = thumbnail.photo
        yield Entry(
            picture=thumbnail.picture,
            reason=thumbnail.reason or "",
            rank=getattr(photo, "rank", number),
            certainty=certainty(photo, threshold),
            detail=_figures(photo),
            name=one_line(photo.path.name if photo.path is not None else photo.id),
            folder=one_line(photo.path.parent) if photo.path is not None else None,
            url=photo.path.as_uri() if photo.path is not None else None,
            taken_at=photo.taken_at,
            place=_place(photo, name_place),
            notes=_notes(photo),
        )


def _place(photo: Photo, name_place: NamePlace) -> str | None:
    if photo.latitude is None or photo.longitude is None:
        return None
    return name_place(photo.latitude, photo.longitude)


def _figures(photo: Photo) -> str | None:
    score, confidence = getattr(photo, "score", None), getattr(photo, "confidence", None)
    if score is None:
        return None
    return f"cosine {score:.3f}" if confidence is None else f"confidence {confidence:.0%}, cosine {score:.3f}"


def _notes(photo: Photo) -> tuple[str, ...]:
    notes = [text for text, holds in (("drive away", photo.offline), ("file missing", photo.missing)) if holds]
    copies = [f"{len(photo.ids)} copies"] if len(photo.ids) > 1 else []
    return (*notes, *copies)
