"""XMP: reads the plain properties of a packet with a parser that unfolds nothing.

A document type declaration, the only place where entities can be declared, makes the packet unread. Only
properties that stand directly in an `rdf:Description` count; structures below them, such as the history of
edits, are passed over.

Source: Adobe XMP specification part 1 (data model, serialisation in RDF/XML).
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.parsers import expat

PACKET_BYTES_MAX = 4 << 20
"""Larger packets are not read; photo managers write a few KiB."""

DEPTH_MAX = 50
"""Nesting beyond this is no XMP that any program writes."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_LANGUAGE = "http://www.w3.org/XML/1998/namespace lang"
_ARRAYS = frozenset({f"{_RDF} Bag", f"{_RDF} Seq", f"{_RDF} Alt"})
_PREFIXES = {
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://cipa.jp/exif/1.0/": "exifEX",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://purl.org/dc/elements/1.1/": "dc",
}

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

XmpProperties = Mapping[str, tuple[str, ...]]
"""Values by `prefix:Name` with the customary prefixes; a simple property has one value, an array several,
an alternative of languages its default first."""


class _RefusedError(Exception):
    """The packet holds what no XMP packet may hold."""


def read_xmp(packet: bytes) -> XmpProperties:
    """Read the properties of an XMP packet; empty for one that is damaged, hostile or too large. Never raises."""
    if not packet.startswith(_UTF16_MARKS):
        packet = packet.strip(b"\0 \t\r\n")  # blocks are padded, and a zero is no XML
    if not packet or len(packet) > PACKET_BYTES_MAX:
        return {}
    collector = _Collector()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler = collector.start
    parser.EndElementHandler = collector.end
    parser.CharacterDataHandler = collector.text
    try:
        parser.Parse(packet, True)
    except (expat.ExpatError, _RefusedError, ValueError, LookupError):
        # ValueError and LookupError: an encoding that the declaration names and Python cannot use.
        return {}
    return {name: tuple(values) for name, values in collector.found.items()}


def _refuse(*declaration: object) -> None:
    raise _RefusedError("document type declaration")


class _Collector:
    """Gathers properties while the parser walks: RDF > Description > property [> array > li]."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}
        self._path: list[str] = []
        self._text: list[str] = []
        self._is_default = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > DEPTH_MAX:
            raise _RefusedError("nested too deeply")
        self._text.clear()
        if self._is_description():
            for attribute, value in attributes.items():
                self._keep(attribute, value)
        self._is_default = attributes.get(_LANGUAGE) == "x-default"

    def text(self, data: str) -> None:
        self._text.append(data)

    def end(self, name: str) -> None:
        text = "".join(self._text)
        self._text.clear()
        if (prop := self._property_at(-1)) is not None:
            self._keep(prop, text)
        elif name == f"{_RDF} li" and self._path[-2] in _ARRAYS and (prop := self._property_at(-3)) is not None:
            self._keep(prop, text, first=self._is_default)
        self._path.pop()

    def _is_description(self) -> bool:
        return self._path[-2:] == [f"{_RDF} RDF", f"{_RDF} Description"]

    def _property_at(self, position: int) -> str | None:
        """The element at this place of the path, where it is a property of a top Description."""
        end = len(self._path) + position
        if end >= 2 and self._path[end - 2 : end] == [f"{_RDF} RDF", f"{_RDF} Description"]:
            return self._path[end]
        return None

    def _keep(self, name: str, value: str, *, first: bool = False) -> None:
        """Keep a value that is not blank, of a property that has one of our prefixes."""
        namespace, _, local = name.rpartition(" ")
        prefix, value = _PREFIXES.get(namespace), value.strip()
        if prefix is None or not value:
            return
        values = self.found.setdefault(f"{prefix}:{local}", [])
        values.insert(0 if first else len(values), value)
