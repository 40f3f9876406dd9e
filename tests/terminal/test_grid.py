"""The grid fits the terminal, and every row ends where the next one can begin."""

from __future__ import annotations

import re

import numpy as np
import pytest
from decoders import sixel_pixels
from hypothesis import given, settings
from hypothesis import strategies as st

from photoseek.terminal.detect import Protocol, Terminal
from photoseek.terminal.grid import Grid, Tile
from photoseek.terminal.text import cut_end, cut_start, width_of, wrapped

_TEXT = st.text(st.characters(categories=("L", "N", "P", "Zs", "Mn")), max_size=60)


def terminal(protocol: Protocol, columns: int = 80, lines: int = 24, cell: tuple[int, int] = (9, 18)) -> Terminal:
    return Terminal(protocol, true_colour=True, columns=columns, lines=lines, cell=cell)


def tile(width: int = 40, height: int = 30, heading: str = "1", path: str = "a.jpg", link: str | None = None) -> Tile:
    return Tile(np.full((height, width, 3), 99, dtype=np.uint8), "", heading, path, link)


def grey(reason: str) -> Tile:
    return Tile(None, reason, "1", "a.jpg")


def plain(text: str) -> str:
    """Text without colours and links; any other escape sequence stays."""
    return re.sub(r"\x1b\[[\d;]*m|\x1b\]8;;[^\x1b]*\x1b\\", "", text)


@given(
    st.integers(1, 250),
    st.integers(1, 30),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    _TEXT,
)
@settings(max_examples=60, deadline=None)
def test_no_line_of_blocks_is_wider_than_the_terminal(
    columns: int, number: int, size: tuple[int, int], text: str
) -> None:
    grid = Grid(terminal(Protocol.BLOCKS, columns), number)
    tiles = [tile(*size, heading=text, path=text), grey(text)] * grid.columns
    lines = plain(grid.row(tiles[: grid.columns])).split("\n")
    assert all(width_of(line) <= columns for line in lines)
    assert lines[-2:] == ["", ""]


@pytest.mark.parametrize(
    ("protocol", "columns", "side_by_side"), [("blocks", 100, 3), ("kitty", 100, 3), ("sixel", 24, 1)]
)
def test_as_many_pictures_side_by_side_as_fit(protocol: str, columns: int, side_by_side: int) -> None:
    assert Grid(terminal(Protocol(protocol), columns), 20).columns == side_by_side
    assert Grid(terminal(Protocol(protocol), columns), 1).columns == 1


@given(
    st.sampled_from([Protocol.KITTY, Protocol.ITERM, Protocol.SIXEL]),
    st.integers(10, 120),
    st.integers(6, 60),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
@settings(max_examples=25, deadline=None)
def test_a_row_with_graphics_fits_the_screen_and_comes_back_to_the_left(
    protocol: Protocol, columns: int, lines: int, size: tuple[int, int]
) -> None:
    grid = Grid(terminal(protocol, columns, lines), 2)
    text = grid.row([tile(*size), grey("gone")][: grid.columns])
    room = re.match(r"(\n+)\x1b\[(\d+)A\r\x1b7", text)
    assert room is not None
    assert len(room[1]) == int(room[2]) < lines, "room is made first; nothing scrolls while pictures are drawn"
    down = re.search(r"\x1b8\x1b\[(\d+)B\r", text)
    assert down is not None
    after = plain(text[down.end() :])
    assert int(down[1]) + after.count("\n") == int(room[2])
    assert after.endswith("\n\n")


@given(st.tuples(st.integers(1, 200), st.integers(1, 200)), st.tuples(st.integers(4, 20), st.integers(8, 40)))
@settings(max_examples=25, deadline=None)
def test_a_sixel_picture_stays_inside_its_cells(size: tuple[int, int], cell: tuple[int, int]) -> None:
    grid = Grid(terminal(Protocol.SIXEL, 60, 24, cell), 2)
    text = grid.row([tile(*size)])
    picture = re.search(r"\x1bP.*?\x1b\\", text, re.DOTALL)
    down = re.search(r"\x1b8\x1b\[(\d+)B\r", text)
    assert picture is not None
    assert down is not None
    height, width = sixel_pixels(picture[0])[0].shape[:2]
    assert height <= int(down[1]) * cell[1]
    assert width <= 29 * cell[0]


def test_thumbnails_have_the_pixels_that_the_terminal_shows() -> None:
    assert Grid(terminal(Protocol.KITTY, 100, 50, (10, 20)), 20).thumbnail_side == 320
    assert Grid(terminal(Protocol.BLOCKS, 100), 20).thumbnail_side == 64


def test_a_grey_box_says_why_there_is_no_picture() -> None:
    row = plain(Grid(terminal(Protocol.BLOCKS), 2).row([grey("the JPEG is cut off: the file ends early"), tile()]))
    assert "the JPEG is cut off" in row


def test_a_path_is_a_link_and_keeps_its_end() -> None:
    link = "file:///photos/a%20b.jpg"
    row = Grid(terminal(Protocol.BLOCKS), 2).row(
        [tile(path="/a/very/long/way/to/the/folder/of/photos/b.jpg", link=link)]
    )
    shown = re.search(r"\x1b\]8;;([^\x1b]*)\x1b\\(.*?)\x1b\]8;;\x1b\\", row)
    assert shown is not None
    assert shown[1] == link
    assert shown[2].startswith("…")
    assert shown[2].endswith("/photos/b.jpg")


@given(_TEXT, st.integers(0, 40))
def test_cut_text_is_no_wider_than_asked_and_whole_where_it_fits(text: str, width: int) -> None:
    for cut in (cut_start(text, width), cut_end(text, width)):
        assert width_of(cut) <= max(width, 0)
        assert cut == text or width_of(text) > width


@given(_TEXT, st.integers(1, 40), st.integers(0, 6))
def test_wrapped_lines_fit(text: str, width: int, lines_max: int) -> None:
    lines = wrapped(text, width, lines_max)
    assert len(lines) <= lines_max
    assert all(width_of(line) <= width for line in lines)


def test_wide_characters_count_twice_and_accents_not() -> None:
    assert [width_of(text) for text in ("photo", "写真", "e\u0301", "")] == [5, 4, 1, 0]
