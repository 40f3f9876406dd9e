"""Where each file format keeps the metadata: the EXIF, XMP and IPTC blocks of a file, as bytes.

Walks of segments and chunks only; what the blocks say is read in `exif`, `xmp` and `iptc`. Any bytes give
an answer: a damaged file yields the blocks before the damage. HEIC and AVIF are not here, since their
decoders hand the blocks out.

Sources: JFIF and EXIF 2.32 (segments), PNG 3rd edition (chunks), WebP container, TIFF 6.0, Adobe XMP part 3; of RAW,
Canon's CR3 as Laurent Clévy describes it (lclevy/canon_cr3), and Fujifilm's RAF as ExifTool does.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from photoseek.indexer.exif import read_exif

TEXT_BYTES_MAX = 4 << 20
"""Unpacked size up to which a compressed PNG text is read; an XMP packet has a few KiB, hardly ever 1 MiB."""

PROFILE_BYTES_MAX = 1 << 20
"""Unpacked size up to which a PNG's colour profile is kept: Pillow refuses the whole picture above it."""

_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP_IN_JPEG = b"Photoshop 3.0\0"
_TIFF_XMP, _TIFF_IPTC, _TIFF_PHOTOSHOP = 700, 33723, 34377
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RAF_SIGNATURE, _RAF_JPEG_POINTER = b"FUJIFILMCCD-RAW ", 84
_CR3_METADATA = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_CR3_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")

# The chunks that say what the pixels look like. Text can hide a bomb, and animation is not looked at.
_PNG_PICTURE_CHUNKS = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"sBIT"}
)


# The entry of an EXIF block in the item list of an AVIF or HEIC (ISO/IEC 14496-12, ItemInfoEntry version 2).
_EXIF_ITEM = re.compile(rb"(infe\x02.{3}.{4})Exif", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MetadataBlocks:
    """The metadata of one file, not yet read; None where the file has none."""

    exif: bytes | None = None
    """A TIFF structure, with or without `Exif\\0\\0` in front."""
    xmp: bytes | None = None
    """An XMP packet."""
    iptc: bytes | None = None
    """IPTC-IIM datasets."""
    exif_photo: bytes | None = None
    exif_gps: bytes | None = None
    """TIFF structures around the EXIF and the GPS directory, where `exif` does not hold them."""


def metadata_blocks(data: bytes, format_name: str) -> MetadataBlocks:
    """Find the metadata blocks of a jpeg, png, webp, tiff or raw; other formats have none here. Never raises."""
    match format_name:
        case "jpeg":
            return _blocks_of_jpeg(data)
        case "png":
            return _blocks_of_png(data)
        case "webp":
            return _blocks_of_webp(data)
        case "tiff":
            return _blocks_of_tiff(data)
        case "raw":
            return _blocks_of_raw(data)
        case _:
            return MetadataBlocks()


def png_without_text(data: bytes) -> bytes:
    """A PNG with only the chunks that say what its picture looks like.

    Pillow reads every text chunk when it opens a PNG, and refuses the picture when one unpacks to too
    much. Without them the pixels can be had, and nothing is unpacked. A colour profile is dropped for
    the same reason where it is too large. Returns `data` itself where there is nothing to drop.
    """
    kept = [_PNG_SIGNATURE]
    length = len(_PNG_SIGNATURE)
    for name, start, end in _png_chunks(data):
        if name not in _PNG_PICTURE_CHUNKS or (name == b"iCCP" and _profile_of_png(data[start:end]) is None):
            continue
        whole = data[start - 8 : end + 4]
        kept.append(whole)
        length += len(whole)
    return data if length == len(data) else b"".join(kept)


def jpeg_without_metadata(data: bytes) -> bytes:
    """A JPEG without its EXIF and XMP segments.

    Pillow reads the EXIF block of every JPEG for a resolution that nobody asks for, and warns when it is damaged:
    in an app's process that would be output. Returns `data` itself where there is nothing to drop.
    """
    kept = []
    start = 0
    for marker, content, end in _jpeg_segments(data):
        if marker == 0xE1:
            kept.append(data[start : content - 4])
            start = end
    return b"".join([*kept, data[start:]]) if kept else data


def avif_without_exif(data: bytes) -> bytes:
    """An AVIF whose EXIF block is not found any more: libavif and Pillow refuse the picture for a damaged one."""
    return _EXIF_ITEM.sub(rb"\1skip", data)


def _blocks_of_jpeg(data: bytes) -> MetadataBlocks:
    exif = xmp = None
    photoshop = b""
    for marker, start, end in _jpeg_segments(data):
        if marker == 0xE1 and exif is None and data.startswith(b"Exif\0", start, end):
            exif = data[start:end]
        elif marker == 0xE1 and xmp is None and data.startswith(_XMP_IN_JPEG, start, end):
            xmp = data[start + len(_XMP_IN_JPEG) : end]
        elif marker == 0xED and data.startswith(_PHOTOSHOP_IN_JPEG, start, end):
            photoshop += data[start + len(_PHOTOSHOP_IN_JPEG) : end]  # one block may span several segments
    return MetadataBlocks(exif, xmp, _iptc_of_photoshop(photoshop))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's content, up to the scan data."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in (0xDA, 0xD9):  # start of scan, end of image
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return
        yield marker, at + 4, min(at + 2 + length, len(data))
        at += 2 + length


def _blocks_of_png(data: bytes) -> MetadataBlocks:
    exif = xmp = iptc = None
    for name, start, end in _png_chunks(data):
        if name == b"eXIf" and exif is None:
            exif = data[start:end]
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            keyword, text = _png_text(name, data[start : min(end, start + TEXT_BYTES_MAX)])
            if keyword == b"XML:com.adobe.xmp":
                xmp = xmp or text
            elif keyword in (b"Raw profile type exif", b"Raw profile type APP1"):
                exif = exif or _raw_profile(text)
            elif keyword == b"Raw profile type iptc":
                iptc = iptc or _iptc_of_photoshop(_raw_profile(text) or b"")
    return MetadataBlocks(exif, xmp, iptc)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each chunk's content, up to IEND; the last may be cut off."""
    at = len(_PNG_SIGNATURE)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        yield name, at + 8, min(at + 8 + length, len(data))
        if name == b"IEND":
            return
        at += 12 + length


def _png_text(name: bytes, chunk: bytes) -> tuple[bytes, bytes | None]:
    """Keyword and text of a text chunk; the text is None where it is damaged or too large."""
    keyword, _, rest = chunk.partition(b"\0")
    if name == b"tEXt":
        return keyword, rest
    if name == b"zTXt":
        return keyword, _inflate(rest[1:], TEXT_BYTES_MAX)
    packed = rest[:1] == b"\1"
    parts = rest[2:].split(b"\0", 2)  # language, translated keyword, text
    if len(parts) < 3:
        return keyword, None
    return keyword, _inflate(parts[2], TEXT_BYTES_MAX) if packed else parts[2]


def _raw_profile(text: bytes | None) -> bytes | None:
    """The bytes of a block that ImageMagick wrote into a PNG text: name, length, then hexadecimal lines."""
    parts = (text or b"").split(maxsplit=2)
    if len(parts) < 3:
        return None
    try:
        return bytes.fromhex(parts[2].decode("ascii"))
    except ValueError:
        return None


def _profile_of_png(chunk: bytes) -> bytes | None:
    """The unpacked colour profile of an iCCP chunk, or None where it is damaged or too large."""
    return _inflate(chunk.partition(b"\0")[2][1:], PROFILE_BYTES_MAX)


def _inflate(packed: bytes, bytes_max: int) -> bytes | None:
    """Unpack zlib data, but never more than `bytes_max`; None for damaged or larger data."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(packed, bytes_max)
    except zlib.error:
        return None
    return unpacked if unpacker.eof else None


def _blocks_of_webp(data: bytes) -> MetadataBlocks:
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name in (b"EXIF", b"XMP "):
            found.setdefault(name, data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    return MetadataBlocks(found.get(b"EXIF"), found.get(b"XMP "))


def _blocks_of_tiff(data: bytes) -> MetadataBlocks:
    first = read_exif(data).image
    iptc = first.raw(_TIFF_IPTC) or _iptc_of_photoshop(first.raw(_TIFF_PHOTOSHOP) or b"")
    return MetadataBlocks(data, first.raw(_TIFF_XMP), iptc)


def _blocks_of_raw(data: bytes) -> MetadataBlocks:
    """Of camera RAW: most is built like TIFF; Fujifilm's begins with a whole JPEG, Canon's newer one is ISO media."""
    if data.startswith(_RAF_SIGNATURE):
        at, length = (int.from_bytes(data[_RAF_JPEG_POINTER + k : _RAF_JPEG_POINTER + k + 4], "big") for k in (0, 4))
        return _blocks_of_jpeg(data[at : at + length])
    if data[4:8] == b"ftyp":
        return _blocks_of_cr3(data)
    return _blocks_of_tiff(data)


def _blocks_of_cr3(data: bytes) -> MetadataBlocks:
    found: dict[bytes, bytes] = {}
    xmp = None
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"uuid" and data.startswith(_CR3_XMP, start):
            xmp = data[start + 16 : end]
        for inner, at, inner_end in _boxes(data, start, end) if kind == b"moov" else ():
            if inner == b"uuid" and data.startswith(_CR3_METADATA, at):
                found |= {name: data[a:b] for name, a, b in _boxes(data, at + 16, inner_end)}
    return MetadataBlocks(found.get(b"CMT1"), xmp, None, found.get(b"CMT2"), found.get(b"CMT4"))


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of the content of each box in this part of an ISO media file (ISO/IEC 14496-12)."""
    while at + 8 <= end:
        length, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif length == 0:  # up to the end
            length = end - at
        if length < head:
            return
        yield kind, at + head, min(at + length, end)
        at += length


def _iptc_of_photoshop(resources: bytes) -> bytes | None:
    """The IPTC datasets (resource 0x0404) among Photoshop's image resource blocks."""
    at = 0
    while resources.startswith(b"8BIM", at):
        kind = int.from_bytes(resources[at + 4 : at + 6], "big")
        name_length = resources[at + 6] + 1 if at + 6 < len(resources) else 1
        at += 6 + name_length + name_length % 2
        length = int.from_bytes(resources[at : at + 4], "big")
        if kind == 0x0404:
            return resources[at + 4 : at + 4 + length]
        at += 4 + length + length % 2
    return None
