"""Locks of one library, across processes: one writer, and one change of model."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from photoseek.errors import Cancelled, LibraryBusyError, LibraryUnreadableError, StorageFullError, disk_full

BRIEF_WAIT_S = 30.0
"""How long a writer waits for one that holds the lock only for moments; then something must be wrong with it."""
UNKNOWN_WAIT_S = 1.0
"""How long for one that has not said yet who it is, which it does right after taking the lock."""
POLL_S = 0.02
BRIEF = "brief"


class ProcessLock:
    """Held by one thread of one process; released by the system when that process dies.

    Who holds the lock `NAME` stands in `NAME.pid`: the number of the process, for messages, and the word "brief"
    where it gives the lock back within moments. Others wait for a brief holder, for `BRIEF_WAIT_S` at most, and
    are refused at once by any other.
    """

    def __init__(
        self,
        library: Path,
        name: str,
        *,
        doing: str,
        brief: bool = False,
        patient: bool = False,
        cancel: threading.Event | None = None,
    ) -> None:
        """Nothing is taken before `with`.

        Args:
            doing: what a holder does with the library, for the sentence that others get.
            brief: promise to hold the lock for moments only.
            patient: wait for any holder, however long it takes.
            cancel: ends the waiting.
        """
        self._library = library
        self._doing = doing
        self._brief = brief
        self._patient = patient
        self._cancel = cancel or threading.Event()
        self._lock = FileLock(library / name, thread_local=False)
        self._note = library / f"{name}.pid"
        self._holder: int | None = None

    @property
    def held(self) -> bool:
        """Does the calling thread hold the lock?"""
        return self._holder == threading.get_ident()

    def __enter__(self) -> ProcessLock:
        """Take the lock.

        Raises:
            LibraryBusyError: another process, or another thread of this one, holds it.
            LibraryUnreadableError: the library's folder cannot be written.
            StorageFullError: there is no room for the lock file.
            Cancelled: told to stop while waiting.
        """
        if self._holder is not None:
            raise LibraryBusyError(self._library, os.getpid(), self._doing)
        started = time.monotonic()
        while not self._taken():
            waited_s = time.monotonic() - started
            pid, brief = self._other()
            patience_s = BRIEF_WAIT_S if brief else UNKNOWN_WAIT_S if pid is None else 0.0
            if self._cancel.is_set():
                raise Cancelled
            if not self._patient and waited_s >= patience_s:
                raise LibraryBusyError(self._library, pid, self._doing)
            time.sleep(POLL_S)
        self._holder = threading.get_ident()
        with suppress(OSError):  # a full disk: others are then told less, and wait a little longer
            self._note.write_text(f"{os.getpid()} {BRIEF}" if self._brief else str(os.getpid()), encoding="ascii")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with suppress(OSError):  # somebody who reads it just now, on Windows, or a drive that went away
                self._note.unlink(missing_ok=True)
        finally:
            self._holder = None
            self._lock.release()

    def free(self) -> bool:
        """Does nobody hold the lock at this moment?"""
        if self._holder is not None:
            return False
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError:
            return True  # a library that cannot be written has no writer
        self._lock.release()
        return True

    def _taken(self) -> bool:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except OSError as error:
            kind = StorageFullError if disk_full(error) else LibraryUnreadableError
            raise kind(f"the library {self._library} cannot be written: {error.strerror}") from error
        return True

    def _other(self) -> tuple[int | None, bool]:
        """The holder's process, if it has said so, and whether it is a brief one."""
        try:
            pid, *words = self._note.read_text(encoding="ascii").split()
            return int(pid), BRIEF in words
        except (OSError, ValueError):
            return None, False


class WriterLock(ProcessLock):
    """Held by the one process and thread that changes a library."""

    def __init__(
        self,
        library: Path,
        *,
        brief: bool = False,
        patient: bool = False,
        cancel: threading.Event | None = None,
    ) -> None:
        super().__init__(library, "lock", doing="being written", brief=brief, patient=patient, cancel=cancel)


class ModelChangeLock(ProcessLock):
    """Held by the one process that builds or removes vectors of another model, beside whoever writes meanwhile.

    Who wants both locks and holds this one may wait for the writer's; who holds the writer's never waits here.
    """

    def __init__(self, library: Path) -> None:
        super().__init__(library, "model-change", doing="being moved to another model")
