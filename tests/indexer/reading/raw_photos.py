"""Camera RAW files that the tests make themselves: DNG with a Bayer pattern, and the metadata of others.

Source: Adobe DNG 1.4, TIFF 6.0.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

import numpy as np
from PIL import Image
from small_photos import encoded

Value: TypeAlias = tuple[int, int, bytes]
"""TIFF type, count, bytes."""

WHITE = 4095
HEADER = b"II*\0" + struct.pack("<L", 8)


def short(*numbers: int) -> Value:
    return 3, len(numbers), struct.pack(f"<{len(numbers)}H", *numbers)


def long(number: int) -> Value:
    return 4, 1, struct.pack("<L", number)


def ascii(text: bytes) -> Value:
    return 2, len(text) + 1, text + b"\0"


def octets(*numbers: int) -> Value:
    return 1, len(numbers), bytes(numbers)


def ratios(*numbers: int) -> Value:
    return 10, len(numbers), b"".join(struct.pack("<2l", number, 1) for number in numbers)


def directory(at: int, entries: dict[int, Value]) -> bytes:
    """A directory that will stand at this offset, with its values behind it."""
    out, values = struct.pack("<H", len(entries)), b""
    for tag, (kind, count, value) in sorted(entries.items()):
        inline = value.ljust(4, b"\0")
        if len(value) > 4:
            inline = struct.pack("<L", at + 2 + 12 * len(entries) + 4 + len(values))
            values += value + bytes(len(value) % 2)
        out += struct.pack("<HHL", tag, kind, count) + inline
    return out + bytes(4) + values


def dng(
    sensor: Image.Image, preview: Image.Image | None = None, *, orientation: int = 1, taken_at: bytes = b""
) -> bytes:
    """A DNG whose sensor saw this picture (even sides), with a JPEG of `preview` where one is given."""
    pixels = _bayer(sensor)
    jpeg = encoded(preview, "JPEG", quality=90) if preview is not None else b""
    sections = [b"", b"", b""]
    for _attempt in range(2):  # the second one knows where everything lies
        starts = [8]
        for section in (*sections, pixels):
            starts.append(starts[-1] + len(section))
        first_at, exif_at, sub_at, pixels_at, jpeg_at = starts
        camera = {
            0x010F: ascii(b"Photoseek"),
            0x0110: ascii(b"Test 1"),
            0x0112: short(orientation),
            0x8769: long(exif_at),
            0xC612: octets(1, 4, 0, 0),
            0xC614: ascii(b"Photoseek Test 1"),
            0xC621: ratios(1, 0, 0, 0, 1, 0, 0, 0, 1),  # colour matrix
            0xC65A: short(21),  # daylight
        }
        whole = {
            0x00FE: long(0),
            0x0100: long(sensor.width),
            0x0101: long(sensor.height),
            0x0102: short(16),
            0x0103: short(1),
            0x0106: short(32803),  # a colour filter array
            0x0111: long(pixels_at),
            0x0115: short(1),
            0x0116: long(sensor.height),
            0x0117: long(len(pixels)),
            0x828D: short(2, 2),
            0x828E: octets(0, 1, 1, 2),
            0xC61D: short(WHITE),
        }
        if preview is None:
            first, sub = camera | whole, b""
        else:
            reduced = {
                0x00FE: long(1),
                0x0100: long(preview.width),
                0x0101: long(preview.height),
                0x0102: short(8, 8, 8),
                0x0103: short(7),
                0x0106: short(6),
                0x0111: long(jpeg_at),
                0x0115: short(3),
                0x0116: long(preview.height),
                0x0117: long(len(jpeg)),
                0x014A: long(sub_at),
            }
            first, sub = camera | reduced, directory(sub_at, whole)
        exif = directory(exif_at, {0x9003: ascii(taken_at)} if taken_at else {0x9000: (7, 4, b"0232")})
        sections = [directory(first_at, first), exif, sub]
    return HEADER + b"".join(sections) + pixels + jpeg


def _bayer(picture: Image.Image) -> bytes:
    """What a sensor with red, green, green, blue pixels sees of it: 12 bits in 16, linear light."""
    light = ((np.asarray(picture, dtype=np.float64) / 255) ** 2.2 * WHITE).astype("<u2")
    seen = light[:, :, 1].copy()
    seen[0::2, 0::2] = light[0::2, 0::2, 0]
    seen[1::2, 1::2] = light[1::2, 1::2, 2]
    return seen.tobytes()


def box(kind: bytes, content: bytes, *, wide: bool = False) -> bytes:
    """A box of an ISO media file, with a 64-bit length where wanted."""
    if wide:
        return struct.pack(">L4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">L4s", 8 + len(content), kind) + content


def cr3(image: bytes, photo: bytes, gps: bytes, xmp: bytes = b"") -> bytes:
    """Canon's RAW with these three TIFF structures; without pixels."""
    parts = box(b"CNCV", b"CanonCR3_001") + box(b"CMT1", image) + box(b"CMT2", photo) + box(b"CMT4", gps)
    moov = box(b"moov", box(b"uuid", bytes.fromhex("85c0b687820f11e08111f4ce462b6a48") + parts) + box(b"mvhd", b""))
    packet = box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + xmp)
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + moov + packet + box(b"mdat", bytes(50), wide=True)


def raf(jpeg: bytes) -> bytes:
    """Fujifilm's RAW around this JPEG; without pixels."""
    return b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + struct.pack(">LL", 100, len(jpeg)) + bytes(8) + jpeg
