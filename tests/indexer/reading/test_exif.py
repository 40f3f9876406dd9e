"""Reading TIFF structures, whole and damaged."""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_photos import exif_block

from photoseek.indexer.exif import ENTRIES_MAX, read_exif

MAKE, ORIENTATION, DATE, LATITUDE, EXIF_POINTER, GPS_POINTER = 0x010F, 0x0112, 0x9003, 2, 0x8769, 0x8825

WHOLE = exif_block(
    {MAKE: "Maker", ORIENTATION: 6},
    {DATE: "2020:01:02 03:04:05"},
    {1: "S", LATITUDE: ((48, 1), (30, 1), (0, 1))},
)


@pytest.mark.parametrize("order", ["<", ">"])
def test_all_three_directories_in_both_byte_orders(order: str) -> None:
    block = exif_block({MAKE: "Maker", ORIENTATION: 6}, {DATE: "now"}, {LATITUDE: ((48, 1), (30, 2))}, order=order)
    for variant in (block, b"Exif\0\0" + block):
        exif = read_exif(variant)
        assert exif.image.text(MAKE) == b"Maker"
        assert exif.image.integer(ORIENTATION) == 6
        assert exif.photo.text(DATE) == b"now"
        assert exif.gps.ratios(LATITUDE) == (48.0, 15.0)


def test_pillow_writes_what_we_read() -> None:
    pillow = Image.Exif()
    pillow[MAKE] = "Maker"
    pillow.get_ifd(EXIF_POINTER)[DATE] = "2020:01:02 03:04:05"
    pillow.get_ifd(GPS_POINTER)[LATITUDE] = (Fraction(1, 3), 2.5, 0)
    exif = read_exif(pillow.tobytes())
    assert exif.image.text(MAKE) == b"Maker"
    assert exif.photo.text(DATE) == b"2020:01:02 03:04:05"
    assert exif.gps.ratios(LATITUDE) == pytest.approx((1 / 3, 2.5, 0))


def test_big_tiff() -> None:
    header = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16)
    entries = struct.pack("<HHQ8s", MAKE, 2, 6, b"Maker\0\0\0") + struct.pack("<HHQQ", ORIENTATION, 3, 1, 8)
    exif = read_exif(header + struct.pack("<Q", 2) + entries + bytes(8))
    assert exif.image.text(MAKE) == b"Maker"
    assert exif.image.integer(ORIENTATION) == 8


def test_absent_and_mistyped_tags_are_none() -> None:
    image = read_exif(WHOLE).image
    assert DATE not in image
    assert (image.raw(DATE), image.text(DATE), image.integer(DATE), image.ratios(DATE)) == (None,) * 4
    assert image.integer(MAKE) is None
    assert image.ratios(ORIENTATION) is None
    assert image.text(ORIENTATION) is None


def test_a_ratio_over_zero_spoils_the_value() -> None:
    assert read_exif(exif_block(gps={LATITUDE: ((48, 1), (0, 0), (1, 1))})).gps.ratios(LATITUDE) is None


def test_pointers_back_to_a_directory_end_there() -> None:
    block = bytearray(exif_block({MAKE: "Maker"}, {DATE: "now"}))
    where = block.index(struct.pack("<HHL", EXIF_POINTER, 4, 1)) + 8
    struct.pack_into("<L", block, where, 8)  # the first directory itself
    exif = read_exif(bytes(block))
    assert exif.image.text(MAKE) == b"Maker"
    assert MAKE not in exif.photo


def test_claims_are_not_believed() -> None:
    too_many = bytearray(WHOLE)
    struct.pack_into("<H", too_many, 8, ENTRIES_MAX + 1)
    assert MAKE not in read_exif(bytes(too_many)).image
    too_long = bytearray(WHOLE)
    struct.pack_into("<L", too_long, too_long.index(struct.pack("<HH", MAKE, 2)) + 4, 0xFFFFFFFF)
    image = read_exif(bytes(too_long)).image
    assert MAKE not in image
    assert image.integer(ORIENTATION) == 6


@pytest.mark.parametrize("length", range(0, len(WHOLE), 3))
def test_every_cut_gives_what_lies_before_it(length: int) -> None:
    exif = read_exif(WHOLE[:length])
    assert exif.image.text(MAKE) in (None, b"Maker")
    assert exif.photo.text(DATE) in (None, b"2020:01:02 03:04:05")


@given(st.binary(max_size=200), st.integers(0, len(WHOLE)), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0"]))
def test_any_bytes_are_answered(noise: bytes, at: int, magic: bytes) -> None:
    for block in (magic + noise, WHOLE[:at] + noise + WHOLE[at + len(noise) :]):
        exif = read_exif(block)
        for directory in (exif.image, exif.photo, exif.gps):
            for tag in (MAKE, ORIENTATION, DATE, LATITUDE, *range(8)):
                directory.text(tag), directory.integer(tag), directory.ratios(tag)
