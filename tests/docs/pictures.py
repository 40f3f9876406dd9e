"""Makes the screenshots of the pages anew: python tests/docs/pictures.py [CHROMIUM]

Asks the example photos a question, as a person would, on a terminal and for a page. The terminal's text goes through
a small terminal of our own that turns it into HTML; a headless Chromium then photographs both. Files go to
docs/images.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from console import ROOT, run_on_terminal
from PIL import Image, ImageChops

from photoseek.terminal.blocks import GLYPHS

IMAGES = ROOT / "docs" / "images"
PREPARE = "$ photoseek index examples/photos"
TERMINAL_COMMAND = '$ photoseek search "snowy mountains" --preview-as blocks --limit 3 --all'
PAGE_COMMAND = '$ photoseek search "mountains and clouds" --limit 6 --html {page}'
TERMINAL_SIZE = (880, 400)
PAGE_SIZE = (1200, 880)
SCALE = 2
"""Pixels of the screenshot for one of the page: sharp on the screens of today."""

QUARTERS = {character: quarters for quarters, character in GLYPHS.items()}
_ESCAPE = re.compile(r"\x1b\[([\d;?]*)([A-Za-z])|\x1b\]8;;[^\x1b]*\x1b\\")
_CUBE = (0, 95, 135, 175, 215, 255)

TERMINAL_PAGE = """<!doctype html><meta charset="utf-8"><style>
html {{ background: transparent }}
body {{ margin: 0; padding: 14px; display: inline-block; background: transparent }}
div {{ background: #16181d; border-radius: 10px; padding: 14px 18px; box-shadow: 0 2px 10px #0006 }}
pre {{ margin: 0; font: 13px/17px "DejaVu Sans Mono", monospace; color: #d8dbe2 }}
pre b {{ color: #fff }}
i {{ display: inline-block; width: 1ch; height: 17px; vertical-align: top }}
u {{ display: flow-root; text-decoration: none; height: 17px; white-space: pre }}
</style><div><pre>{text}</pre></div>"""


def terminal_html(text: str) -> str:
    """What a terminal shows, as lines of HTML: colours, bold, half blocks as two coloured halves.

    Raises:
        ValueError: an escape sequence that this small terminal does not know.
    """
    lines = []
    for line in text.split("\n"):
        parts, place, style = [], 0, {"fg": "", "bg": "", "bold": ""}
        for match in [*_ESCAPE.finditer(line), None]:
            parts.append(_cells(line[place : match.start() if match else None], style))
            if match is None:
                break
            place = match.end()
            if match[2] == "m":
                _colour(match[1], style)
            elif match[2] is not None:
                raise ValueError(f"unknown sequence {match[0]!r}")
        lines.append(f"<u>{''.join(parts)}</u>")
    return "".join(lines)


def _cells(text: str, style: dict[str, str]) -> str:
    if not text:
        return ""
    if text[0] in QUARTERS:
        return "".join(_block(QUARTERS[character], style) for character in text)
    if style["bg"]:
        return f'<span style="color:{style["fg"]};background:{style["bg"]}">{html.escape(text)}</span>'
    return f"<b>{html.escape(text)}</b>" if style["bold"] else html.escape(text)


def _block(quarters: int, style: dict[str, str]) -> str:
    """A cell of four quarters, as sharp sectors clockwise from the upper right."""
    colours = [style["fg"] if quarters & bit else style["bg"] for bit in (2, 8, 4, 1)]
    sectors = ",".join(f"{colour} {90 * n}deg {90 * n + 90}deg" for n, colour in enumerate(colours))
    return f'<i style="background:conic-gradient({sectors})"></i>'


def _colour(codes: str, style: dict[str, str]) -> None:
    """Carry out one SGR sequence."""
    numbers = [int(code or 0) for code in codes.split(";")]
    while numbers:
        match numbers:
            case [0, *rest]:
                style.update(fg="", bg="", bold="")
            case [1, *rest]:
                style["bold"] = "bold"
            case [38 | 48 as kind, 2, red, green, blue, *rest]:
                style["fg" if kind == 38 else "bg"] = f"rgb({red},{green},{blue})"
            case [38 | 48 as kind, 5, index, *rest] if index >= 16:
                style["fg" if kind == 38 else "bg"] = _of_256(index)
            case _:
                raise ValueError(f"unknown colours {codes}")
        numbers = rest


def _of_256(index: int) -> str:
    if index >= 232:
        return f"rgb({8 + 10 * (index - 232)},{8 + 10 * (index - 232)},{8 + 10 * (index - 232)})"
    red, green, blue = (_CUBE[(index - 16) // step % 6] for step in (36, 6, 1))
    return f"rgb({red},{green},{blue})"


def photograph(page: Path, size: tuple[int, int], browser: str) -> Image.Image:
    """A picture of a page in a window of `size`."""
    target = page.with_suffix(".png")
    subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--force-device-scale-factor={SCALE}",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={target}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
    )
    with Image.open(target) as image:
        return image.convert("RGB")


def without_paper(picture: Image.Image) -> Image.Image:
    """The picture without the empty white around it."""
    return picture.crop(ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox())


def main(browser: str = "chromium") -> None:
    os.environ.update(COLORTERM="truecolor", TERM="xterm-256color")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data, page = Path(folder), Path(folder) / "page.html"
        for command in (PREPARE, PAGE_COMMAND.format(page=page)):
            code, output = run_on_terminal(command, data)
            if code:
                raise RuntimeError(f"{command} ended with {code}: {output}")
        code, shown = run_on_terminal(TERMINAL_COMMAND, data)
        if code:
            raise RuntimeError(f"{TERMINAL_COMMAND} ended with {code}: {shown}")
        page.write_text(page.read_text("utf-8").replace(str(ROOT), "/home/you/photoseek"), "utf-8")
        terminal = Path(folder) / "terminal.html"
        prompt = f"<b>{html.escape(TERMINAL_COMMAND)}</b>\n\n"
        terminal.write_text(TERMINAL_PAGE.format(text=prompt + terminal_html(shown.strip("\n"))), "utf-8")
        shot = without_paper(photograph(terminal, TERMINAL_SIZE, browser))
        shot.save(IMAGES / "preview.png", optimize=True)
        photograph(page, PAGE_SIZE, browser).save(IMAGES / "page.webp", quality=80, method=6)


if __name__ == "__main__":
    main(*sys.argv[1:])
