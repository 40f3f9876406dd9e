"""The same facts as exiftool's, for every camera photo (Debian: libimage-exiftool-perl).

Two differences are meant: a place of 0, 0 or out of range is unknown to photoseek, and so is an orientation that
is none of 1 to 8; exiftool shows what stands in the file.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from photoseek.contracts import CameraFacts, PhotoRead, ReadResult

pytestmark = pytest.mark.slow

Pairs = list[tuple[str, CameraFacts, dict[str, Any]]]
"""Name, our facts and exiftool's tags of each photo."""


@pytest.fixture(scope="module")
def exiftool(camera_photos: Path) -> dict[str, dict[str, Any]]:
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    command = [program, "-json", "-n", "-r", "-G1", "-ext", "*", "."]
    output = subprocess.run(command, cwd=camera_photos, capture_output=True, check=False).stdout
    return {entry["SourceFile"].removeprefix("./"): entry for entry in json.loads(output)}


@pytest.fixture(scope="module")
def pairs(exiftool: dict[str, dict[str, Any]], read_photos: dict[str, ReadResult]) -> Pairs:
    photos = [(name, result.camera) for name, result in read_photos.items() if isinstance(result, PhotoRead)]
    assert len(photos) == 59
    return [(name, camera, exiftool[name]) for name, camera in photos]


def test_dates(pairs: Pairs) -> None:
    for name, camera, tags in pairs:
        assert (camera.taken_at, camera.taken_offset_minutes) == expected_date(tags), name


def test_camera(pairs: Pairs) -> None:
    for name, camera, tags in pairs:
        ours = (camera.camera_make, camera.camera_model, camera.lens)
        make = tags.get("IFD0:Make", tags.get("XMP-tiff:Make"))
        model = tags.get("IFD0:Model", tags.get("XMP-tiff:Model"))
        lens = tags.get("ExifIFD:LensModel", tags.get("XMP-aux:Lens"))
        assert ours == tuple(" ".join(str(told or "").split()) or None for told in (make, model, lens)), name


def test_place(pairs: Pairs) -> None:
    for name, camera, tags in pairs:
        latitude, longitude = tags.get("Composite:GPSLatitude"), tags.get("Composite:GPSLongitude")
        if latitude is None or longitude is None or abs(latitude) > 90 or (latitude, longitude) == (0, 0):
            assert (camera.latitude, camera.longitude) == (None, None), name
        else:
            assert (camera.latitude, camera.longitude) == pytest.approx((latitude, longitude)), name


def test_rating_and_orientation(pairs: Pairs) -> None:
    for name, camera, tags in pairs:
        assert camera.rating == tags.get("XMP-xmp:Rating", tags.get("IFD0:Rating")), name
        orientation = tags.get("IFD0:Orientation", 1)
        assert camera.orientation == (orientation if 1 <= orientation <= 8 else 1), name


def test_keywords(pairs: Pairs) -> None:
    for name, camera, tags in pairs:
        told: list[str] = []
        for tag in ("XMP-dc:Subject", "IPTC:Keywords"):
            value = tags.get(tag, [])
            told += [str(word) for word in (value if isinstance(value, list) else [value])]
        assert camera.keywords == tuple(dict.fromkeys(told)), name


def expected_date(tags: dict[str, Any]) -> tuple[str | None, int | None]:
    """Local time and offset out of exiftool's tags, in the order in which photoseek takes them."""
    sources = [
        ("ExifIFD:DateTimeOriginal", "ExifIFD:SubSecTimeOriginal", "ExifIFD:OffsetTimeOriginal"),
        ("ExifIFD:CreateDate", "ExifIFD:SubSecTimeDigitized", "ExifIFD:OffsetTimeDigitized"),
        ("XMP-exif:DateTimeOriginal", None, None),
        ("XMP-photoshop:DateCreated", None, None),
        ("XMP-xmp:CreateDate", None, None),
        ("IFD0:ModifyDate", "ExifIFD:SubSecTime", "ExifIFD:OffsetTime"),
    ]
    for date, subseconds, offset in sources:
        told = str(tags.get(date, ""))
        if not told.strip(" :0"):
            continue
        local, zone = told[:19], told[19:]
        if subseconds is not None and subseconds in tags:
            local += f".{str(tags[subseconds]).strip()}"
        if offset is not None:
            zone = tags.get(offset, "")
        minutes = int(zone[1:3]) * 60 + int(zone[4:6]) if zone else None
        if minutes is not None and zone.startswith("-"):
            minutes = -minutes
        return local.replace(":", "-", 2).replace(" ", "T"), minutes
    return None, None
