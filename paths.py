"""Paths as callers give them, checked: as bytes, since a name on the disk need not be text. And one of our own.

Beside them the time of what stands there, as it is stored.
"""

from __future__ import annotations

import os
from pathlib import Path

from photoseek.errors import UsageError


def absolute(path: str | os.PathLike[str]) -> bytes:
    """The absolute path; links are left as they are.

    Raises:
        UsageError: it is empty, as an unset variable of a script is (it would mean the current folder), or no path.
    """
    name = os.fspath(path)
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError as error:
        raise UsageError(f"{name!r} is no path: no file can have such a name") from error
    if not encoded:
        raise UsageError("an empty path was given", hint='the current folder is "."')
    if b"\0" in encoded:
        raise UsageError(f"{name!r} is no path: no file can have such a name")
    return os.path.abspath(encoded)


def absolute_path(path: str | os.PathLike[str]) -> Path:
    """The same as a `Path`."""
    return Path(os.fsdecode(absolute(path)))


def library_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a folder that holds a library, or will.

    Raises:
        UsageError: it is no path, or not in UTF-8: FAISS opens no file below it.
    """
    folder = absolute_path(path)
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{str(folder)!r} cannot hold a library: its name is not in UTF-8, and FAISS could open no index there",
            hint="name another folder, or rename this one; photos may lie in folders of any name",
        ) from error
    return folder


def mtime_ns(status: os.stat_result) -> int:
    """When the file changed, in nanoseconds since 1970; times before 1677 or after 2262 become the last of these.

    A file system may hold any time, SQLite holds 64 bits. The same file has the same number everywhere, since
    another number means that it changed.
    """
    return max(-(2**63), min(status.st_mtime_ns, 2**63 - 1))


def unfinished(target: Path) -> Path:
    """Where `target` is made before it gets its name: beside it, under a name that nobody else gives to anything.

    What a killed process left there is removed by the next one.
    """
    return target.with_name(f".{target.name}.photoseek-unfinished")
