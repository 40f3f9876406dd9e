"""Reading XMP packets, whole and hostile."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_photos import xmp_packet

from photoseek.indexer.xmp import DEPTH_MAX, PACKET_BYTES_MAX, read_xmp

LAUGHS = (
    "<!DOCTYPE l ["
    + '<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    + "]>"
)


def test_elements_attributes_and_arrays() -> None:
    packet = xmp_packet(
        "<xmp:Rating>4</xmp:Rating>"
        "<dc:subject><rdf:Bag><rdf:li>sea</rdf:li><rdf:li> sand </rdf:li></rdf:Bag></dc:subject>"
        '<dc:title><rdf:Alt><rdf:li xml:lang="de">Meer</rdf:li>'
        '<rdf:li xml:lang="x-default">Sea</rdf:li></rdf:Alt></dc:title>'
    ).replace(b'rdf:about=""', b'rdf:about="" photoshop:Headline="At the sea"')
    assert read_xmp(packet) == {
        "photoshop:Headline": ("At the sea",),
        "xmp:Rating": ("4",),
        "dc:subject": ("sea", "sand"),
        "dc:title": ("Sea", "Meer"),
    }


def test_other_prefixes_for_the_same_names_do() -> None:
    packet = (
        xmp_packet("<xmp:Rating>4</xmp:Rating>").replace(b"xmp:Rating", b"p:Rating").replace(b"xmlns:xmp=", b"xmlns:p=")
    )
    assert read_xmp(packet) == {"xmp:Rating": ("4",)}


def test_structures_below_a_property_are_no_properties() -> None:
    packet = xmp_packet(
        '<xmpMM:History><rdf:Seq><rdf:li><rdf:Description xmp:Rating="1"><xmp:CreateDate>2001-01-01</xmp:CreateDate>'
        "</rdf:Description></rdf:li></rdf:Seq></xmpMM:History>"
    )
    assert read_xmp(packet) == {}


def test_padding_and_other_encodings() -> None:
    packet = xmp_packet("<dc:creator>Éa</dc:creator>")
    assert read_xmp(packet + b" " * 2000 + b"\0") == {"dc:creator": ("Éa",)}
    text = packet.decode().replace("\ufeff", "")
    assert read_xmp(b"\xff\xfe" + text.encode("utf-16-le")) == {"dc:creator": ("Éa",)}


@pytest.mark.parametrize("doctype", ["<!DOCTYPE x>", '<!DOCTYPE x SYSTEM "file:///etc/passwd">', LAUGHS])
def test_a_document_type_makes_the_packet_unread(doctype: str) -> None:
    packet = xmp_packet("<xmp:Rating>4</xmp:Rating><dc:creator>&a9;</dc:creator>", doctype=doctype)
    start = time.perf_counter()
    assert read_xmp(packet) == {}
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0\0\0",
        b"no XML",
        xmp_packet("<xmp:Rating>4</xmp:Label>"),
        xmp_packet("<xmp:Rating>4</xmp:Rating>")[:-30],
        b'<?xml version="1.0" encoding="klingon"?><a/>',
        b'<?xml version="1.0" encoding="utf-7"?><a/>',
        xmp_packet("<dc:a>" * DEPTH_MAX + "</dc:a>" * DEPTH_MAX),
        xmp_packet("<xmp:Rating>4</xmp:Rating>" + " " * PACKET_BYTES_MAX),
    ],
)
def test_damaged_and_oversized_packets_say_nothing(packet: bytes) -> None:
    assert read_xmp(packet) == {}


@given(st.data())
def test_any_bytes_are_answered(data: st.DataObject) -> None:
    packet = xmp_packet("<xmp:Rating>4</xmp:Rating>")
    at = data.draw(st.integers(0, len(packet)))
    noise = data.draw(st.binary(max_size=20))
    read_xmp(noise)
    for values in read_xmp(packet[:at] + noise + packet[at + len(noise) :]).values():
        assert all(isinstance(value, str) for value in values)
