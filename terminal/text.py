"""How wide text is on a terminal, and text cut to a width."""

from __future__ import annotations

import unicodedata

ELLIPSIS = "…"


def width_of(text: str) -> int:
    """Cells that a line takes: East Asian wide characters two, combining ones none (Unicode UAX 11)."""
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut_start(text: str, width: int) -> str:
    """At most `width` cells of a line, its end kept: of a path, the file's name counts."""
    if width_of(text) <= width:
        return text
    kept = ""
    for character in reversed(text):
        if width_of(character + kept) > width - 1:
            break
        kept = character + kept
    return ELLIPSIS + kept if width > 0 else ""


def cut_end(text: str, width: int) -> str:
    """At most `width` cells of a line, its beginning kept."""
    if width_of(text) <= width:
        return text
    kept = ""
    for character in text:
        if width_of(kept + character) > width - 1:
            break
        kept += character
    return kept + ELLIPSIS if width > 0 else ""


def wrapped(text: str, width: int, lines_max: int) -> list[str]:
    """Words over several lines of at most `width` cells; what does not fit into `lines_max` is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and width_of(lines[-1]) + 1 + width_of(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(cut_end(word, width))
    if len(lines) > lines_max:
        lines = [*lines[: lines_max - 1], cut_end(" ".join(lines[lines_max - 1 :]), width)] if lines_max > 0 else []
    return lines
