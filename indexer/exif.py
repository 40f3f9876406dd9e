"""EXIF: reads the directories of a TIFF structure, whatever state it is in.

A reader of its own, since it has to answer for any bytes: it follows three pointers at most (first directory,
EXIF, GPS), believes no count, copies only values that are asked for, and has neither warnings nor exceptions.

Sources: TIFF 6.0; EXIF 2.32 (CIPA DC-008); BigTIFF for files larger than 4 GiB.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

ENTRIES_MAX = 1000
"""Entries of a directory; cameras write fewer than 100, and a directory that claims more is not believed."""

VALUE_BYTES_MAX = 4 << 20
"""Size up to which a value is copied: XMP inside a TIFF is the largest that is asked for."""

_EXIF_POINTER, _GPS_POINTER = 0x8769, 0x8825

# Bytes of one value by TIFF type: BYTE ASCII SHORT LONG RATIONAL SBYTE UNDEFINED SSHORT SLONG SRATIONAL
# FLOAT DOUBLE IFD, and of BigTIFF LONG8 SLONG8 IFD8.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGER_CODES = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q", 17: "q", 18: "Q"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where the value of one tag stands."""

    type: int
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class Directory:
    """The tags of one directory; each question is answered with None where the tag is absent or damaged."""

    _block: bytes = b""
    _order: str = "<"
    _entries: dict[int, _Entry] = field(default_factory=dict)

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def raw(self, tag: int) -> bytes | None:
        """The bytes of a value."""
        entry = self._entries.get(tag)
        if entry is None:
            return None
        return self._block[entry.offset : entry.offset + entry.count * _TYPE_BYTES[entry.type]]

    def text(self, tag: int) -> bytes | None:
        """An ASCII value up to its first zero byte."""
        value = self.raw(tag)
        if value is None or self._entries[tag].type not in (1, 2, 7):
            return None
        return value.split(b"\0", 1)[0]

    def integer(self, tag: int) -> int | None:
        """The first number of a whole-number value."""
        value = self.raw(tag)
        code = _INTEGER_CODES.get(self._entries[tag].type) if value else None
        if not value or code is None:
            return None
        return int(struct.unpack_from(self._order + code, value)[0])

    def ratios(self, tag: int) -> tuple[float, ...] | None:
        """The numbers of a rational value; n/0 counts as damage of the whole value."""
        value = self.raw(tag)
        kind = self._entries[tag].type if value else 0
        if not value or kind not in (5, 10):
            return None
        parts = struct.unpack(f"{self._order}{len(value) // 4}{'L' if kind == 5 else 'l'}", value)
        numerators, denominators = parts[::2], parts[1::2]
        if 0 in denominators:
            return None
        return tuple(n / d for n, d in zip(numerators, denominators, strict=True))


@dataclass(frozen=True, slots=True)
class Exif:
    """The directories that photoseek asks; empty where the block has none."""

    image: Directory = Directory()
    """The first directory: make, model, orientation, rating."""
    photo: Directory = Directory()
    """The EXIF directory: dates, lens."""
    gps: Directory = Directory()


def read_exif(block: bytes, photo: bytes | None = None, gps: bytes | None = None) -> Exif:
    """Read an EXIF block, a TIFF file or a RAW file that is built like one; never raises, for any bytes.

    Args:
        block: a TIFF structure, or one behind `Exif\\0\\0`, as JPEG and some WebP and HEIC files have it.
        photo, gps: TIFF structures whose first directory is the EXIF or the GPS one, where they stand apart.
    """
    if block.startswith(b"Exif\0"):
        block = block[6:]
    layout = _layout_of(block)
    if layout is None:
        return Exif()
    first_at = layout.first_directory(block)
    image = layout.directory(block, first_at)
    seen = {first_at}

    def follow(pointer: int) -> Directory:
        at = image.integer(pointer)
        if at is None or at in seen:  # a pointer back to a directory that was read: a loop
            return Directory()
        seen.add(at)
        return layout.directory(block, at)

    return Exif(
        image,
        follow(_EXIF_POINTER) if photo is None else read_exif(photo).image,
        follow(_GPS_POINTER) if gps is None else read_exif(gps).image,
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """Byte order and field widths of classic TIFF (32-bit offsets) or BigTIFF (64-bit)."""

    order: str
    big: bool

    def first_directory(self, block: bytes) -> int:
        """Offset of the first directory; past the end where the header is cut off."""
        code, at = ("Q", 8) if self.big else ("L", 4)
        if at + struct.calcsize(self.order + code) > len(block):
            return len(block)
        return int(struct.unpack_from(self.order + code, block, at)[0])

    def directory(self, block: bytes, at: int) -> Directory:
        """The entries of the directory at this offset whose values lie inside the block."""
        count_code, entry_code, inline = ("Q", "HHQ", 8) if self.big else ("H", "HHL", 4)
        count_size = struct.calcsize(self.order + count_code)
        if at < 8 or at + count_size > len(block):
            return Directory()
        (claimed,) = struct.unpack_from(self.order + count_code, block, at)
        if claimed > ENTRIES_MAX:
            return Directory()
        head_size = struct.calcsize(self.order + entry_code)
        stride = head_size + inline
        entries: dict[int, _Entry] = {}
        first = at + count_size
        for start in range(first, min(first + claimed * stride, len(block) - stride + 1), stride):
            tag, kind, count = struct.unpack_from(self.order + entry_code, block, start)
            size = _TYPE_BYTES.get(kind, 0) * count
            if not 0 < size <= VALUE_BYTES_MAX:
                continue
            offset = start + head_size
            if size > inline:
                (offset,) = struct.unpack_from(self.order + ("Q" if self.big else "L"), block, offset)
            if offset + size <= len(block):
                entries.setdefault(tag, _Entry(kind, count, offset))
        return Directory(block, self.order, entries)


def _layout_of(block: bytes) -> _Layout | None:
    """Byte order and widths by the header, or None where this is no TIFF structure."""
    return _LAYOUTS.get(block[:4])


_LAYOUTS = {
    b"II*\0": _Layout("<", big=False),
    b"MM\0*": _Layout(">", big=False),
    b"II+\0": _Layout("<", big=True),
    b"MM\0+": _Layout(">", big=True),
    b"IIRO": _Layout("<", big=False),  # Olympus
    b"IIRS": _Layout("<", big=False),
    b"MMOR": _Layout(">", big=False),
    b"IIU\0": _Layout("<", big=False),  # Panasonic
}
