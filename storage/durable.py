"""Files that are there as a whole or not at all, also after a power cut."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from photoseek.errors import PhotoseekError, StorageFullError, disk_full
from photoseek.paths import unfinished


def sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable (POSIX; other systems do so themselves)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Fill a temporary folder; on success it becomes `target`, durable; on any error it is gone.

    Raises:
        StorageFullError: the disk filled up; `target` does not exist then.
        PhotoseekError: it cannot be written for another reason.
    """
    made = unfinished(target)
    shutil.rmtree(made, ignore_errors=True)
    try:
        made.mkdir(parents=True)
        yield made
        sync_folder(made)
        os.replace(made, target)
        sync_folder(target.parent)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        if disk_full(error):
            raise StorageFullError(
                f"the disk is full: {target} could not be written; nothing that was stored is lost",
                hint="free some space and run the same command again",
            ) from error
        raise PhotoseekError(f"{target} could not be written: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


@contextmanager
def synced_file(path: Path) -> Iterator[BinaryIO]:
    """Write a new file; its bytes are on the disk when the block ends."""
    with path.open("xb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def file_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
