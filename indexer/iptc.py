"""IPTC-IIM: title and keywords from the older metadata block of press photos and photo managers.

Source: IPTC-IIM 4.2, chapters 3 (datasets) and 6 (application record).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_CHARACTER_SET = (1, 90)
_UTF8 = b"\x1b%G"
_OBJECT_NAME, _KEYWORD, _HEADLINE, _CAPTION = (2, 5), (2, 25), (2, 105), (2, 120)


@dataclass(frozen=True, slots=True)
class IptcFacts:
    """What the datasets say; empty where they say nothing."""

    titles: tuple[str, ...] = ()
    """Object name, headline and caption, as far as they are there, in this order."""
    keywords: tuple[str, ...] = ()


def read_iptc(block: bytes) -> IptcFacts:
    """Read IPTC datasets up to the first damage; never raises."""
    fields: dict[tuple[int, int], list[bytes]] = {}
    for number, value in _datasets(block):
        fields.setdefault(number, []).append(value)
    is_utf8 = _UTF8 in fields.get(_CHARACTER_SET, [])

    def texts(number: tuple[int, int]) -> tuple[str, ...]:
        return tuple(decode_text(value, is_utf8=is_utf8) for value in fields.get(number, ()))

    return IptcFacts((*texts(_OBJECT_NAME), *texts(_HEADLINE), *texts(_CAPTION)), texts(_KEYWORD))


def decode_text(value: bytes, *, is_utf8: bool = False) -> str:
    """Text of unknown encoding: UTF-8 where it is valid, otherwise Latin-1, as older programs wrote."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("utf-8", "replace") if is_utf8 else value.decode("latin-1")


def _datasets(block: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """((record, dataset), value) of each standard dataset."""
    at = 0
    while at + 5 <= len(block) and block[at] == 0x1C:
        number = (block[at + 1], block[at + 2])
        length = int.from_bytes(block[at + 3 : at + 5], "big")
        if length & 0x8000:  # an extended dataset: the length of the length follows; none of ours is that long
            return
        yield number, block[at + 5 : at + 5 + length]
        at += 5 + length
