"""What each protocol encodes, a decoder of it shows again."""

from __future__ import annotations

import re

import numpy as np
from decoders import block_pixels, colour_of_256, iterm_pixels, kitty_pixels, sixel_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from photoseek.terminal.blocks import blocks, nearest_index
from photoseek.terminal.iterm import iterm_picture
from photoseek.terminal.kitty import kitty_picture
from photoseek.terminal.sixel import sixel_picture

Pixels = NDArray[np.uint8]


@st.composite
def pictures(draw: st.DrawFn, side: int = 20, colours: int = 6) -> Pixels:
    """A picture of a few colours."""
    height, width = draw(st.integers(1, side)), draw(st.integers(1, side))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    palette = generator.integers(0, 256, (draw(st.integers(1, colours)), 3), dtype=np.uint8)
    return palette[generator.integers(0, len(palette), (height, width))]


@given(pictures())
def test_sixel_draws_every_pixel_once_in_its_colour(picture: Pixels) -> None:
    shown, drawn = sixel_pixels(sixel_picture(picture))
    assert drawn.all()
    assert np.abs(shown.astype(int) - picture).max() <= 2, "colours are given in percent"


def test_sixel_shortens_runs_and_keeps_to_256_colours() -> None:
    flat = np.full((60, 600, 3), 77, dtype=np.uint8)
    assert len(sixel_picture(flat)) < 300 * 14
    many = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    text = sixel_picture(many)
    assert len(re.findall(r"#\d+;2;", text)) <= 256
    assert sixel_pixels(text)[1].all()


@given(pictures(), st.none() | st.integers(1, 50), st.none() | st.integers(1, 50))
def test_kitty_gets_the_very_pixels(picture: Pixels, columns: int | None, rows: int | None) -> None:
    shown, keys = kitty_pixels(kitty_picture(picture, columns=columns, rows=rows))
    assert np.array_equal(shown, picture)
    wanted = {key: str(cells) for key, cells in (("c", columns), ("r", rows)) if cells is not None}
    assert keys == {"a": "T", "f": "100", "q": "2", "C": "1", "m": keys["m"], **wanted}


def test_kitty_gets_large_pictures_in_chunks() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)  # no PNG makes it smaller
    text = kitty_picture(noise, columns=3)
    assert text.count("\x1b_G") == 5, "16 KiB of base64 in 4 KiB each, and the rest"
    assert np.array_equal(kitty_pixels(text)[0], noise)


@given(pictures())
def test_iterm_gets_the_picture_and_its_place(picture: Pixels) -> None:
    shown, arguments = iterm_pixels(iterm_picture(picture, columns=24, rows=9))
    assert shown.shape == picture.shape
    assert (arguments["inline"], arguments["width"], arguments["height"]) == ("1", "24", "9")


def test_iterm_keeps_the_colours() -> None:
    flat = np.full((40, 60, 3), (200, 40, 90), dtype=np.uint8)
    assert np.abs(iterm_pixels(iterm_picture(flat, columns=6, rows=2))[0].astype(int) - flat).max() <= 4


@st.composite
def two_coloured_cells(draw: st.DrawFn) -> Pixels:
    """Cells of 2 x 2 pixels, each of two colours at most: what blocks can show without loss."""
    rows, columns = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pair = generator.integers(0, 256, (rows, 1, columns, 1, 2, 3), dtype=np.uint8)
    which = generator.integers(0, 2, (rows, 2, columns, 2))
    picked = np.take_along_axis(np.broadcast_to(pair, (rows, 2, columns, 2, 2, 3)), which[..., None, None], axis=4)
    return np.ascontiguousarray(picked[:, :, :, :, 0]).reshape(rows * 2, columns * 2, 3)


@given(two_coloured_cells())
def test_blocks_show_two_colours_a_cell_exactly(picture: Pixels) -> None:
    assert np.array_equal(block_pixels(blocks(picture, true_colour=True)), picture)


@given(pictures(side=8, colours=64))
def test_blocks_are_never_further_off_than_half_blocks(cells: Pixels) -> None:
    picture = cells.repeat(2, axis=0).repeat(2, axis=1)[1:-1, 1:-1]
    if 0 in picture.shape:
        return
    shown = block_pixels(blocks(picture, true_colour=True)).astype(float)
    pairs = picture.reshape(picture.shape[0], -1, 2, 3).mean(axis=2, keepdims=True)
    halves = np.broadcast_to(pairs, (*pairs.shape[:2], 2, 3)).reshape(picture.shape)
    rounding = picture.size * 0.5 + 1
    assert ((shown - picture) ** 2).sum() <= ((halves - picture) ** 2).sum() + rounding


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=20))
def test_256_colours_are_close(colours: list[tuple[int, int, int]]) -> None:
    wanted = np.array([colours], dtype=np.uint8)
    (found,) = nearest_index(wanted).tolist()
    table = np.array([colour_of_256(index) for index in range(16, 256)])
    for colour, index in zip(colours, found, strict=True):
        best = ((table - colour) ** 2).sum(axis=1).min()
        assert ((np.array(colour_of_256(index)) - colour) ** 2).sum() <= best + 300


def test_a_line_of_one_colour_names_it_once() -> None:
    (line,) = blocks(np.full((2, 40, 3), 9, dtype=np.uint8), true_colour=True)
    assert line == "\x1b[38;2;9;9;9;48;2;9;9;9m" + "▀" * 20 + "\x1b[0m"
    (line,) = blocks(np.full((2, 40, 3), 255, dtype=np.uint8), true_colour=False)
    assert line == "\x1b[38;5;231;48;5;231m" + "▀" * 20 + "\x1b[0m"
