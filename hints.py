"""What somebody may have meant by words that do not work as they were written: one line each, for the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING

from photoseek.errors import LibraryError
from photoseek.search.filters import where
from photoseek.search.phrases import has_word
from photoseek.search.query import Query, Words

if TYPE_CHECKING:
    from photoseek.library import PhotoLibrary

_EXCLUSION = re.compile(r"\b(?:without|no|not)\s+(?:(?:any|an?)\s+)?(\w+)", re.IGNORECASE)
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_VERBS = ("march", "may")
"""Months only where something says so."""
_MONTH = re.compile(
    rf"(?:\b(in|of|from|since|last|this)\s+)?\b({'|'.join(_MONTHS)})\b(?:,?\s+((?:19|20)\d\d)\b)?", re.IGNORECASE
)
_SPAN = re.compile(r"\b(?:today|yesterday|(?:this|last)\s+(?:month|year))\b", re.IGNORECASE)
_YEAR = re.compile(r"(?<![\w./-])(?:19|20)\d\d(?![\w/-]|\.\w)")
_QUOTED = re.compile(r'"[^"]*"')
_LIKE_A_NAME = re.compile(r"\S*\d\S*|\S+\.[A-Za-z]\w{1,4}")


def hints_for(query: Query, library: PhotoLibrary, *, nothing: bool, dated: bool) -> list[str]:
    """What else the words of a question may have meant.

    Args:
        nothing: no photo looks like it.
        dated: there is a condition on when photos were taken.
    """

    def count(words: str) -> int:
        try:
            return library.count(where=where.words(words))
        except LibraryError:  # words cannot be looked up here; who puts them in quotes is told why
            return 0

    wished = [part.text.strip() for part in query.parts if isinstance(part, Words) and part.weight > 0]
    hints = [exclusion_hint(words) for words in wished]
    hints += [None if dated else date_hint(words, date.today()) for words in wished]
    hints += [exact_hint(words, count, nothing=nothing) for words in wished]
    return [hint for hint in hints if hint is not None]


def exclusion_hint(words: str) -> str | None:
    """Models of this kind read "no people" as "people"."""
    found = _EXCLUSION.search(words)
    if found is None:
        return None
    return f'The model takes "{found[0]}" for "{found[1]}"; --without "{found[1]}" leaves such photos out.'


def date_hint(words: str, today: date) -> str | None:
    """When a photo was taken stands in its metadata; the model knows only what pictures show."""
    for pattern, taken_of in ((_MONTH, _month), (_SPAN, _span), (_YEAR, _year)):
        for found in pattern.finditer(_QUOTED.sub(" ", words)):
            if (taken := taken_of(found, today)) is not None:
                return f'The model sees no dates: leave out "{found[0]}", and ask with --taken {taken}.'
    return None


def _month(found: re.Match[str], today: date) -> str | None:
    """As `--taken` has it, like the next two; None where the word may mean something else."""
    before, name, year = (part and part.lower() for part in found.groups())
    if year is None and before is None and name in _VERBS:
        return None
    month = 1 + _MONTHS.index(name)
    over = month < today.month or (month == today.month and before != "last")
    return f"{year or (today.year if over else today.year - 1)}-{month:02d}"


def _span(found: re.Match[str], today: date) -> str:
    said = found[0].lower()
    if said.endswith("day"):
        return (today - timedelta(days=said == "yesterday")).isoformat()
    if said.endswith("year"):
        return str(today.year - said.startswith("last"))
    first = today.replace(day=1)
    return (first - timedelta(days=1) if said.startswith("last") else first).isoformat()[:7]


def _year(found: re.Match[str], today: date) -> str | None:
    return found[0] if int(found[0]) <= today.year else None


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
