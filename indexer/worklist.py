"""The files a run has to read, kept in a temporary file: memory stays flat for millions of new photos."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator

from photoseek.contracts import WorkItem


class Worklist:
    """Items in the order they were added; written once, then read any number of times."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="ascii", prefix="photoseek-")  # noqa: SIM115
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, item: WorkItem) -> None:
        # Bytes that are no text become lone surrogates, which JSON writes as \udcXX.
        names = os.fsdecode(item.folder), os.fsdecode(item.name)
        record = [item.root_id, *names, item.size, item.mtime_ns, item.file_id]
        self._file.write(json.dumps(record) + "\n")
        self._length += 1

    def __iter__(self) -> Iterator[WorkItem]:
        self._file.seek(0)
        for line in self._file:
            root_id, folder, name, size, mtime_ns, file_id = json.loads(line)
            yield WorkItem(root_id, os.fsencode(folder), os.fsencode(name), size, mtime_ns, file_id)

    def clear(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._length = 0

    def close(self) -> None:
        self._file.close()

    def __del__(self) -> None:
        self.close()  # a run that an error ends leaves its lists behind
