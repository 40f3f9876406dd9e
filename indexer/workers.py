"""The pool of decode workers: photos in, answers out, and nothing that happens to one photo stops the others.

Processes of our own rather than multiprocessing's: its pools import the app's main module again and break as
a whole when one process dies. Here each worker is replaced alone. One thread in the library serves one worker
process; they meet in two queues.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from photoseek.contracts import DecodeJob, Preprocessing, ReadResult
from photoseek.errors import Cancelled, PhotoseekError
from photoseek.indexer.worker_process import WorkerProcess, WorkerSetup

TIMEOUT_S = 60.0
"""Time for one photo: the largest that are decoded take a few seconds, on a slow disk some more."""

MEMORY_BYTES = 3 << 30
"""Address space of one worker, where the system can limit it: 220 million pixels, decoded and converted."""

AHEAD_PER_WORKER = 16
"""Jobs pulled before their answers are taken, so that workers stay busy while a batch is embedded."""


class DecodeWorkers:
    """Reads photos in worker processes (`contracts.PhotoReader`).

    Processes start with the first job that needs them and end with `close`, with the process that made the
    pool, or when that one is killed. `read` may be called from several threads at once; each call gets its own
    jobs' answers. Not for use on both sides of a fork.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        workers: int | None = None,
        timeout_s: float = TIMEOUT_S,
        memory_bytes: int = MEMORY_BYTES,
        python: str = sys.executable,
    ) -> None:
        """Set the pool up; nothing is started yet.

        Args:
            preprocessing: each worker makes its own copy from `spec`.
            workers: number of processes; by default one for each core that this process may use.
            timeout_s: time for one photo, reading the file included; then its worker is killed.
            memory_bytes: address space of one worker, on systems that can limit it (Linux).
            python: interpreter of the workers, for apps whose own program is none.
        """
        factory, fields = preprocessing.spec()
        self._setup = WorkerSetup(factory, fields, timeout_s, memory_bytes, python)
        self._workers_max = workers if workers is not None else _usable_cores()
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards what follows
        self._is_closed = False
        self._unanswered = 0
        self._servants: list[_Servant] = []
        self._watchdog: _Watchdog | None = None

    def read(self, jobs: Iterable[DecodeJob]) -> Iterator[tuple[DecodeJob, ReadResult]]:
        """Answer every job once, in the order that answers come.

        Jobs are pulled lazily, in the thread that takes the answers, at most `AHEAD_PER_WORKER` for each
        worker before their answers are taken. Leaving the iteration drops the jobs without an answer.

        Raises:
            PhotoseekError: the workers do not start.
            Cancelled: `close` was called meanwhile.
            ValueError: `close` was called before.
        """
        if self._is_closed:
            raise ValueError("the decode workers are closed")
        reading = _Reading()
        remaining = iter(jobs)
        try:
            unanswered = 0
            while True:
                while unanswered < self._workers_max * AHEAD_PER_WORKER and (job := next(remaining, None)) is not None:
                    self._submit(_Task(job, reading))
                    unanswered += 1
                if unanswered == 0:
                    return
                job, outcome = reading.outcomes.get()
                unanswered -= 1
                if isinstance(outcome, PhotoseekError):
                    raise outcome
                yield job, outcome
        finally:
            reading.is_abandoned = True

    def close(self) -> None:
        """End the workers, those busy with a photo too; a `read` under way ends with `Cancelled`."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            servants, watchdog = list(self._servants), self._watchdog
        for servant in servants:
            servant.stop()
            self._tasks.put(None)
        for servant in servants:
            servant.join()
        if watchdog is not None:
            watchdog.stop()

    def __enter__(self) -> DecodeWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self, task: _Task) -> None:
        """Queue a job, and start another worker where all are busy and one more is allowed."""
        with self._lock:
            if self._is_closed:
                raise Cancelled
            self._unanswered += 1
            self._tasks.put(task)
            if self._unanswered > len(self._servants) < self._workers_max:
                servant = _Servant(self._setup, self._tasks, self._count_answer)
                self._servants.append(servant)
                servant.start()
            if self._watchdog is None:
                self._watchdog = _Watchdog(self._servants, self._setup.timeout_s)
                self._watchdog.start()

    def _count_answer(self) -> None:
        with self._lock:
            self._unanswered -= 1


@dataclass(slots=True)
class _Reading:
    """One call of `read`: where its answers arrive, and whether anybody still wants them."""

    outcomes: queue.SimpleQueue[tuple[DecodeJob, ReadResult | PhotoseekError]] = field(
        default_factory=queue.SimpleQueue
    )
    is_abandoned: bool = False


@dataclass(frozen=True, slots=True)
class _Task:
    """One job and the call of `read` that it belongs to."""

    job: DecodeJob
    reading: _Reading


class _Servant(threading.Thread):
    """Serves one worker process: takes jobs from the queue, one at a time, and replaces the process when it dies."""

    def __init__(
        self, setup: WorkerSetup, tasks: queue.SimpleQueue[_Task | None], count_answer: Callable[[], None]
    ) -> None:
        super().__init__(name="photoseek-decode", daemon=True)
        self._setup, self._tasks, self._count_answer = setup, tasks, count_answer
        self._lock = threading.Lock()
        self._is_stopped = False
        self._process: WorkerProcess | None = None

    def run(self) -> None:
        while (task := self._tasks.get()) is not None:
            if not task.reading.is_abandoned:
                task.reading.outcomes.put((task.job, self._outcome(task.job)))
            self._count_answer()
        if self._process is not None:
            self._process.end()

    def stop(self) -> None:
        """Interrupt the job under way, if any; from any thread."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def kill_if_late(self, now: float) -> float | None:
        """See `WorkerProcess.kill_if_late`; from any thread."""
        process = self._process
        return process.kill_if_late(now) if process is not None else None

    def _outcome(self, job: DecodeJob) -> ReadResult | PhotoseekError:
        """What becomes of one job: an answer, or the error that ends its call of `read`."""
        try:
            result = self._living_process().ask(job)
        except PhotoseekError as error:
            return error
        return Cancelled() if self._is_stopped else result

    def _living_process(self) -> WorkerProcess:
        """The worker process, started anew where there is none or it died while it was idle."""
        with self._lock:
            if self._is_stopped:
                raise Cancelled
            if self._process is not None and self._process.is_alive:
                return self._process
            if self._process is not None:
                self._process.end()
            self._process = process = WorkerProcess(self._setup)
        process.wait_until_ready()
        return process


class _Watchdog(threading.Thread):
    """Kills workers whose time for a photo is over."""

    def __init__(self, servants: list[_Servant], timeout_s: float) -> None:
        super().__init__(name="photoseek-decode-watchdog", daemon=True)
        self._servants, self._timeout_s = servants, timeout_s
        self._stopped = threading.Event()

    def run(self) -> None:
        # No question asked from now on can be late before a whole timeout is over, so that a look then, or when
        # the first open one is due, misses none.
        pause = 0.0
        while not self._stopped.wait(pause):
            now = time.monotonic()
            deadlines = [servant.kill_if_late(now) for servant in list(self._servants)]
            due = min((deadline for deadline in deadlines if deadline is not None), default=now + self._timeout_s)
            pause = max(0.0, min(due - now, self._timeout_s))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _usable_cores() -> int:
    """Number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
