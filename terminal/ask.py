"""Asks a terminal what it can show, and never waits long for the answer.

One question with several parts. The last is one that nearly every terminal answers (primary device attributes), so
that the end of the answers is known; a terminal that is silent costs `TIMEOUT_S`, once.
"""

from __future__ import annotations

import os
import re
import select
import sys
import time
from dataclasses import dataclass

TIMEOUT_S = 0.5
"""A terminal here answers in a few milliseconds, one behind a slow connection in a few hundred."""

# kitty's question whether it can draw (a=q stores nothing), the size of a cell in pixels (xterm's window operation
# 16), and the primary device attributes.
QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[16t\x1b[c"

_KITTY = re.compile(rb"\x1b_Gi=31;OK\x1b\\")
_CELL = re.compile(rb"\x1b\[6;(\d{1,4});(\d{1,4})t")
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]+)c")
_SIXEL = b"4"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a terminal says of itself."""

    kitty: bool = False
    """It knows kitty's graphics protocol."""
    sixel: bool = False
    cell: tuple[int, int] | None = None
    """(width, height) of a character in pixels."""


def read_answer(text: bytes) -> Answer:
    """What the terminal's answers say; anything else among them, such as keys pressed meanwhile, is passed over."""
    cell, attributes = _CELL.search(text), _ATTRIBUTES.search(text)
    size = (int(cell[2]), int(cell[1])) if cell is not None else None
    return Answer(
        kitty=_KITTY.search(text) is not None,
        sixel=attributes is not None and _SIXEL in attributes[1].split(b";"),
        cell=size if size is not None and min(size) > 0 else None,
    )


def ask(descriptor: int, timeout_s: float = TIMEOUT_S) -> Answer:
    """Ask the terminal open at a descriptor; an empty answer where it says nothing in time, or cannot be asked.

    The terminal neither echoes the answers nor waits for a line end meanwhile; its settings are put back at the end.
    """
    if sys.platform == "win32" or not _may_ask(descriptor):
        return Answer()
    import termios
    import tty

    try:
        before = termios.tcgetattr(descriptor)
        tty.setcbreak(descriptor, termios.TCSADRAIN)
    except termios.error:
        return Answer()
    try:
        os.write(descriptor, QUESTION)
        return read_answer(_read_until_attributes(descriptor, time.monotonic() + timeout_s))
    except OSError:  # the terminal was closed
        return Answer()
    finally:
        # What comes late would be taken for typing, so input that waits is dropped.
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


def _may_ask(descriptor: int) -> bool:
    """Not from the background of a shell: the system would stop the process for touching the terminal."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:  # no terminal, or not ours: nobody reads along
        return False


def _read_until_attributes(descriptor: int, deadline: float) -> bytes:
    text = b""
    while _ATTRIBUTES.search(text) is None and (left := deadline - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        part = os.read(descriptor, 4096)
        if not part:
            break
        text += part
    return text
