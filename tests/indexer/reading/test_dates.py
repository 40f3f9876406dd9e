"""Dates of EXIF and XMP."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoseek.indexer.dates import read_moment, read_offset


@pytest.mark.parametrize(
    ("text", "subseconds", "offset", "local", "minutes"),
    [
        ("2022:08:22 20:30:46", "023", "+02:00", "2022-08-22T20:30:46.023", 120),
        ("2022:08:22 20:30:46", "", "", "2022-08-22T20:30:46", None),
        ("2022:08:22 20:30:46", "00 ", "-05:30", "2022-08-22T20:30:46.00", -330),
        ("1919:05:04 05:59:26", "", "", "1919-05-04T05:59:26", None),
        ("9999:12:31 23:59:59", "", "-14:00", "9999-12-31T23:59:59", -840),
        ("2023:05:06 07:08:09", "", "+99:99", "2023-05-06T07:08:09", None),
        ("2023:05:06 07:08:09", "n/a", "+14:01", "2023-05-06T07:08:09", None),
        ("2014:09:21 16:00:56+02:00", "", "", "2014-09-21T16:00:56", 120),
        ("2009-03-06T22:15:00.5Z", "", "", "2009-03-06T22:15:00.5", 0),
        ("2009-03-06T22:15", "", "", "2009-03-06T22:15:00", None),
        ("2009-03-06", "", "", "2009-03-06T00:00:00", None),
        (" 2009/03/06 22:15:00\0", "", "", "2009-03-06T22:15:00", None),
    ],
)
def test_dates_as_they_are_written(text: str, subseconds: str, offset: str, local: str, minutes: int | None) -> None:
    moment = read_moment(text, subseconds, offset)
    assert moment is not None
    assert (moment.local, moment.offset_minutes) == (local, minutes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "    :  :     :  :  ",
        "0000:00:00 00:00:00",
        "2023:02:30 12:00:00",
        "2023:13:01 12:00:00",
        "2023:01:01 24:00:00",
        "2023:01:01 12:60:00",
        "2023",
        "yesterday",
        "\u0662\u0660\u0662\u0663:01:01 12:00:00",  # digits, but not ours
    ],
)
def test_what_is_no_date_is_unknown(text: str) -> None:
    assert read_moment(text) is None


@given(st.text(max_size=30), st.text(max_size=5), st.text(max_size=8))
def test_any_text_gives_a_date_that_python_reads_or_none(text: str, subseconds: str, offset: str) -> None:
    moment = read_moment(text, subseconds, offset)
    assert moment is None or datetime.fromisoformat(moment.local).tzinfo is None


@given(st.datetimes(), st.integers(-840, 840))
def test_every_moment_comes_back(moment: datetime, minutes: int) -> None:
    sign, size = ("-" if minutes < 0 else "+"), abs(minutes)
    offset = f"{sign}{size // 60:02}:{size % 60:02}"
    assert read_offset(offset) == minutes
    date = f"{moment.year:04}:{moment:%m:%d %H:%M:%S}"
    read = read_moment(date, f"{moment.microsecond:06}", offset)
    assert read is not None
    assert datetime.fromisoformat(read.local) == moment
    assert read.offset_minutes == minutes
