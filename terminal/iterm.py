"""iTerm2's inline images: iTerm2, WezTerm, mintty, Konsole and others.

Source: https://iterm2.com/documentation-images.html
"""

from __future__ import annotations

import base64
import io

from PIL import Image

from photoseek.contracts import Picture

JPEG_QUALITY = 90


def iterm_picture(picture: Picture, *, columns: int, rows: int) -> str:
    """The escape sequence that draws a picture at the cursor; where the cursor is afterwards differs.

    Args:
        picture: uint8 (height, width, 3); the terminal fits it into the cells and keeps its proportions.
        columns, rows: cells it may fill.
    """
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=JPEG_QUALITY)
    data = stream.getvalue()
    size = f"size={len(data)};width={columns};height={rows};preserveAspectRatio=1"
    return f"\x1b]1337;File=inline=1;{size}:{base64.b64encode(data).decode('ascii')}\x07"
