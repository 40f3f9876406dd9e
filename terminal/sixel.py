"""Sixel graphics: xterm, foot, mlterm, Windows Terminal, Konsole, tmux and others.

A picture is a stack of bands of 6 rows. For each colour in a band goes one character a column, whose six bits say
which of the six pixels have this colour. Source: VT330/VT340 Programmer Reference Manual, chapter 14
(https://vt100.net/docs/vt3xx-gp/chapter14.html).
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photoseek.contracts import Picture

COLOURS = 256
"""Colour registers of the terminals of today; xterm has 1,024."""
BAND = 6
_FIRST = 63  # the character of a column without pixels: "?"
_RUN = re.compile(rb"(.)\1{3,}", re.DOTALL)  # from 4 on "!4?" is no longer than the characters themselves


def sixel_picture(picture: Picture) -> str:
    """The escape sequence that draws a picture at the cursor, pixel for pixel.

    Args:
        picture: uint8 (height, width, 3); reduced to at most 256 colours, with dithering.
    """
    image = Image.fromarray(picture)
    reduced = image.quantize(palette=image.quantize(COLOURS), dither=Image.Dither.FLOYDSTEINBERG)
    indices = np.asarray(reduced, dtype=np.int64)  # (height, width)
    palette = np.array(reduced.getpalette(), dtype=np.int64).reshape(-1, 3)
    height, width = indices.shape
    percent = (palette * 100 + 127) // 255
    parts = [f'\x1bP0;1;0q"1;1;{width};{height}']  # square pixels; what is not drawn keeps the background
    parts += [f"#{number};2;{r};{g};{b}" for number, (r, g, b) in enumerate(percent.tolist())]
    parts += ["-".join(_band(indices[top : top + BAND]) for top in range(0, height, BAND)), "\x1b\\"]
    return "".join(parts)


def _band(indices: NDArray[np.int64]) -> str:
    """Up to 6 rows, one run of characters for each colour in them, each from the left edge anew ($)."""
    colours = np.unique(indices)
    bits = 1 << np.arange(len(indices))
    is_colour = indices[None] == colours[:, None, None]  # (colours, rows, width)
    characters = (np.einsum("crw,r->cw", is_colour, bits) + _FIRST).astype(np.uint8)
    rows = (_RUN.sub(_shortened, row.tobytes().rstrip(b"?")).decode("ascii") for row in characters)
    return "$".join(f"#{colour}{row}" for colour, row in zip(colours.tolist(), rows, strict=True))


def _shortened(run: re.Match[bytes]) -> bytes:
    return b"!%d%c" % (len(run[0]), run[1][0])
