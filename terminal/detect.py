"""What a terminal can show: from its environment where that is clear, otherwise by asking it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from photoseek.terminal.ask import Answer

CELL = (8, 16)
"""Width and height of a character in pixels where the terminal does not say; small, so that pictures never overlap."""


class Protocol(Enum):
    """How a picture gets onto a terminal."""

    KITTY = "kitty"
    ITERM = "iterm"
    SIXEL = "sixel"
    BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class Terminal:
    """What is known of the terminal that pictures go to."""

    protocol: Protocol
    true_colour: bool
    """24-bit colours; otherwise xterm's 256."""
    columns: int
    lines: int
    cell: tuple[int, int] = CELL
    """(width, height) of a character in pixels."""


def detect(
    environment: Mapping[str, str], ask: Callable[[], Answer], *, descriptor: int, forced: Protocol | None = None
) -> Terminal:
    """The terminal open at a descriptor, which need not be one where a protocol is forced.

    The environment decides where it names a program that has one protocol for sure. Otherwise, or where the size of
    a character is needed and unknown, the terminal itself is asked. Inside tmux and screen the environment is that
    of the terminal outside, which they do not pass pictures on to: there only the answer counts.
    """
    protocol = forced or _by_name(environment)
    cell = _cell_by_system(descriptor)
    if os.isatty(descriptor) and environment.get("TERM") not in ("dumb", "linux"):
        unsure = protocol is None or (protocol is Protocol.SIXEL and cell is None)
        answer = ask() if unsure else Answer()
    else:
        answer = Answer()
    if protocol is None:
        protocol = Protocol.KITTY if answer.kitty else Protocol.SIXEL if answer.sixel else Protocol.BLOCKS
    size = shutil.get_terminal_size()
    return Terminal(protocol, has_true_colour(environment), size.columns, size.lines, cell or answer.cell or CELL)


def _by_name(environment: Mapping[str, str]) -> Protocol | None:
    """The protocol of terminals that say who they are; None for all others."""
    term = environment.get("TERM", "")
    if "TMUX" in environment or "STY" in environment or term.startswith(("screen", "tmux")):
        return None
    if term in ("xterm-kitty", "xterm-ghostty"):
        return Protocol.KITTY
    if (
        environment.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm", "mintty")
        or environment.get("LC_TERMINAL") == "iTerm2"
    ):
        return Protocol.ITERM
    return None


def has_true_colour(environment: Mapping[str, str]) -> bool:
    """Whether 24-bit colours can be taken for granted."""
    term = environment.get("TERM", "")
    return (
        environment.get("COLORTERM", "").lower() in ("truecolor", "24bit")
        or "WT_SESSION" in environment
        or environment.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm", "mintty", "vscode", "ghostty")
        or term in ("xterm-kitty", "xterm-ghostty", "alacritty", "foot", "linux")
        or term.endswith("-direct")
    )


def _cell_by_system(descriptor: int) -> tuple[int, int] | None:
    """Size of a character by the system's own record of the window, where the terminal has filled it in."""
    if sys.platform == "win32":
        return None
    import fcntl
    import struct
    import termios

    try:
        record = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    lines, columns, width, height = struct.unpack("HHHH", record)
    if not (lines and columns and width >= columns and height >= lines):
        return None
    return width // columns, height // lines
