"""Which folders and files a scan leaves out: the fixed rules, and the owner's `.photoseekignore` files."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

IGNORE_FILE = b".photoseekignore"

THUMBNAIL_FOLDERS = frozenset(
    name.encode()
    for name in ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX", "Thumbs")
)
"""Folders in which file managers and storage boxes keep thumbnails, deleted files and their own data."""


def hidden(name: bytes, *, folder: bool) -> bool:
    """Hidden by its name, or one of the folders above."""
    return name.startswith(b".") or (folder and name in THUMBNAIL_FOLDERS)


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The `.photoseekignore` files from the root down to one folder; gitignore's syntax and order.

    As with gitignore, a deeper file overrules a higher one, and nothing below an excluded folder comes back.
    """

    levels: tuple[tuple[str, GitIgnoreSpec], ...] = ()
    """(folder relative to the root with a slash at its end, or empty for the root; its rules)."""

    def below(self, folder: bytes, path: bytes, on_trouble: Callable[[str], None] = lambda reason: None) -> IgnoreRules:
        """The rules that hold in `folder` (relative), whose own ignore file, if it has one, is at `path`.

        A line that is no rule, or a file that is no text, is told to `on_trouble` and left out.

        Raises:
            OSError: the file is there and cannot be read.
        """
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return self  # a folder of this name says nothing, a pipe would be waited for
            with open(path, "rb") as stream:
                data = stream.read()
        except FileNotFoundError:
            return self
        if b"\0" in data:
            on_trouble("is no text in UTF-8, so that none of its rules hold")
            return self
        lines = data.decode("utf-8-sig", "surrogateescape").splitlines()
        prefix = os.fsdecode(folder) + "/" if folder else ""
        return IgnoreRules((*self.levels, (prefix, GitIgnoreSpec.from_lines(_rules(lines, on_trouble)))))

    def exclude(self, path: bytes, *, folder: bool) -> bool:
        """Is `path` (relative to the root) left out?"""
        if not self.levels:
            return False
        name = os.fsdecode(path).replace(os.sep, "/") + ("/" if folder else "")
        for prefix, rules in reversed(self.levels):
            verdict = rules.check_file(name[len(prefix) :]).include
            if verdict is not None:
                return verdict
        return False


def _rules(lines: Sequence[str], on_trouble: Callable[[str], None]) -> Iterator[str]:
    """The lines that are rules, blanks or comments."""
    for number, line in enumerate(lines, start=1):
        try:
            GitIgnoreSpec.from_lines([line])
        except (ValueError, re.error):
            on_trouble(f"line {number} is no rule and is left out: {line}")
        else:
            yield line
