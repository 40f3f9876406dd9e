"""The files a run has to read, kept in a temporary file: memory stays flat for millions of new photos."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from photoseek.contracts import WorkItem
from photoseek.errors import PhotoseekError, StorageFullError, disk_full


class Worklist:
    """Items in the order they were added; written once, then read any number of times.

    Raises:
        StorageFullError: the disk of temporary files is full.
        PhotoseekError: they cannot be written for another reason.
    """

    def __init__(self) -> None:
        with _errors_told():
            self._file = tempfile.TemporaryFile("w+", encoding="ascii", prefix="photoseek-")  # noqa: SIM115
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, item: WorkItem) -> None:
        # Bytes that are no text become lone surrogates, which JSON writes as \udcXX.
        names = os.fsdecode(item.folder), os.fsdecode(item.name)
        record = [item.root_id, *names, item.size, item.mtime_ns, item.file_id]
        with _errors_told():
            self._file.write(json.dumps(record) + "\n")
        self._length += 1

    def __iter__(self) -> Iterator[WorkItem]:
        with _errors_told():
            self._file.seek(0)
        for line in self._file:
            root_id, folder, name, size, mtime_ns, file_id = json.loads(line)
            yield WorkItem(root_id, os.fsencode(folder), os.fsencode(name), size, mtime_ns, file_id)

    def clear(self) -> None:
        with _errors_told():
            self._file.seek(0)
            self._file.truncate()
        self._length = 0

    def close(self) -> None:
        with suppress(OSError):  # nobody needs what could not be written
            self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()  # a run that an error ends leaves its lists behind


@contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if disk_full(error):
            raise StorageFullError(
                f"the disk of temporary files is full: {tempfile.gettempdir()}; nothing that was stored is lost",
                hint="free some space there, or name another folder in TMPDIR, and run the same command again",
            ) from error
        raise PhotoseekError(
            f"temporary files cannot be written: {error.strerror}", hint="name a folder for them in TMPDIR"
        ) from error
