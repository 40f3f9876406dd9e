"""Opens and reads one photo's file: never blocks on what is no file, never believes one that changes.

A failure here lies in the surroundings, which is what sets it apart from a failure of `decode`.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from dataclasses import dataclass

from photoseek.contracts import ReadFailure, Trouble
from photoseek.indexer.formats import SNIFF_BYTES, sniff
from photoseek.paths import mtime_ns

FILE_BYTES_MAX = 1 << 30
"""Size up to which a file is read, since it is read as a whole: 220 million pixels of uncompressed TIFF
have 660 MB."""

_SF_DATALESS = 0x40000000  # macOS, sys/stat.h: the file's bytes are in the cloud
_WINDOWS_AWAY = 0x1000 | 0x40000 | 0x400000  # OFFLINE, RECALL_ON_OPEN, RECALL_ON_DATA_ACCESS

_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO that takes the file's place must not block
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """All bytes of a file that stayed the same while it was read."""

    data: bytes
    mtime_ns: int


def is_placeholder(status: os.stat_result) -> bool:
    """Whether the file's bytes are in a cloud only, so that reading would download them.

    Known on Windows and macOS, where the file's status says so; elsewhere False.
    """
    if sys.platform == "win32":
        return bool(status.st_file_attributes & _WINDOWS_AWAY)
    return bool(getattr(status, "st_flags", 0) & _SF_DATALESS)


def read_photo_file(path: bytes) -> PhotoFile | ReadFailure:
    """Read a photo's file as a whole.

    Files that `sniff` skips or ignores by their first bytes are not read further, nor are placeholders,
    nor files larger than `FILE_BYTES_MAX`. Symbolic links are followed.
    """
    try:
        if (failure := _failure_of_status(os.stat(path))) is not None:
            return failure
        descriptor = os.open(path, _OPEN_FLAGS)
    except OSError as error:
        return _failure_of_error(error)
    try:
        return _read_open_file(descriptor, path)
    except OSError as error:
        return _failure_of_error(error)
    except MemoryError:
        return ReadFailure(Trouble.SURROUNDINGS, "the file is larger than the memory for one photo")
    finally:
        os.close(descriptor)


def _read_open_file(descriptor: int, path: bytes) -> PhotoFile | ReadFailure:
    before = os.fstat(descriptor)
    # Asked again: another file may have taken the place since the first look.
    if (failure := _failure_of_status(before)) is not None:
        return failure
    verdict = sniff(os.read(descriptor, SNIFF_BYTES), path)
    if isinstance(verdict, ReadFailure) and verdict.trouble is not Trouble.FILE:
        return verdict
    os.lseek(descriptor, 0, os.SEEK_SET)  # so that one read brings all: join copies nothing then
    parts: list[bytes] = []
    missing = before.st_size
    while missing > 0 and (part := os.read(descriptor, missing)):
        parts.append(part)
        missing -= len(part)
    after = os.fstat(descriptor)
    if missing != 0 or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        return ReadFailure(Trouble.SURROUNDINGS, "the file changed while it was read")
    return PhotoFile(b"".join(parts), mtime_ns(after))


def _failure_of_status(status: os.stat_result) -> ReadFailure | None:
    """Why the file is not to be read, as far as its status says."""
    if not stat.S_ISREG(status.st_mode):
        return ReadFailure(Trouble.NO_PICTURE, "not a regular file")
    if is_placeholder(status):
        return ReadFailure(Trouble.SKIPPED, "its bytes are in the cloud, not on this machine")
    if status.st_size > FILE_BYTES_MAX:
        size = f"{status.st_size / 2**30:.1f} GiB"
        return ReadFailure(
            Trouble.SKIPPED, f"{size} are more than the limit of {FILE_BYTES_MAX >> 30} GiB for one photo"
        )
    return None


def _failure_of_error(error: OSError) -> ReadFailure:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ReadFailure(Trouble.VANISHED, "the file is gone")
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    return ReadFailure(Trouble.SURROUNDINGS, f"cannot be read: {reason[:1].lower()}{reason[1:]}")
