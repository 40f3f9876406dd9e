"""Small decoders, written from the protocols' documents: what a terminal would show of what was encoded."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def sixel_pixels(text: str) -> tuple[Pixels, NDArray[np.bool_]]:
    """(colours (height, width, 3), which pixels were drawn) of a DECSIXEL sequence."""
    match = re.fullmatch(r'\x1bP0;1;0q"1;1;(\d+);(\d+)(.*)\x1b\\', text, re.DOTALL)
    assert match is not None
    width, height = int(match[1]), int(match[2])
    drawn = np.zeros((-(-height // 6) * 6, width), dtype=bool)
    pixels = np.zeros((*drawn.shape, 3), dtype=np.uint8)
    palette: dict[int, tuple[int, ...]] = {}
    x, y, colour = 0, 0, (0, 0, 0)
    for token in re.finditer(r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])", match[3]):
        number, red, green, blue, count, repeated, single, move = token.groups()
        if red is not None:
            palette[int(number)] = tuple(round(int(part) * 255 / 100) for part in (red, green, blue))
        elif number is not None:
            colour = palette[int(number)]
        elif move is not None:
            x, y = 0, y + (6 if move == "-" else 0)
        else:
            length = int(count) if count else 1
            bits = ord(repeated or single) - 63
            for bit in range(6):
                if bits >> bit & 1:
                    assert not drawn[y + bit, x : x + length].any(), "a pixel is drawn once"
                    drawn[y + bit, x : x + length] = True
                    pixels[y + bit, x : x + length] = colour
            x += length
            assert x <= width
    assert not drawn[height:].any()
    return pixels[:height], drawn[:height]


def kitty_pixels(text: str) -> tuple[Pixels, dict[str, str]]:
    """(picture, keys of the first chunk) of kitty's graphics protocol; checks the rules for chunks."""
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in chunks) == text
    keys = [dict(part.split("=") for part in control.split(",")) for control, _ in chunks]
    assert [found["m"] for found in keys] == ["1"] * (len(chunks) - 1) + ["0"]
    assert all(found.keys() <= {"m", "q"} for found in keys[1:])
    assert all(len(data) <= 4096 for _, data in chunks)
    assert all(len(data) % 4 == 0 for _, data in chunks[:-1])
    return _opened(base64.b64decode("".join(data for _, data in chunks), validate=True)), keys[0]


def iterm_pixels(text: str) -> tuple[Pixels, dict[str, str]]:
    """(picture, arguments) of iTerm2's inline image protocol."""
    match = re.fullmatch(r"\x1b\]1337;File=([^:]*):([A-Za-z0-9+/=]*)\x07", text)
    assert match is not None
    arguments = dict(part.split("=") for part in match[1].split(";"))
    data = base64.b64decode(match[2], validate=True)
    assert int(arguments["size"]) == len(data)
    return _opened(data), arguments


def _opened(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


QUARTERS = {" ": 0, "▘": 1, "▝": 2, "▀": 3, "▖": 4, "▌": 5, "▞": 6, "▛": 7}
_SGR = re.compile(r"\x1b\[([\d;]*)m")


def block_pixels(lines: list[str]) -> Pixels:
    """(2 * rows, 2 * columns, 3) of lines of coloured blocks."""
    rows = []
    for line in lines:
        upper, lower, colours, place = [], [], {38: (0, 0, 0), 48: (0, 0, 0)}, 0
        while place < len(line):
            if match := _SGR.match(line, place):
                _colour([int(code) for code in match[1].split(";")], colours)
                place = match.end()
                continue
            quarters = QUARTERS[line[place]]
            cell = [colours[38] if quarters >> bit & 1 else colours[48] for bit in range(4)]
            upper += cell[:2]
            lower += cell[2:]
            place += 1
        rows += [upper, lower]
        assert line.endswith("\x1b[0m")
    return np.array(rows, dtype=np.uint8)


def _colour(codes: list[int], colours: dict[int, tuple[int, ...]]) -> None:
    while codes and codes != [0]:
        kind, way = codes[:2]
        length = 5 if way == 2 else 3
        colours[kind] = tuple(codes[2:5]) if way == 2 else colour_of_256(codes[2])
        codes = codes[length:]


def colour_of_256(index: int) -> tuple[int, ...]:
    """xterm's colours 16 to 255."""
    assert 16 <= index <= 255
    if index >= 232:
        return (8 + 10 * (index - 232),) * 3
    levels = (0, 95, 135, 175, 215, 255)
    return tuple(levels[(index - 16) // step % 6] for step in (36, 6, 1))
