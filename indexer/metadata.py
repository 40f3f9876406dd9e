"""What the camera and photo managers wrote: one answer for each question, from EXIF, XMP and IPTC.

Which source wins where several speak: dates as `CameraFacts` says; camera, lens, place and orientation from
EXIF before XMP, since that is where cameras write; rating, title and keywords from XMP before the others, since
that is where people's programs write. No text that a person wrote is lost: what is not the title is a caption.
Unknown stays unknown: nothing is guessed from the file's own date.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

from photoseek.contracts import CameraFacts
from photoseek.indexer.containers import MetadataBlocks
from photoseek.indexer.dates import Moment, read_moment
from photoseek.indexer.exif import Directory, Exif, read_exif
from photoseek.indexer.iptc import IptcFacts, decode_text, read_iptc
from photoseek.indexer.xmp import XmpProperties, read_xmp

TEXT_CHARACTERS_MAX = 2000
"""Titles, captions and keywords are cut here; IPTC allows 2,000 for its longest text."""

KEYWORDS_MAX = 500
"""More keywords than this are not taken from one photo."""

CAPTIONS_MAX = 20
"""The same for captions; a description in many languages is the longest list seen."""

_DESCRIPTION, _MAKE, _MODEL, _ORIENTATION, _DATE_TIME = 0x010E, 0x010F, 0x0110, 0x0112, 0x0132
_RATING = 0x4746
# What Windows writes beside the standard's own tags, in UTF-16; keywords with semicolons between them.
_XP_TITLE, _XP_COMMENT, _XP_KEYWORDS, _XP_SUBJECT = 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F
_LENS_MODEL = 0xA434
_GPS_LATITUDE_REF, _GPS_LATITUDE, _GPS_LONGITUDE_REF, _GPS_LONGITUDE = 1, 2, 3, 4

# Name, then tags of the date, its sub-seconds and its offset (EXIF 2.32, table 8), all in the EXIF directory.
_ORIGINAL = ("DateTimeOriginal", 0x9003, 0x9291, 0x9011)
_DIGITIZED = ("DateTimeDigitized", 0x9004, 0x9292, 0x9012)
_SUBSECONDS, _OFFSET = 0x9290, 0x9010
_XMP_DATES = ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate")

# XMP writes `48,51.5N` or `48,51,30N`.
_XMP_DEGREES = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d{1,12})?)(?:,(\d{1,2}(?:\.\d{1,12})?))?([NSEW])", re.ASCII)

# Control characters, and lone surrogates, which UTF-8 cannot hold.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def camera_facts(blocks: MetadataBlocks) -> CameraFacts:
    """Read what the metadata of one file says; never raises, whatever the blocks hold."""
    exif = read_exif(blocks.exif or b"", blocks.exif_photo, blocks.exif_gps)
    xmp = read_xmp(blocks.xmp or b"")
    iptc = read_iptc(blocks.iptc or b"")
    source, moment = _taken(exif, xmp)
    latitude, longitude = _place(exif.gps, xmp)
    texts = _distinct(_texts(exif, xmp, iptc))
    return CameraFacts(
        orientation=orientation_of(exif),
        taken_at=moment.local if moment else None,
        taken_source=source,
        taken_offset_minutes=moment.offset_minutes if moment else None,
        camera_make=_first([_text(exif.image, _MAKE), *xmp.get("tiff:Make", ())]),
        camera_model=_first([_text(exif.image, _MODEL), *xmp.get("tiff:Model", ())]),
        lens=_first([_text(exif.photo, _LENS_MODEL), *xmp.get("exifEX:LensModel", ()), *xmp.get("aux:Lens", ())]),
        latitude=latitude,
        longitude=longitude,
        rating=_rating(exif, xmp),
        title=texts[0] if texts else None,
        captions=texts[1 : 1 + CAPTIONS_MAX],
        keywords=_distinct(_keywords(exif, xmp, iptc))[:KEYWORDS_MAX],
    )


def orientation_of(exif: Exif) -> int:
    """The orientation, 1 to 8; anything else that a file may say counts as 1."""
    orientation = exif.image.integer(_ORIENTATION)
    return orientation if orientation is not None and 1 <= orientation <= 8 else 1


def _taken(exif: Exif, xmp: XmpProperties) -> tuple[str | None, Moment | None]:
    """When the photo was taken, with the name of the source; the first source with a possible date wins."""
    for name, date, subseconds, offset in (_ORIGINAL, _DIGITIZED):
        if (moment := _moment(exif.photo, date, exif.photo, subseconds, offset)) is not None:
            return name, moment
    for key in _XMP_DATES:
        for value in xmp.get(key, ()):
            if (moment := read_moment(value)) is not None:
                return "XMP", moment
    moment = _moment(exif.image, _DATE_TIME, exif.photo, _SUBSECONDS, _OFFSET)
    return ("DateTime", moment) if moment is not None else (None, None)


def _moment(dates: Directory, date: int, details: Directory, subseconds: int, offset: int) -> Moment | None:
    """A date of EXIF with the sub-seconds and the offset of its own family."""
    text = _text(dates, date)
    if text is None:
        return None
    return read_moment(text, _text(details, subseconds) or "", _text(details, offset) or "")


def _place(gps: Directory, xmp: XmpProperties) -> tuple[float | None, float | None]:
    """Latitude and longitude in degrees, or None twice: half a place is none.

    0, 0 counts as unknown: phones write it before they have a fix, and programs to hide a place. (exiftool
    shows the zeros; the real spot is open sea.) Without its N, S, E or W a number could be either side, so
    it counts as unknown too.
    """
    latitude = _degrees(gps, _GPS_LATITUDE, _GPS_LATITUDE_REF, "NS")
    longitude = _degrees(gps, _GPS_LONGITUDE, _GPS_LONGITUDE_REF, "EW")
    if latitude is None or longitude is None:
        latitude = _xmp_degrees(xmp.get("exif:GPSLatitude", ()), "NS")
        longitude = _xmp_degrees(xmp.get("exif:GPSLongitude", ()), "EW")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None, None
    return (None, None) if latitude == longitude == 0 else (latitude, longitude)


def _degrees(gps: Directory, tag: int, reference_tag: int, sides: str) -> float | None:
    """A coordinate of EXIF: degrees, then minutes and seconds where they are there; south and west negative."""
    parts = gps.ratios(tag)
    side = (_text(gps, reference_tag) or "").upper()[:1]
    if not parts or len(parts) > 3 or not side or side not in sides:
        return None
    degrees = sum((part / 60.0**power for power, part in enumerate(parts)), start=0.0)
    return -degrees if side == sides[1] else degrees


def _xmp_degrees(values: tuple[str, ...], sides: str) -> float | None:
    """A coordinate of XMP, like `_degrees`."""
    found = _XMP_DEGREES.fullmatch(values[0]) if values else None
    if found is None or found[4] not in sides:
        return None
    degrees = int(found[1]) + float(found[2]) / 60 + float(found[3] or 0) / 3600
    return -degrees if found[4] == sides[1] else degrees


def _rating(exif: Exif, xmp: XmpProperties) -> int | None:
    """Stars, 0 to 5, or -1 for a rejected photo; other numbers and words count as unknown."""
    for value in xmp.get("xmp:Rating", ()):
        try:
            number = float(value)
        except ValueError:
            continue
        if math.isfinite(number) and number == int(number) and -1 <= number <= 5:
            return int(number)
    rating = exif.image.integer(_RATING)
    return rating if rating is not None and 0 <= rating <= 5 else None


def _texts(exif: Exif, xmp: XmpProperties, iptc: IptcFacts) -> Iterator[str | None]:
    """Everything that a person wrote about the photo; the first that is there serves as its title."""
    for key in ("dc:title", "photoshop:Headline", "dc:description"):
        yield from xmp.get(key, ())
    yield from iptc.titles
    yield _windows_text(exif, _XP_TITLE)
    yield _text(exif.image, _DESCRIPTION)
    yield _windows_text(exif, _XP_SUBJECT)
    yield _windows_text(exif, _XP_COMMENT)


def _keywords(exif: Exif, xmp: XmpProperties, iptc: IptcFacts) -> Iterator[str]:
    yield from xmp.get("dc:subject", ())
    yield from iptc.keywords
    yield from _windows_text(exif, _XP_KEYWORDS).split(";")


def _windows_text(exif: Exif, tag: int) -> str:
    return (exif.image.raw(tag) or b"").decode("utf-16-le", "replace")


def _text(directory: Directory, tag: int) -> str | None:
    value = directory.text(tag)
    return decode_text(value) if value is not None else None


def _first(texts: Iterable[str | None]) -> str | None:
    """The first text that is more than blanks, cleaned."""
    return next((cleaned for text in texts if text and (cleaned := _clean(text))), None)


def _distinct(texts: Iterable[str | None]) -> tuple[str, ...]:
    """The texts that are more than blanks, cleaned, each once."""
    return tuple(dict.fromkeys(cleaned for text in texts if text and (cleaned := _clean(text))))


def _clean(text: str) -> str:
    """One line without control characters and without the blanks that cameras pad with."""
    return " ".join(_UNPRINTABLE.sub(" ", text).split())[:TEXT_CHARACTERS_MAX].rstrip()
