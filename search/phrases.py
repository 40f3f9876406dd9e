"""Splits what a person typed into what the photo should show and the words that must stand there exactly.

a beach "IMG_2041" "Nikon"    shows "a beach"; the words IMG_2041 and Nikon
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Straight and curved quotes close each other, since keyboards and correcting programs mix them; so do the pointed
# ones, which some languages turn round. One behind a letter or digit opens nothing: 5" is a length.
_QUOTED = re.compile(r'(?<!\w)(?:["“”„‟]([^"“”„‟]*)["“”„‟]|[«»]([^«»]*)[«»])')


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """A query taken apart."""

    text: str
    """What is left outside of the quotes, blanks at its ends removed; empty where all was quoted."""
    phrases: tuple[str, ...] = ()
    """What stood in quotes, in order, each once."""


def parse_query(query: str) -> ParsedQuery:
    """Take quoted phrases out of a query; never raises.

    A quote that is never closed is part of the text. Quotes without a letter or digit in them are dropped.
    Apostrophes and single quotes are no quotes.
    """
    phrases: dict[str, None] = {}

    def take(found: re.Match[str]) -> str:
        phrase = " ".join((found[1] or found[2] or "").split())
        if has_word(phrase):
            phrases[phrase] = None
        return " "

    rest = _QUOTED.sub(take, query)
    return ParsedQuery(" ".join(rest.split()), tuple(phrases))


def has_word(phrase: str) -> bool:
    """Is there anything in it that a search for exact words could find?"""
    return any(character.isalnum() for character in phrase)
