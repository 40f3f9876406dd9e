"""The options of `search` that show pictures: on the terminal, as a page, in a viewer."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from photoseek.terminal.detect import Terminal

_OPTIONS = (
    click.option("--preview", is_flag=True, help="Show the pictures, on a terminal."),
    click.option(
        "--preview-as",
        type=click.Choice(["kitty", "iterm", "sixel", "blocks"]),
        help="Show them by this protocol, also where there is no terminal.",
    ),
    click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with the pictures."),
    click.option("--force", is_flag=True, help="With --html: write over a file that is no page of photoseek's."),
    click.option(
        "--open", "open_first", is_flag=True, help="Open the first photo, or the page, in the system's viewer."
    ),
)
NAMES = ("preview", "preview_as", "html", "force", "open_first")


def look_options(command: Callable[..., None]) -> Callable[..., None]:
    """All options that show pictures."""
    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), command)


def terminal_for(values: Mapping[str, Any]) -> Terminal | None:
    """The terminal that pictures are to be shown on; None where none are wanted, or where they cannot be."""
    if not values["preview"] and values["preview_as"] is None:
        return None
    from photoseek.terminal.ask import ask
    from photoseek.terminal.blocks import GLYPHS
    from photoseek.terminal.detect import Protocol, detect

    forced = Protocol(values["preview_as"]) if values["preview_as"] is not None else None
    if forced is None and (not sys.stdout.isatty() or os.environ.get("TERM") == "dumb"):
        click.echo("No terminal for pictures here; --preview-as blocks draws them all the same.", err=True)
        return None
    terminal = detect(os.environ, partial(ask, _TERMINAL), descriptor=_TERMINAL, forced=forced)
    if terminal.protocol is Protocol.BLOCKS and not _can_print("".join(GLYPHS.values())):
        click.echo(f"This terminal's encoding, {sys.stdout.encoding}, has no blocks to draw pictures with.", err=True)
        return None
    return terminal


_TERMINAL = 1  # standard output: where the pictures go


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True
