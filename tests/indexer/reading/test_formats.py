"""What `formats` says about names and first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_photos import encoded, four_colours

from photoseek.contracts import FORMATS, ReadFailure, Trouble
from photoseek.indexer.formats import (
    EXTENSIONS_BY_FORMAT,
    OTHER_EXTENSIONS,
    PEEK_BYTES,
    SNIFF_BYTES,
    UNREAD_EXTENSIONS,
    NameVerdict,
    judge_name,
    looks_like_picture,
    sniff,
)

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
HEIC_BY_COMPATIBLE_BRAND = b"\0\0\0\x1cftypmif1\0\0\0\0mif1miafheic"
AVIF_BY_COMPATIBLE_BRAND = b"\0\0\0\x1cftypmif1\0\0\0\0mif1miafavif"
HEIF_OF_ANOTHER_CODEC = b"\0\0\0\x18ftypmif1\0\0\0\0mif1avci"
MP4 = b"\0\0\0\x18ftypisom\0\0\0\0isommp42"


@pytest.mark.parametrize("format_name", ["jpeg", "png", "webp", "tiff", "gif", "bmp", "avif"])
def test_content_decides_whatever_the_name(format_name: str) -> None:
    head = encoded(four_colours(), format_name.upper())[:SNIFF_BYTES]
    for name in (b"photo.jpg", b"photo.heic", b"photo.dat", b"photo.jxl", b"photo", b""):
        assert sniff(head, name) == format_name
    assert looks_like_picture(head[:PEEK_BYTES])


@pytest.mark.parametrize(
    ("head", "format_name"),
    [
        (HEIC, "heic"),
        (HEIC_BY_COMPATIBLE_BRAND, "heic"),
        (AVIF_BY_COMPATIBLE_BRAND, "avif"),
        (b"MM\0+" + bytes(30), "tiff"),
    ],
)
def test_brands_and_byte_orders(head: bytes, format_name: str) -> None:
    assert sniff(head, b"x.jpg") == format_name


@pytest.mark.parametrize(
    ("name", "head", "word"),
    [
        (b"a.raw", b"\1\2\3\4", "RAW"),
        (b"a.jpg", b"\xff\x0a\0\0", "JPEG XL"),
        (b"a", b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"a.psd", b"8BPS\0\1", "Photoshop"),
        (b"a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"a.heic", HEIF_OF_ANOTHER_CODEC, "HEIF"),
        (b"a.xcf", b"", "GIMP"),
    ],
)
def test_pictures_without_a_reader_are_skipped_by_the_name_of_their_format(name: bytes, head: bytes, word: str) -> None:
    verdict = sniff(head, name)
    assert isinstance(verdict, ReadFailure)
    assert verdict.trouble is Trouble.SKIPPED
    assert word in verdict.reason


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b'<?xml version="1.0"?><svg>', "SVG"),
        (b"PK\x03\x04abc", "ZIP"),
        (MP4, "video"),
        (bytes(100), "zero"),
        (b"once upon a time", "text"),
        (b"\x01\x02\x03\x04\xff\xd8\xff\xe0", "not a picture"),
        (b"BM, the car maker", "text"),
    ],
)
def test_a_picture_by_name_only_fails_with_what_it_is(head: bytes, word: str) -> None:
    verdict = sniff(head, b"holiday.JPG")
    assert isinstance(verdict, ReadFailure)
    assert verdict.trouble is Trouble.FILE
    assert word in verdict.reason


@pytest.mark.parametrize("name", [b"notes.txt", b"movie.mp4", b"data", b"photo.jpg.xmp", b".jpg"])
def test_neither_name_nor_content_is_ignored(name: bytes) -> None:
    verdict = sniff(b"once upon a time", name)
    assert isinstance(verdict, ReadFailure)
    assert verdict.trouble is Trouble.NO_PICTURE


def test_apple_double_is_ignored_in_spite_of_its_name() -> None:
    verdict = sniff(b"\0\x05\x16\x07\0\2\0\0Mac OS X        ", b"IMG_1.jpg")
    assert isinstance(verdict, ReadFailure)
    assert verdict.trouble is Trouble.NO_PICTURE


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        (b"/photos/IMG_1.JPG", NameVerdict.PICTURE),
        (b"IMG_1.nef", NameVerdict.PICTURE),
        (b"IMG_1.jpg.xmp", NameVerdict.OTHER),
        (b"IMG_1.MOV", NameVerdict.OTHER),
        (b"/a.jpg/IMG_1", NameVerdict.UNKNOWN),
        (b"photo.dat", NameVerdict.UNKNOWN),
        (b"photo.\xff\xfe", NameVerdict.UNKNOWN),
    ],
)
def test_names(name: bytes, verdict: NameVerdict) -> None:
    assert judge_name(name) is verdict


def test_the_tables_do_not_overlap() -> None:
    read = [extension for extensions in EXTENSIONS_BY_FORMAT.values() for extension in extensions]
    assert len(read) == len(set(read))
    assert not set(read) & set(UNREAD_EXTENSIONS)
    assert not (set(read) | set(UNREAD_EXTENSIONS)) & OTHER_EXTENSIONS


def test_peeking_does_not_take_texts_and_videos_for_pictures() -> None:
    for head in (b"", b"text", b"BM, the car maker, and more text", MP4, b"\x89PNG", bytes(32)):
        assert not looks_like_picture(head)


@given(st.binary(max_size=64), st.binary(max_size=16))
def test_any_bytes_get_a_verdict_of_one_line(head: bytes, name: bytes) -> None:
    verdict = sniff(head, name)
    if isinstance(verdict, ReadFailure):
        assert verdict.reason.isprintable()
    else:
        assert verdict in EXTENSIONS_BY_FORMAT


def test_the_formats_that_can_be_asked_for_are_those_that_are_read() -> None:
    assert tuple(EXTENSIONS_BY_FORMAT) == FORMATS
