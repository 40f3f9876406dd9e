"""One decode worker seen from the library: its process, the questions put to it, and its end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import IO, cast

from photoseek.contracts import DecodeJob, ReadFailure, ReadResult, Trouble
from photoseek.errors import PhotoseekError
from photoseek.indexer.frames import FrameError, Header, decode_result, read_frame, write_frame

START_TIMEOUT_S = 60.0
"""Time for Python to start and import numpy and Pillow: a fifth of a second, on a cold slow disk a lot more."""

_ANSWER_BYTES_MAX = 1 << 28  # a prepared picture; even of a native-resolution tower it has a few MiB

_PIPE_BYTES = 1 << 18  # a picture of 224 x 224 has 150,528; pipes hold 65,536 otherwise


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What every worker of a pool is started with."""

    factory: str
    """`module:Class` of the preprocessing."""
    fields: dict[str, object]
    """Keyword arguments of that class."""
    timeout_s: float
    memory_bytes: int
    python: str


class WorkerProcess:
    """A worker process, used by one thread; `kill` and `kill_if_late` may be called from any other.

    Once a question has gone unanswered the process is dead and the object of no more use.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        """Start the process; `wait_until_ready` must follow.

        Raises:
            PhotoseekError: there is no such interpreter, or the system starts no process.
        """
        self._setup = setup
        self._lock = threading.Lock()
        self._deadline: float | None = None
        self._is_late = False
        try:
            self._process = _start(setup.python)
        except OSError as error:
            raise _start_error(setup, f"{setup.python}: {error.strerror}") from error
        # Both are pipes, since _start asks for pipes.
        self._requests = cast(BufferedWriter, self._process.stdin)
        self._answers = cast(BufferedReader, self._process.stdout)

    def wait_until_ready(self) -> None:
        """Hand over the preprocessing and wait until the worker has made it.

        Raises:
            PhotoseekError: the worker did not start, with what it said about that.
        """
        setup = self._setup
        header: Header = {
            "factory": setup.factory,
            "fields": setup.fields,
            "timeout_s": setup.timeout_s,
            "memory_bytes": setup.memory_bytes,
        }
        reply = self._exchange(header, b"", START_TIMEOUT_S)
        if reply is not None and reply[0].get("kind") == "ready":
            return
        self.end()
        if reply is not None:
            raise _start_error(setup, str(reply[0].get("message")))
        raise _start_error(setup, f"the process ended with code {self._process.returncode}")

    def ask(self, job: DecodeJob) -> ReadResult:
        """Have one photo read; a worker that dies or is late gives a failure of that photo."""
        header: Header = {
            "path": job.path.decode("latin-1"),
            "is_file": job.data is None,
            "known": [digest.hex() for digest in job.known],
        }
        reply = self._exchange(header, job.data or b"", self._setup.timeout_s)
        try:
            if reply is not None:
                return decode_result(*reply)
        except FrameError:
            pass  # nothing such a process says is believed
        self.end()
        if self._is_late:
            return ReadFailure(Trouble.SURROUNDINGS, f"took longer than {self._setup.timeout_s:g} s")
        return ReadFailure(Trouble.SURROUNDINGS, "the decoder crashed on this file")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process at once; a question under way goes unanswered."""
        self._process.kill()

    def kill_if_late(self, now: float) -> float | None:
        """Kill the process when the time for its question is over; returns when that will be, if one is open.

        Args:
            now: `time.monotonic()`.
        """
        with self._lock:
            if self._deadline is None or self._is_late:
                return None
            if now < self._deadline:
                return self._deadline
            self._is_late = True
        self.kill()
        return None

    def end(self) -> None:
        """Kill the process and wait for its end, so that none is left behind."""
        self._process.kill()
        for pipe in (self._requests, self._answers):
            with suppress(OSError):  # closing flushes, and the process that should have read the rest is dead
                pipe.close()
        self._process.wait()

    def _exchange(self, header: Header, payload: bytes, timeout_s: float) -> tuple[Header, bytearray] | None:
        """Send one message and read the reply; None when the process died over it or was killed."""
        with self._lock:
            self._deadline = time.monotonic() + timeout_s
        try:
            write_frame(self._requests, header, payload)
            return read_frame(self._answers, payload_bytes_max=_ANSWER_BYTES_MAX)
        except (OSError, FrameError):
            return None
        finally:
            with self._lock:
                self._deadline = None


def _start(python: str) -> subprocess.Popen[bytes]:
    """Start a worker that imports what this process imports and hears nothing of its terminal."""
    environment = {
        **os.environ,
        # -P keeps the current folder, which may hold anybody's files, out of the worker's imports.
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
        # numpy is used for small things only; its threads would cost each worker memory and time to start.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    process = subprocess.Popen(  # noqa: S603  (the interpreter is this one, or the app's choice)
        [python, "-P", "-m", "photoseek.indexer.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # decoders complain there, about photos that the report names anyway
        env=environment,
        start_new_session=True,  # Ctrl-C is for the library, which then ends its workers
        creationflags=flags,
    )
    _widen(process.stdout)
    return process


def _widen(pipe: IO[bytes] | None) -> None:
    """Let a pipe hold a whole prepared picture, where the system can and allows it: the worker goes on at once, and
    the library reads in one piece instead of three."""
    if sys.platform == "linux" and pipe is not None:
        import fcntl

        with suppress(OSError):  # a user's pipes may hold so much and no more
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _start_error(setup: WorkerSetup, detail: str) -> PhotoseekError:
    return PhotoseekError(
        f"the decode workers do not start: {detail}",
        hint=f'"{setup.python} -m photoseek.indexer.worker" shows why',
    )
