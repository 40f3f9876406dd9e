"""From metadata blocks to camera facts: which source wins, what counts as unknown."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_photos import encoded, exif_block, four_colours, xmp_packet

from photoseek.contracts import CameraFacts
from photoseek.indexer.containers import MetadataBlocks, metadata_blocks
from photoseek.indexer.metadata import CAPTIONS_MAX, KEYWORDS_MAX, TEXT_CHARACTERS_MAX, camera_facts

ORIGINAL, DIGITIZED, DATE_TIME, MAKE, MODEL, ORIENTATION, RATING, LENS = (
    0x9003,
    0x9004,
    0x0132,
    0x010F,
    0x0110,
    0x0112,
    0x4746,
    0xA434,
)
NORTH = {1: "N", 2: ((48, 1), (30, 1), (36, 1)), 3: "E", 4: ((11, 1), (0, 1), (0, 1))}


def facts(exif: bytes | None = None, xmp: str | None = None, iptc: bytes | None = None) -> CameraFacts:
    return camera_facts(MetadataBlocks(exif, xmp_packet(xmp) if xmp is not None else None, iptc))


def dataset(record: int, number: int, value: bytes) -> bytes:
    return bytes([0x1C, record, number]) + len(value).to_bytes(2, "big") + value


def test_nothing_says_nothing() -> None:
    assert facts() == CameraFacts()


def test_each_date_in_its_turn() -> None:
    image, photo = (
        {DATE_TIME: "2004:01:01 00:00:00"},
        {ORIGINAL: "2001:01:01 00:00:00", DIGITIZED: "2002:01:01 00:00:00"},
    )
    xmp = "<xmp:CreateDate>2003-01-01T00:00:00+01:00</xmp:CreateDate>"
    assert facts(exif_block(image, photo), xmp).taken_source == "DateTimeOriginal"
    photo[ORIGINAL] = "0000:00:00 00:00:00"
    assert facts(exif_block(image, photo), xmp).taken_at == "2002-01-01T00:00:00"
    del photo[DIGITIZED]
    from_xmp = facts(exif_block(image, photo), xmp)
    assert (from_xmp.taken_at, from_xmp.taken_source, from_xmp.taken_offset_minutes) == (
        "2003-01-01T00:00:00",
        "XMP",
        60,
    )
    last = facts(exif_block(image, photo))
    assert (last.taken_at, last.taken_source) == ("2004-01-01T00:00:00", "DateTime")


def test_xmp_dates_in_their_turn() -> None:
    created = "<photoshop:DateCreated>2002-02-02</photoshop:DateCreated><xmp:CreateDate>2003-03-03</xmp:CreateDate>"
    assert facts(xmp=created).taken_at == "2002-02-02T00:00:00"
    assert (
        facts(xmp=created + "<exif:DateTimeOriginal>2001-01-01T01:01</exif:DateTimeOriginal>").taken_at
        == "2001-01-01T01:01:00"
    )


def test_subseconds_and_offset_come_from_the_same_family() -> None:
    photo = {DIGITIZED: "2002:01:01 00:00:00", 0x9291: "111", 0x9011: "+01:00", 0x9292: "222", 0x9012: "+02:00"}
    digitized = facts(exif_block({}, photo))
    assert (digitized.taken_at, digitized.taken_offset_minutes) == ("2002-01-01T00:00:00.222", 120)


def test_camera_and_lens_without_padding() -> None:
    camera = facts(exif_block({MAKE: "NIKON   ", MODEL: "E950\tX"}, {LENS: "50 mm\0rest"}))
    assert (camera.camera_make, camera.camera_model, camera.lens) == ("NIKON", "E950 X", "50 mm")
    blank = facts(exif_block({MAKE: "   "}), "<tiff:Make>Maker</tiff:Make><aux:Lens>35 mm</aux:Lens>")
    assert (blank.camera_make, blank.lens) == ("Maker", "35 mm")


def test_place_in_degrees() -> None:
    place = facts(exif_block(gps=NORTH))
    assert (place.latitude, place.longitude) == (pytest.approx(48.51), 11.0)
    place = facts(exif_block(gps={**NORTH, 1: "S", 3: "W"}))
    assert (place.latitude, place.longitude) == (pytest.approx(-48.51), -11.0)
    place = facts(xmp="<exif:GPSLatitude>48,30.6S</exif:GPSLatitude><exif:GPSLongitude>11,0,36E</exif:GPSLongitude>")
    assert (place.latitude, place.longitude) == (pytest.approx(-48.51), pytest.approx(11.01))


@pytest.mark.parametrize(
    "gps",
    [
        {**NORTH, 2: ((123, 1), (0, 1), (0, 1))},
        {**NORTH, 4: ((181, 1), (0, 1), (0, 1))},
        {**NORTH, 2: ((0, 0), (0, 0), (0, 0))},
        {**NORTH, 2: ((1, 0), (0, 1), (0, 1))},
        {**NORTH, 2: ((0, 1), (0, 1), (0, 1)), 4: ((0, 1), (0, 1), (0, 1))},
        {**NORTH, 1: "x"},
        {**NORTH, 1: ""},
        {2: NORTH[2], 4: NORTH[4]},
        {1: "N", 2: NORTH[2]},
    ],
)
def test_half_and_impossible_places_are_unknown(gps: dict[int, object]) -> None:
    place = facts(exif_block(gps=gps))
    assert (place.latitude, place.longitude) == (None, None)


@pytest.mark.parametrize(
    ("exif_rating", "xmp_rating", "rating"),
    [(4, None, 4), (None, "3", 3), (None, "-1", -1), (2, "5", 5), (None, "0", 0), (None, "4.0", 4), (2, "nan", 2)]
    + [(None, text, None) for text in ("6", "-2", "3.5", "five", "inf", "")]
    + [(6, None, None), (65535, None, None)],
)
def test_ratings(exif_rating: int | None, xmp_rating: str | None, rating: int | None) -> None:
    exif = exif_block({RATING: exif_rating}) if exif_rating is not None else None
    xmp = f"<xmp:Rating>{xmp_rating}</xmp:Rating>" if xmp_rating is not None else None
    assert facts(exif, xmp).rating == rating


@pytest.mark.parametrize(("stored", "orientation"), [(n, n) for n in range(1, 9)] + [(0, 1), (9, 1), (65535, 1)])
def test_orientations(stored: int, orientation: int) -> None:
    assert facts(exif_block({ORIENTATION: stored})).orientation == orientation


def test_titles_and_keywords_from_all_three() -> None:
    exif = exif_block({0x010E: "from\nEXIF"})
    iptc = dataset(2, 105, b"from IPTC") + dataset(2, 25, b"sea") + dataset(2, 25, "Düne".encode("latin-1"))
    xmp = "<dc:subject><rdf:Bag><rdf:li>sand</rdf:li><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>"
    assert facts(exif).title == "from EXIF"
    assert facts(exif, iptc=iptc).title == "from IPTC"
    assert facts(exif, "<photoshop:Headline>from XMP</photoshop:Headline>", iptc).title == "from XMP"
    assert facts(exif, xmp, iptc).keywords == ("sand", "sea", "Düne")
    utf8 = dataset(1, 90, b"\x1b%G") + dataset(2, 25, "Düne 🏖".encode())
    assert facts(iptc=utf8).keywords == ("Düne 🏖",)
    assert facts(exif_block({0x9C9B: "Grüße\0".encode("utf-16-le")})).title == "Grüße"


def test_every_text_beside_the_title_is_a_caption_once() -> None:
    exif = exif_block({0x010E: "Low tide", 0x9C9C: "with aunt Mary\0".encode("utf-16-le")})
    iptc = dataset(2, 5, b"Beach") + dataset(2, 105, b"The headline") + dataset(2, 120, b"Low  tide")
    xmp = "<dc:title><rdf:Alt><rdf:li>Beach</rdf:li><rdf:li>Strand</rdf:li></rdf:Alt></dc:title>"
    found = facts(exif, xmp, iptc)
    assert (found.title, found.captions) == ("Beach", ("Strand", "The headline", "Low tide", "with aunt Mary"))
    assert facts(exif_block({0x9C9E: "sea; Düne;sea\0".encode("utf-16-le")})).keywords == ("sea", "Düne")
    assert facts().captions == ()


def test_endless_texts_are_cut() -> None:
    many = "".join(f"<rdf:li>{n}</rdf:li>" for n in range(2 * KEYWORDS_MAX))
    long = facts(
        xmp=f"<dc:title>{'a' * 5000}</dc:title><dc:subject><rdf:Bag>{many}</rdf:Bag></dc:subject>"
        f"<dc:description><rdf:Alt>{many}</rdf:Alt></dc:description>"
    )
    assert len(long.title or "") == TEXT_CHARACTERS_MAX
    assert len(long.keywords) == KEYWORDS_MAX
    assert len(long.captions) == CAPTIONS_MAX


@pytest.mark.parametrize("format_name", ["jpeg", "png", "webp", "tiff"])
def test_blocks_are_found_in_every_container(format_name: str) -> None:
    exif = exif_block({MAKE: "Maker"}, {ORIGINAL: "2001:01:01 00:00:00"})
    xmp = xmp_packet("<xmp:Rating>5</xmp:Rating>")
    if format_name == "tiff":
        data = encoded(four_colours(), "TIFF", tiffinfo={MAKE: "Maker", DATE_TIME: "2001:01:01 00:00:00", 700: xmp})
    elif format_name == "png":
        data = insert_chunks(
            encoded(four_colours(), "PNG"), (b"eXIf", exif), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
        )
    else:
        data = encoded(four_colours(), format_name.upper(), exif=b"Exif\0\0" + exif, xmp=xmp)
    found = camera_facts(metadata_blocks(data, format_name))
    assert (found.camera_make, found.taken_at, found.rating) == ("Maker", "2001-01-01T00:00:00", 5)


def test_png_texts_of_every_kind() -> None:
    xmp = xmp_packet("<xmp:Rating>5</xmp:Rating>")
    picture = encoded(four_colours(), "PNG")
    packed = insert_chunks(picture, (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)))
    assert camera_facts(metadata_blocks(packed, "png")).rating == 5
    exif = b"Exif\0\0" + exif_block({MAKE: "Maker"})
    raw = b"\nexif\n%8d\n" % len(exif) + exif.hex().encode()
    old = insert_chunks(picture, (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)))
    assert camera_facts(metadata_blocks(old, "png")).camera_make == "Maker"


def test_photoshop_resources_of_a_jpeg() -> None:
    iptc = dataset(2, 25, b"sea")
    resources = b"8BIM\x03\xed\x01a\0\0\0\x03abc\0" + b"8BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc
    segment = b"Photoshop 3.0\0" + resources
    jpeg = encoded(four_colours(), "JPEG")
    data = jpeg[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]
    assert camera_facts(metadata_blocks(data, "jpeg")).keywords == ("sea",)


def insert_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with more chunks in front of its end."""
    end = len(png) - 12
    added = b"".join(
        len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")
        for name, content in chunks
    )
    return png[:end] + added + png[end:]


BLOCKS = [
    exif_block({MAKE: "Maker", ORIENTATION: 3, RATING: 4}, {ORIGINAL: "2001:01:01 00:00:00"}, NORTH),
    xmp_packet("<xmp:Rating>5</xmp:Rating><exif:GPSLatitude>48,30.6N</exif:GPSLatitude>"),
    dataset(2, 25, b"sea") + dataset(2, 105, b"headline"),
]


@given(st.data())
def test_any_blocks_are_answered(data: st.DataObject) -> None:
    changed = []
    for block in BLOCKS:
        noise = data.draw(st.binary(max_size=12))
        at = data.draw(st.integers(0, len(block)))
        changed.append(data.draw(st.sampled_from([noise, block[:at], block[:at] + noise + block[at + len(noise) :]])))
    answer = camera_facts(MetadataBlocks(*changed))
    assert 1 <= answer.orientation <= 8
    assert answer.latitude is None or -90 <= answer.latitude <= 90
    assert answer.rating is None or -1 <= answer.rating <= 5
    "|".join([answer.title or "", answer.camera_make or "", *answer.keywords]).encode()


@given(st.data(), st.sampled_from(["jpeg", "png", "webp", "tiff"]))
def test_any_container_is_walked_to_its_end(data: st.DataObject, format_name: str) -> None:
    whole = encoded(four_colours(16, 16), format_name.upper(), exif=b"Exif\0\0" + BLOCKS[0])
    at = data.draw(st.integers(0, len(whole)))
    noise = data.draw(st.binary(max_size=12))
    camera_facts(metadata_blocks(whole[:at] + noise + whole[at + len(noise) :], format_name))
