"""The library's locks: refused at once, waited for, or waited for as long as it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from photoseek.errors import Cancelled, LibraryBusyError
from photoseek.storage import lock as locks
from photoseek.storage.lock import ModelChangeLock, ProcessLock, WriterLock

pytestmark = pytest.mark.slow


@contextmanager
def held_for(lock: ProcessLock, seconds: float) -> Iterator[None]:
    """Another thread holds the lock for so long."""
    inside = threading.Event()

    def hold() -> None:
        with lock:
            inside.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(10)
    yield
    thread.join()


def test_a_writer_waits_for_a_brief_holder(tmp_path: Path) -> None:
    with held_for(WriterLock(tmp_path, brief=True), 0.3), WriterLock(tmp_path) as lock:
        assert lock.held


def test_the_wait_for_a_brief_holder_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BRIEF_WAIT_S", 0.2)
    with held_for(WriterLock(tmp_path, brief=True), 0.6), pytest.raises(LibraryBusyError), WriterLock(tmp_path):
        pass


def test_a_writer_is_refused_at_once_by_a_writer_that_takes_its_time(tmp_path: Path) -> None:
    with held_for(WriterLock(tmp_path), 0.5):
        started = time.monotonic()
        with pytest.raises(LibraryBusyError), WriterLock(tmp_path):
            pass
        assert time.monotonic() - started < 0.3


def test_work_in_the_background_waits_for_any_holder(tmp_path: Path) -> None:
    with held_for(WriterLock(tmp_path), 0.3), WriterLock(tmp_path, brief=True, patient=True) as lock:
        assert lock.held


def test_patience_ends_when_told_so(tmp_path: Path) -> None:
    cancel = threading.Event()
    threading.Timer(0.1, cancel.set).start()
    with held_for(WriterLock(tmp_path), 0.5), pytest.raises(Cancelled):
        WriterLock(tmp_path, patient=True, cancel=cancel).__enter__()


def test_a_holder_that_says_nothing_is_waited_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "UNKNOWN_WAIT_S", 0.1)
    with held_for(WriterLock(tmp_path), 0.6):
        (tmp_path / "lock.pid").unlink()
        with pytest.raises(LibraryBusyError, match="being written by another process"), WriterLock(tmp_path):
            pass


def test_a_writer_in_turns_lets_others_in(tmp_path: Path) -> None:
    """One thread takes the lock again and again for moments; another one gets it every time it wants it."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with WriterLock(tmp_path, brief=True, patient=True):
                time.sleep(0.02)
            time.sleep(0.005)  # a batch is embedded

    thread = threading.Thread(target=work)
    thread.start()
    waits = []
    for _ in range(10):
        started = time.monotonic()
        with WriterLock(tmp_path):
            waits.append(time.monotonic() - started)
    stop.set()
    thread.join()
    assert max(waits) < 5


def test_asking_who_changes_the_model_takes_nothing(tmp_path: Path) -> None:
    lock = ModelChangeLock(tmp_path)
    assert lock.free()
    with lock:
        assert not lock.free()
        assert not ModelChangeLock(tmp_path).free()
        with WriterLock(tmp_path):
            pass
    assert ModelChangeLock(tmp_path).free()


@pytest.mark.parametrize("error", [PermissionError, KeyboardInterrupt])
def test_a_lock_is_given_back_also_where_its_note_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def refuse(_path: Path, missing_ok: bool = False) -> None:
        raise error

    lock = WriterLock(tmp_path)
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt), lock:
        patch.setattr(Path, "unlink", refuse)
    assert not lock.held
    assert lock.free()
    with WriterLock(tmp_path) as again:
        assert again.held
