"""Real camera files and files that break other programs: each ends as the table beside it says.

The files are not in the repository; PHOTOSEEK_TEST_DATA names the folder with photos.tar and broken.tar.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from photoseek.contracts import CameraFacts, PhotoRead, ReadFailure, ReadResult, Trouble


def table(markdown: Path, title: str) -> list[dict[str, str]]:
    """The rows of the table whose first column has this title."""
    lines = markdown.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {title} |"))
    columns = [column.strip() for column in lines[start].strip("|").split("|")]
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(columns, (cell.strip() for cell in line[1:-1].split(" | ")), strict=True)))
    return rows


def photo(results: dict[str, ReadResult], name: str) -> PhotoRead:
    result = results[name]
    assert isinstance(result, PhotoRead), result
    return result


def test_every_camera_photo_is_read(read_photos: dict[str, ReadResult], shared_data: Path) -> None:
    rows = table(shared_data / "photos.md", "file")
    assert len(rows) == 59
    for row in rows:
        result = photo(read_photos, row["file"].replace("\\n", "\n"))
        size = tuple(int(part) for part in row["size, mode"].split()[0].split("x"))
        turned = row["orientation"] in ("5", "6", "7", "8")
        assert (result.width, result.height) == (size[::-1] if turned else size)
    ignored = read_photos["README.md"]
    assert isinstance(ignored, ReadFailure)
    assert ignored.trouble is Trouble.NO_PICTURE


def test_all_orientations_of_a_picture_look_alike(read_photos: dict[str, ReadResult]) -> None:
    first = photo(read_photos, "orientation/landscape_1.jpg").picture.astype(float)
    for number in range(2, 9):
        turned = photo(read_photos, f"orientation/landscape_{number}.jpg")
        assert turned.camera.orientation == number
        assert np.abs(turned.picture - first).mean() < 3


def test_duplicates(read_photos: dict[str, ReadResult]) -> None:
    original, copy, other = (
        photo(read_photos, name)
        for name in (
            "gps/DSCN0010.jpg",
            "duplicates/exact copy of DSCN0010.jpg",
            "duplicates/DSCN0010 other metadata.jpg",
        )
    )
    assert original.digest == copy.digest
    assert original.digest != other.digest
    assert original.picture_digest == copy.picture_digest == other.picture_digest


def test_grey_of_16_bits_is_neither_white_nor_clipped(read_photos: dict[str, ReadResult]) -> None:
    picture = photo(read_photos, "formats/grey-16bit.png").picture
    assert 40 < picture.mean() < 215
    assert picture.std() > 20


def test_every_broken_file_ends_as_its_table_says(read_broken: dict[str, ReadResult], shared_data: Path) -> None:
    rows = table(shared_data / "broken.md", "file")
    assert len(rows) == 79
    for row in rows:
        name = row["file"].replace("\\n", "\n")
        result, rule = read_broken[name], row["what to do"]
        if isinstance(result, PhotoRead):
            assert rule.startswith("index"), name
        else:
            assert isinstance(result, ReadFailure)
            assert "fail" in rule, (name, result)
            assert result.trouble is Trouble.FILE, (name, result)
            assert result.reason.isprintable(), name
            assert result.digest is not None, name
        if "no date" in rule:
            assert photo(read_broken, name).camera.taken_at is None, name
        if "no place" in rule and " or " not in rule:
            assert photo(read_broken, name).camera.latitude is None, name
        if "no rating" in rule:
            assert photo(read_broken, name).camera.rating is None, name
        if rule.endswith("no EXIF"):
            assert photo(read_broken, name).camera == CameraFacts(), name


def test_a_date_survives_its_impossible_offset(read_broken: dict[str, ReadResult]) -> None:
    camera = photo(read_broken, "date-offset-99.jpg").camera
    assert (camera.taken_at or "").startswith("2023-05-06T07:08:09")
    assert camera.taken_offset_minutes is None
