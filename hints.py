"""What somebody may have meant by words that do not work as they were written: one line each, for the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from photoseek.errors import LibraryError
from photoseek.search.filters import where
from photoseek.search.phrases import has_word
from photoseek.search.query import Query, Words

if TYPE_CHECKING:
    from photoseek.library import PhotoLibrary

_EXCLUSION = re.compile(r"\b(?:without|no|not)\s+(?:(?:any|an?)\s+)?(\w+)", re.IGNORECASE)
_LIKE_A_NAME = re.compile(r"\S*\d\S*|\S+\.[A-Za-z]\w{1,4}")


def hints_for(query: Query, library: PhotoLibrary, *, nothing: bool) -> list[str]:
    """What else the words of a question may have meant; `nothing`: no photo looks like it."""

    def count(words: str) -> int:
        try:
            return library.count(where=where.words(words))
        except LibraryError:  # words cannot be looked up here; who puts them in quotes is told why
            return 0

    wished = [part.text.strip() for part in query.parts if isinstance(part, Words) and part.weight > 0]
    hints = [exclusion_hint(words) for words in wished]
    hints += [exact_hint(words, count, nothing=nothing) for words in wished]
    return [hint for hint in hints if hint is not None]


def exclusion_hint(words: str) -> str | None:
    """Models of this kind read "no people" as "people"."""
    found = _EXCLUSION.search(words)
    if found is None:
        return None
    return f'The model takes "{found[0]}" for "{found[1]}"; --without "{found[1]}" leaves such photos out.'


def exact_hint(words: str, count: Callable[[str], int], *, nothing: bool) -> str | None:
    """Words that stand in a photo's name or keywords are looked for in quotes only.

    Args:
        count: how many photos have these words in or about them.
        nothing: no photo looks like the words.
    """
    if '"' in words or not has_word(words) or not (nothing or _LIKE_A_NAME.fullmatch(words)):
        return None
    there = count(words)
    if not there:
        return None
    has = "1 photo has" if there == 1 else f"{there:,} photos have"
    return f"{has} these very words in the name, the folder or the keywords: put them in quotes, '\"{words}\"'."
