"""Small pictures, EXIF blocks and preprocessings that the tests make themselves."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from photoseek.contracts import Picture

RED, GREEN, BLUE, YELLOW = (230, 20, 20), (20, 200, 20), (20, 20, 220), (230, 220, 30)


@dataclass(frozen=True)
class Squash:
    """A preprocessing for tests: squashes the photo, after a mishap that the tests ask for."""

    size: int = 64
    mishap: str = ""
    drafts: bool = True
    seconds: float = 0.0

    digest = "squash"

    @property
    def draft_size(self) -> tuple[int, int] | None:
        return (2 * self.size, 2 * self.size) if self.drafts else None

    def prepare(self, image: Image.Image) -> Picture:
        time.sleep(self.seconds)
        is_red = np.asarray(image.resize((1, 1)))[0, 0].tolist()[0] > 200
        if is_red and self.mishap == "crash":
            os.abort()
        if is_red and self.mishap == "hang":
            time.sleep(600)
        if is_red and self.mishap == "memory":
            bytearray(1 << 40)
        if is_red and self.mishap == "bug":
            raise RuntimeError("two\nlines")
        if is_red and self.mishap == "print":
            os.write(1, b"a decoder that talks")
            print("and Python too", flush=True)
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.BICUBIC))

    def spec(self) -> tuple[str, dict[str, object]]:
        return "small_photos:Squash", asdict(self)


def four_colours(width: int = 120, height: int = 80) -> Image.Image:
    """Red, green, blue and yellow corners: every turn and flip shows."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def plain(colour: tuple[int, int, int]) -> bytes:
    """A JPEG of one colour."""
    return encoded(Image.new("RGB", (32, 32), colour), "JPEG")


def encoded(image: Image.Image, format_name: str, **options: object) -> bytes:
    """The bytes of a file with this picture."""
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def noise_jpeg(width: int, height: int) -> bytes:
    """A JPEG whose every block holds something."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG", quality=80)


def exif_block(
    image: Mapping[int, object] | None = None,
    photo: Mapping[int, object] | None = None,
    gps: Mapping[int, object] | None = None,
    *,
    order: str = "<",
) -> bytes:
    """An EXIF block: text as str, numbers as int (SHORT), rationals as tuples of (n, d), bytes as UNDEFINED."""
    block = bytearray(struct.pack(f"{order}2sHL", b"II" if order == "<" else b"MM", 42, 8))
    entries: dict[int, object] = dict(image or {})
    pointers = {0x8769: photo, 0x8825: gps}
    entries |= {tag: 0 for tag, directory in pointers.items() if directory is not None}
    fields = _append_directory(block, entries, order)
    for tag, directory in pointers.items():
        if directory is not None:
            struct.pack_into(f"{order}HLL", block, fields[tag] + 2, 4, 1, len(block))
            _append_directory(block, directory, order)
    return bytes(block)


def _append_directory(block: bytearray, entries: Mapping[int, object], order: str) -> dict[int, int]:
    """Append a directory and its values; returns where the entry of each tag begins."""
    start = len(block)
    block += struct.pack(f"{order}H", len(entries)) + bytes(12 * len(entries) + 4)
    places = {}
    for number, (tag, value) in enumerate(sorted(entries.items())):
        kind, count, content = _content(value, order)
        places[tag] = at = start + 2 + 12 * number
        struct.pack_into(f"{order}HHL", block, at, tag, kind, count)
        if len(content) <= 4:
            block[at + 8 : at + 8 + len(content)] = content
        else:
            struct.pack_into(f"{order}L", block, at + 8, len(block))
            block += content
    return places


def _content(value: object, order: str) -> tuple[int, int, bytes]:
    """TIFF type, count and bytes of a value."""
    if isinstance(value, str):
        text = value.encode() + b"\0"
        return 2, len(text), text
    if isinstance(value, bytes):
        return 7, len(value), value
    if isinstance(value, int):
        return 3, 1, struct.pack(f"{order}H", value)
    assert isinstance(value, tuple)
    return 5, len(value), b"".join(struct.pack(f"{order}LL", *ratio) for ratio in value)


def xmp_packet(properties: str, *, doctype: str = "") -> bytes:
    """An XMP packet around these elements of one rdf:Description."""
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{doctype}
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:aux="http://ns.adobe.com/exif/1.0/aux/"
 xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/">{properties}</rdf:Description>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()
