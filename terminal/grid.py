"""A grid of pictures with captions, as wide as the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from photoseek.contracts import Picture
from photoseek.terminal.blocks import RESET, blocks
from photoseek.terminal.detect import Protocol, Terminal
from photoseek.terminal.iterm import iterm_picture
from photoseek.terminal.kitty import kitty_picture
from photoseek.terminal.sixel import sixel_picture
from photoseek.terminal.text import cut_end, cut_start, width_of, wrapped

GAP = 2
"""Cells between two pictures."""
TILE_COLUMNS = {Protocol.BLOCKS: 30, Protocol.KITTY: 24, Protocol.ITERM: 24, Protocol.SIXEL: 24}
"""Least width of a picture's place in cells; blocks have four pixels a cell only, and need more of them."""
TILE_COLUMNS_MAX = 60
TILE_SHAPE = 0.8
"""Height of a picture's place over its width: landscapes fill it, portraits become a little smaller."""
SIDE_MAX = 1024
"""Pixels of a thumbnail's longer side, whatever the terminal."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of the grid, or why there is none."""

    picture: Picture | None
    reason: str
    """Stands in a grey box where there is no picture."""
    heading: str
    path: str
    """A path as it is shown: printable, on one line; cut at its beginning where it is too long."""
    link: str | None = None
    """URL that opens when the path is clicked."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A tile's upper part."""

    rows: int
    lines: list[str] | None
    """Text that fills the tile, line by line; or None, and then:"""
    escape: str = ""
    """what draws a picture at the cursor."""


class Grid:
    """Lays pictures out on one terminal."""

    def __init__(self, terminal: Terminal, number: int) -> None:
        """Choose the sizes for so many pictures."""
        self._terminal = terminal
        least = TILE_COLUMNS[terminal.protocol]
        fitting = max(1, (terminal.columns + GAP) // (least + GAP))
        self.columns = max(1, min(fitting, number))
        """Pictures side by side."""
        share = (terminal.columns - GAP * (self.columns - 1)) // self.columns
        self._tile_columns = max(1, min(share, TILE_COLUMNS_MAX))
        cell_width, cell_height = self._cell
        rows = round(self._tile_columns * cell_width * TILE_SHAPE / cell_height)
        # Drawing over a picture's own height needs all of it on the screen, with its captions.
        self._tile_rows = max(1, min(rows, terminal.lines - 4))

    @property
    def thumbnail_side(self) -> int:
        """Pixels of the longer side that pictures should come with."""
        width, height = self._cell
        return max(1, min(SIDE_MAX, max(self._tile_columns * width, self._tile_rows * height)))

    @property
    def _cell(self) -> tuple[int, int]:
        """Square pixels of a cell: the terminal's own; of a cell of blocks as many as its four pixels cover."""
        return (2, 4) if self._terminal.protocol is Protocol.BLOCKS else self._terminal.cell

    def row(self, tiles: Sequence[Tile]) -> str:
        """The text that draws one row of tiles with their captions, ending at the beginning of a new line."""
        drawn = [self._drawn(tile) for tile in tiles]
        rows = max(upper.rows for upper in drawn)
        in_text = all(upper.lines is not None for upper in drawn)
        upper = self._as_text(drawn, rows) if in_text else self._with_cursor(drawn, rows)
        captions = [self._captions(tile) for tile in tiles]
        lower = [(" " * GAP).join(lines).rstrip(" ") for lines in zip(*captions, strict=True)]
        return upper + "\n".join(lower) + "\n\n"

    def _drawn(self, tile: Tile) -> _Drawn:
        if tile.picture is None:
            return self._grey_box(tile.reason)
        columns, rows, width, height = self._fitted(tile.picture.shape[1], tile.picture.shape[0])
        match self._terminal.protocol:
            case Protocol.BLOCKS:
                pixels = _resized(tile.picture, 2 * columns, 2 * rows)
                lines = blocks(pixels, true_colour=self._terminal.true_colour)
                return _Drawn(rows, [line + " " * (self._tile_columns - columns) for line in lines])
            case Protocol.SIXEL:
                return _Drawn(rows, None, sixel_picture(_resized(tile.picture, width, height)))
            case Protocol.ITERM:
                return _Drawn(rows, None, iterm_picture(tile.picture, columns=columns, rows=rows))
            case Protocol.KITTY:
                # One of the two only: the terminal then finds the other without bending the picture.
                high = rows == self._tile_rows
                escape = kitty_picture(tile.picture, columns=None if high else columns, rows=rows if high else None)
                return _Drawn(rows, None, escape)

    def _fitted(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(columns, rows) that a picture covers inside the tile, and (width, height) of it in the terminal's pixels."""
        cell_width, cell_height = self._cell
        scale = min(self._tile_columns * cell_width / width, self._tile_rows * cell_height / height)
        fitted_width = max(1, min(round(width * scale), self._tile_columns * cell_width))
        fitted_height = max(1, min(round(height * scale), self._tile_rows * cell_height))
        columns, rows = math.ceil(fitted_width / cell_width), math.ceil(fitted_height / cell_height)
        return columns, rows, fitted_width, fitted_height

    def _grey_box(self, reason: str) -> _Drawn:
        rows = max(1, round(self._tile_rows * 0.75 / TILE_SHAPE))
        inner = max(1, self._tile_columns - 2)
        words = wrapped(reason, inner, rows)
        above = (rows - len(words)) // 2
        texts = [""] * above + words + [""] * (rows - len(words) - above)
        colours = "48;2;88;88;88;38;2;230;230;230" if self._terminal.true_colour else "48;5;240;38;5;254"
        return _Drawn(rows, [f"\x1b[{colours}m{_centred(text, self._tile_columns)}{RESET}" for text in texts])

    def _as_text(self, drawn: Sequence[_Drawn], rows: int) -> str:
        """Lines only, so that they also go through a pager or into a file; pictures stand on their captions."""
        empty = " " * self._tile_columns
        padded = [[empty] * (rows - upper.rows) + (upper.lines or []) for upper in drawn]
        return "".join((" " * GAP).join(line).rstrip(" ") + "\n" for line in zip(*padded, strict=True))

    def _with_cursor(self, drawn: Sequence[_Drawn], rows: int) -> str:
        """Make room first, so that nothing scrolls any more; then draw from a remembered place (DECSC, DECRC)."""
        room = rows + 3  # with the captions
        parts = ["\n" * room, f"\x1b[{room}A\r\x1b7"]
        for number, upper in enumerate(drawn):
            column, down = number * (self._tile_columns + GAP), rows - upper.rows
            for offset, content in enumerate(upper.lines if upper.lines is not None else [upper.escape]):
                parts.append("\x1b8" + _moved(down + offset, "B") + _moved(column, "C") + content)
        return "".join([*parts, "\x1b8", _moved(rows, "B"), "\r"])

    def _captions(self, tile: Tile) -> list[str]:
        width = self._tile_columns
        heading, path = cut_end(tile.heading, width), cut_start(tile.path, width)
        shown = f"\x1b]8;;{tile.link}\x1b\\{path}\x1b]8;;\x1b\\" if tile.link is not None else path
        return [
            f"\x1b[1m{heading}{RESET}" + " " * (width - width_of(heading)),
            shown + " " * (width - width_of(path)),
        ]


def _moved(cells: int, direction: str) -> str:
    return f"\x1b[{cells}{direction}" if cells else ""


def _centred(text: str, width: int) -> str:
    before = (width - width_of(text)) // 2
    return " " * before + text + " " * (width - width_of(text) - before)


def _resized(picture: Picture, width: int, height: int) -> Picture:
    image = Image.fromarray(picture)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS), dtype=np.uint8)
