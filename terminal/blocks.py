"""Pictures of coloured blocks: a half or quarter block in each cell, on every terminal with Unicode and colours.

A cell has two colours and four quarters. Of the ways to share the quarters between the colours, each cell takes the
one that is nearest to its four pixels; where the right and the left are alike, that is the upper half block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from photoseek.contracts import Picture

GLYPHS = {3: "▀", 5: "▌", 1: "▘", 2: "▝", 4: "▖", 7: "▛", 6: "▞"}
"""Characters by the quarters that the foreground fills: upper left 1, upper right 2, lower left 4, lower right 8. The
background fills the others, so that these seven are all ways; the first wins where several are as good."""
RESET = "\x1b[0m"

_CUBE_LEVELS = np.array([0, 95, 135, 175, 215, 255])
"""Of the 6 x 6 x 6 colours from 16 on, as xterm draws them; then come 24 greys 8, 18, ... 238."""


def blocks(picture: Picture, *, true_colour: bool) -> list[str]:
    """A picture as lines of text, four pixels a cell.

    Args:
        picture: uint8 (2 * rows, 2 * columns, 3), scaled to the cells it shall fill: a pixel is half as wide as high.
        true_colour: 24-bit colours (ISO 8613-6 direct colour); otherwise the nearest of xterm's 256.
    Returns:
        One string a row of cells, each ending with all colours reset.
    """
    glyphs, front, back = _shared(picture)
    code = _direct if true_colour else _of_256
    lines = []
    for characters, fronts, backs in zip(glyphs, code(front), code(back), strict=True):
        parts, before = [], ("", "")
        for character, *cell in zip(characters, fronts, backs, strict=True):
            changed = [f"{kind};{new}" for kind, new, old in zip((38, 48), cell, before, strict=True) if new != old]
            parts.append(f"\x1b[{';'.join(changed)}m{character}" if changed else character)
            before = (cell[0], cell[1])
        lines.append("".join(parts) + RESET)
    return lines


def _shared(picture: Picture) -> tuple[list[list[str]], Picture, Picture]:
    """For each cell its character, and the means of the pixels in front and behind, uint8 (rows, columns, 3)."""
    rows, columns = picture.shape[0] // 2, picture.shape[1] // 2
    quarters = picture.astype(np.float64).reshape(rows, 2, columns, 2, 3).transpose(0, 2, 1, 3, 4)
    quarters = quarters.reshape(rows, columns, 4, 3)
    masks = np.array([[(glyph >> bit) & 1 for bit in range(4)] for glyph in GLYPHS], dtype=np.float64)
    shares = np.stack([masks, 1 - masks]) / np.stack([masks, 1 - masks]).sum(axis=2, keepdims=True)
    means = np.einsum("sgq,rcqk->srcgk", shares, quarters)  # (front or back, rows, columns, glyphs, 3)
    # The error of a way is the sum of squares less what its two means explain.
    weights = np.stack([masks, 1 - masks]).sum(axis=2)
    explained = np.einsum("sg,srcgk,srcgk->rcg", weights, means, means)
    best = np.round(explained, 3).argmax(axis=2)  # rounded: equal ways must not be told apart by the last bit
    chosen = np.take_along_axis(means, best[None, :, :, None, None], axis=3)[:, :, :, 0]
    front, back = np.round(chosen).astype(np.uint8)
    characters = np.array(list(GLYPHS.values()))[best]
    return characters.tolist(), front, back


def nearest_index(colours: Picture) -> NDArray[np.int64]:
    """The nearest of xterm's colours 16 to 255, by squared distance in sRGB.

    Args:
        colours: uint8 (height, width, 3).
    Returns:
        int64 (height, width). The first 16 colours are never used: themes change them.
    """
    wanted = colours.astype(np.int64)
    steps = np.abs(wanted[..., None] - _CUBE_LEVELS).argmin(axis=-1)  # (height, width, 3)
    cube = _CUBE_LEVELS[steps]
    step = np.clip((wanted.mean(axis=-1) - 8 + 5) // 10, 0, 23).astype(np.int64)
    grey = (8 + 10 * step)[..., None]
    is_grey = ((wanted - grey) ** 2).sum(axis=-1) < ((wanted - cube) ** 2).sum(axis=-1)
    index: NDArray[np.int64] = np.where(is_grey, 232 + step, 16 + steps @ np.array([36, 6, 1]))
    return index


def _direct(colours: Picture) -> list[list[str]]:
    return [[f"2;{red};{green};{blue}" for red, green, blue in row] for row in colours.tolist()]


def _of_256(colours: Picture) -> list[list[str]]:
    return [[f"5;{index}" for index in row] for row in nearest_index(colours).tolist()]
