"""Moments as EXIF and XMP write them: local time, perhaps with parts of a second and an offset from UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

OFFSET_MINUTES_MAX = 14 * 60
"""The largest offset from UTC in use (Line Islands)."""

_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")

_MOMENT = re.compile(
    r"(?P<date>\d{4}[:\-/.]\d\d[:\-/.]\d\d)"
    r"(?:[ T](?P<time>\d\d:\d\d(?::\d\d)?)(?:[.,](?P<fraction>\d{1,9}))?\ ?(?P<offset>Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment in the time of the place where the photo was taken."""

    local: str
    """ISO 8601 without an offset: `2022-08-22T20:30:46.023`, the fraction as the file has it."""
    offset_minutes: int | None
    """Minutes east of UTC, where the file says so."""


def read_moment(text: str, subseconds: str = "", offset: str = "") -> Moment | None:
    """Read a date of EXIF (`2022:08:22 20:30:46`) or XMP (`2022-08-22T20:30:46.023+02:00`).

    Args:
        text: the date; a date without a time counts as midnight, since XMP allows that.
        subseconds: EXIF's own tag for the digits behind the second.
        offset: EXIF's own tag for the offset from UTC.
    Returns:
        None for what is no date: blanks, zeros, days and hours that do not exist. Fractions and offsets
        that make no sense are left out, and the date stays.
    """
    found = _MOMENT.fullmatch(text.strip(" \0\t\r\n"))
    if found is None:
        return None
    day = re.sub(r"\D", "-", found["date"])
    time = found["time"] or "00:00"
    local = f"{day}T{time}" if time.count(":") == 2 else f"{day}T{time}:00"
    try:
        datetime.fromisoformat(local)
    except ValueError:
        return None
    fraction = found["fraction"] or subseconds.strip(" \0")
    if re.fullmatch(r"[0-9]{1,9}", fraction):
        local = f"{local}.{fraction}"
    return Moment(local, read_offset(found["offset"] or offset))


def read_offset(text: str) -> int | None:
    """Minutes east of UTC of `+02:00`, `-0530` or `Z`; None for anything else and for impossible offsets."""
    text = text.strip(" \0")
    if text == "Z":
        return 0
    found = _OFFSET.fullmatch(text)
    if found is None:
        return None
    hours, minutes = int(found[2]), int(found[3])
    total = hours * 60 + minutes
    if minutes >= 60 or total > OFFSET_MINUTES_MAX:
        return None
    return -total if found[1] == "-" else total
