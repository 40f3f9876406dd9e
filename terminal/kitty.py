"""kitty's graphics protocol: kitty, Ghostty, Konsole and others.

Source: https://sw.kovidgoyal.net/kitty/graphics-protocol/
"""

from __future__ import annotations

import base64
import io

from PIL import Image

from photoseek.contracts import Picture

CHUNK = 4096
"""Most base64 characters in one escape sequence, by the protocol; all but the last are a multiple of 4."""


def kitty_picture(picture: Picture, *, columns: int | None = None, rows: int | None = None) -> str:
    """Escape sequences that draw a picture at the cursor, and leave the cursor there.

    Args:
        picture: uint8 (height, width, 3); the terminal scales it.
        columns, rows: cells to fill. With one of them the terminal keeps the proportions.
    """
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=6)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    # Transmit and show (a=T) a PNG (f=100) without moving the cursor (C=1); no answers (q=2), they would be
    # read as if somebody typed them.
    keys = ["a=T", "f=100", "q=2", "C=1"]
    keys += [f"{key}={cells}" for key, cells in (("c", columns), ("r", rows)) if cells is not None]
    parts = []
    for start in range(0, len(data), CHUNK):
        more = int(start + CHUNK < len(data))
        control = ",".join([*keys, f"m={more}"]) if start == 0 else f"m={more},q=2"
        parts.append(f"\x1b_G{control};{data[start : start + CHUNK]}\x1b\\")
    return "".join(parts)
