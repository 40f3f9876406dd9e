"""Text to words, before byte-pair encoding: normalised, then split where letters, digits and signs meet.

Python's `re` has no Unicode classes, so a pattern written for them (`\\p{L}`, `\\p{N}`) runs on the text's *outline*:
the text with every character beyond ASCII replaced by an ASCII character of its class. Both have the same length,
so what matches in the outline is cut from the text. White space is Unicode's White_Space, which is not Python's
`str.isspace` (U+001C to U+001F differ). Characters younger than Python's own Unicode tables count as signs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import TypeAlias

Normalizer: TypeAlias = Callable[[str], str]

WHITE_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""As a class of `re`. Source: Unicode's PropList.txt, White_Space."""

_LETTER, _DIGIT, _SIGN, _SPACE = "z", "0", "!", " "
_LETTERS, _DIGITS, _SIGNS = "[A-Za-z]+", "[0-9]+", r"[^\t-\r A-Za-z0-9]+"
_CLASSES = {
    r"\p{L}+": _LETTERS,
    r"[\p{L}]+": _LETTERS,
    r"\p{N}": "[0-9]",
    r"[\p{N}]": "[0-9]",
    r"\p{N}+": _DIGITS,
    r"[\p{N}]+": _DIGITS,
    r"[^\s\p{L}\p{N}]+": _SIGNS,
}
_LITERAL = re.compile(r"(\\\||[A-Za-y1-9'<>_-])+")
"""A word spelled out; without the characters that stand for others in an outline."""
_ALTERNATIVES = re.compile(r"(?<!\\)\|")
_BYTE_LEVEL = re.compile(f"'s|'t|'re|'ve|'m|'ll|'d|{_LETTERS}|{_DIGITS}|{_SIGNS}")
"""How byte-level pre-tokenizers split a word again (openai/gpt-2, src/encoder.py), where it holds no white space."""

_white_space = re.compile(f"[{WHITE_SPACE}]")
_white_spaces = re.compile(f"[{WHITE_SPACE}]+")


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def one_space(text: str) -> str:
    """Each run of white space becomes one space."""
    return _white_spaces.sub(" ", text)


def lower(text: str) -> str:
    """Lower case, character by character: a sigma that ends a word is no exception, unlike in `str.lower`."""
    return text.replace("\N{GREEK CAPITAL LETTER SIGMA}", "\N{GREEK SMALL LETTER SIGMA}").lower()


class _Outline(dict[int, str]):
    """For `str.translate`: the stand-in of each character, found when it first occurs."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if code < 128:
            kind = character
        elif character.isalpha():  # exactly the categories L*
            kind = _LETTER
        elif unicodedata.category(character).startswith("N"):
            kind = _DIGIT
        else:
            kind = _SPACE if _white_space.match(character) else _SIGN
        self[code] = kind
        return kind


class WordSplitter:
    """Splits texts into the words that one pattern names; what it does not match is dropped.

    Raises:
        ValueError: the pattern has an alternative other than words spelled out and runs of a class.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile("|".join(_translated(part) for part in _ALTERNATIVES.split(pattern)))
        self._outline = _Outline()

    def words(self, text: str) -> Iterator[str]:
        return self._cut(self._pattern, text)

    def pieces(self, word: str) -> Iterator[str]:
        """A word's parts of one class each, for a word that was spelled out in the pattern."""
        return self._cut(_BYTE_LEVEL, word)

    def _cut(self, pattern: re.Pattern[str], text: str) -> Iterator[str]:
        outline = text if text.isascii() else text.translate(self._outline)
        return (text[slice(*match.span())] for match in pattern.finditer(outline))


def _translated(alternative: str) -> str:
    if alternative in _CLASSES:
        return _CLASSES[alternative]
    if _LITERAL.fullmatch(alternative):
        return alternative
    raise ValueError(f"words are split by {alternative!r}, which photoseek does not know")
