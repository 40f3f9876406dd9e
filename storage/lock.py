"""One writer per library, across processes."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from photoseek.errors import LibraryBusyError, LibraryUnreadableError, StorageFullError
from photoseek.storage.database import disk_full


class WriterLock:
    """Held by the one process and thread that changes a library; released by the system when it dies.

    The number of the writing process stands in `lock.pid`, for messages only.
    """

    def __init__(self, library: Path) -> None:
        self._library = library
        self._lock = FileLock(library / "lock", thread_local=False)
        self._holder: int | None = None

    @property
    def held(self) -> bool:
        """Does the calling thread hold the lock?"""
        return self._holder == threading.get_ident()

    def __enter__(self) -> WriterLock:
        """Take the lock without waiting.

        Raises:
            LibraryBusyError: another process, or another thread of this one, is writing.
            LibraryUnreadableError: the library's folder cannot be written.
            StorageFullError: there is no room for the lock file.
        """
        if self._holder is not None:
            raise LibraryBusyError(self._library, os.getpid())
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise LibraryBusyError(self._library, self._other_pid()) from error
        except OSError as error:
            kind = StorageFullError if disk_full(error) else LibraryUnreadableError
            raise kind(f"the library {self._library} cannot be written: {error.strerror}") from error
        self._holder = threading.get_ident()
        with suppress(OSError):  # a full disk: the number is for messages only
            self._pid_file.write_text(str(os.getpid()), encoding="ascii")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pid_file.unlink(missing_ok=True)
        self._holder = None
        self._lock.release()

    @property
    def _pid_file(self) -> Path:
        return self._library / "lock.pid"

    def _other_pid(self) -> int | None:
        try:
            return int(self._pid_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
