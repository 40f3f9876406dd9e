"""The pool of decode workers: every job answered once, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_photos import BLUE, GREEN, RED, Squash, plain

from photoseek.contracts import DecodeJob, PhotoKnown, PhotoRead, ReadFailure, ReadResult, Trouble
from photoseek.errors import Cancelled, PhotoseekError
from photoseek.indexer.decode import read_photo
from photoseek.indexer.workers import AHEAD_PER_WORKER, DecodeWorkers

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


def jobs(*colours: tuple[int, int, int]) -> list[DecodeJob]:
    return [DecodeJob(key, b"", plain(colour)) for key, colour in enumerate(colours)]


def answers(workers: DecodeWorkers, todo: list[DecodeJob]) -> dict[int, ReadResult]:
    found = [(job.key, result) for job, result in workers.read(todo)]
    assert sorted(key for key, _ in found) == [job.key for job in todo]
    return dict(found)


def worker_pids() -> list[int]:
    """Processes that are children of this one and run the worker."""
    own = [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    return [pid for pid in own if b"photoseek.indexer.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture
def workers() -> Iterator[DecodeWorkers]:
    with DecodeWorkers(Squash(), workers=2) as pool:
        yield pool


def test_answers_are_those_of_this_process(workers: DecodeWorkers, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(plain(RED))
    todo = [*jobs(GREEN, BLUE), DecodeJob(2, os.fsencode(path)), DecodeJob(3, os.fsencode(tmp_path / "none.jpg"))]
    found = answers(workers, todo)
    for key, (colour, mtime_ns) in enumerate([(GREEN, 0), (BLUE, 0), (RED, path.stat().st_mtime_ns)]):
        here, there = read_photo(plain(colour), Squash(), mtime_ns=mtime_ns), found[key]
        assert isinstance(here, PhotoRead)
        assert isinstance(there, PhotoRead)
        assert (here.picture == there.picture).all()
        assert (here.digest, here.picture_digest, here.camera, here.mtime_ns, here.format) == (
            there.digest,
            there.picture_digest,
            there.camera,
            there.mtime_ns,
            there.format,
        )
    assert found[3] == ReadFailure(Trouble.VANISHED, "the file is gone")


def test_known_contents_are_only_hashed(workers: DecodeWorkers) -> None:
    digest = answers(workers, jobs(RED))[0].digest
    assert digest is not None
    known = DecodeJob(0, b"", plain(RED), frozenset({digest, bytes(32)}))
    assert answers(workers, [known])[0] == PhotoKnown(digest, len(plain(RED)), 0)


def test_no_jobs_start_no_processes() -> None:
    with DecodeWorkers(Squash(), python="/no/such/python") as pool:
        assert list(pool.read([])) == []


def test_jobs_are_pulled_lazily(workers: DecodeWorkers) -> None:
    pulled = []

    def endless() -> Iterator[DecodeJob]:
        key = 0
        while True:
            pulled.append(key)
            yield DecodeJob(key, b"", plain(RED))
            key += 1

    reading = workers.read(endless())
    for _ in range(3):
        next(reading)
    assert len(pulled) <= 2 * AHEAD_PER_WORKER + 3
    reading.close()  # type: ignore[attr-defined]
    assert isinstance(answers(workers, jobs(BLUE))[0], PhotoRead)


def test_an_error_in_the_jobs_reaches_the_caller(workers: DecodeWorkers) -> None:
    def failing() -> Iterator[DecodeJob]:
        yield from jobs(RED)
        raise LookupError("the catalog is gone")

    with pytest.raises(LookupError):
        list(workers.read(failing()))
    assert isinstance(answers(workers, jobs(BLUE))[0], PhotoRead)


def test_several_threads_get_their_own_answers(workers: DecodeWorkers) -> None:
    found: dict[int, dict[int, ReadResult]] = {}

    def read(number: int) -> None:
        found[number] = answers(workers, [DecodeJob(number * 100 + n, b"", plain(RED)) for n in range(20)])

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: min(result) for number, result in found.items()} == {n: n * 100 for n in range(4)}


@pytest.mark.parametrize(
    ("mishap", "reason"),
    [
        ("crash", "the decoder crashed on this file"),
        ("memory", "needs more memory than there is for one photo"),
        ("bug", "could not be prepared (RuntimeError: two lines)"),
    ],
)
def test_a_mishap_costs_one_photo(mishap: str, reason: str) -> None:
    with DecodeWorkers(Squash(mishap=mishap), workers=2, memory_bytes=1 << 30) as pool:
        found = answers(pool, jobs(GREEN, RED, BLUE, GREEN, RED, BLUE, GREEN))
    failures = {key: result for key, result in found.items() if isinstance(result, ReadFailure)}
    assert failures == {key: ReadFailure(Trouble.SURROUNDINGS, reason) for key in (1, 4)}


def test_a_hang_costs_one_photo_and_its_time() -> None:
    with DecodeWorkers(Squash(mishap="hang"), workers=2, timeout_s=1.5) as pool:
        found = answers(pool, jobs(GREEN, RED, BLUE, BLUE))
    failures = {key: result for key, result in found.items() if isinstance(result, ReadFailure)}
    assert failures == {1: ReadFailure(Trouble.SURROUNDINGS, "took longer than 1.5 s")}


def test_prints_do_not_disturb_the_answers(capfd: pytest.CaptureFixture[str]) -> None:
    with DecodeWorkers(Squash(mishap="print"), workers=1) as pool:
        assert all(isinstance(result, PhotoRead) for result in answers(pool, jobs(RED, BLUE, RED)).values())
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
class TestKilled:
    """Workers that somebody else ends."""

    def test_at_work(self) -> None:
        with DecodeWorkers(Squash(mishap="hang"), workers=1) as pool:
            reading = pool.read(jobs(GREEN, RED, BLUE))
            next(reading)
            time.sleep(0.3)  # the second photo is being prepared now
            os.kill(worker_pids()[0], signal.SIGKILL)
            results = [result for _, result in reading]
        assert results[0] == ReadFailure(Trouble.SURROUNDINGS, "the decoder crashed on this file")
        assert isinstance(results[1], PhotoRead)

    def test_idle(self) -> None:
        with DecodeWorkers(Squash(), workers=1) as pool:
            assert isinstance(answers(pool, jobs(RED))[0], PhotoRead)
            os.kill(worker_pids()[0], signal.SIGKILL)
            time.sleep(0.1)
            assert isinstance(answers(pool, jobs(RED))[0], PhotoRead)

    def test_stopped(self) -> None:
        with DecodeWorkers(Squash(mishap="hang"), workers=1, timeout_s=1.5) as pool:
            reading = pool.read(jobs(GREEN, RED, BLUE))
            next(reading)
            time.sleep(0.3)
            os.kill(worker_pids()[0], signal.SIGSTOP)
            results = [result for _, result in reading]
        assert results[0] == ReadFailure(Trouble.SURROUNDINGS, "took longer than 1.5 s")
        assert isinstance(results[1], PhotoRead)

    def test_none_is_left_behind(self) -> None:
        with DecodeWorkers(Squash(mishap="crash"), workers=2) as pool:
            answers(pool, jobs(RED, GREEN, RED, BLUE))
        assert worker_pids() == []


def test_close_ends_a_reading_under_way() -> None:
    pool = DecodeWorkers(Squash(mishap="hang"), workers=1)
    closing = threading.Timer(0.5, pool.close)
    closing.start()
    with pytest.raises(Cancelled):
        list(pool.read(jobs(RED, RED, RED)))
    closing.join()
    pool.close()
    with pytest.raises(ValueError, match="closed"):
        next(pool.read(jobs(RED)))


@pytest.mark.parametrize("factory", ["no_such_module:Class", "small_photos:NoSuchClass", "small_photos:Squash"])
def test_a_preprocessing_that_cannot_be_made_is_an_error(factory: str) -> None:
    class Odd(Squash):
        def spec(self) -> tuple[str, dict[str, object]]:
            return factory, {"colour": 1}

    with DecodeWorkers(Odd(), workers=2) as pool, pytest.raises(PhotoseekError, match="do not start"):
        list(pool.read(jobs(RED, GREEN)))


def test_an_interpreter_that_is_none_is_an_error() -> None:
    for python in ("/no/such/python", "false"):
        with DecodeWorkers(Squash(), python=python) as pool, pytest.raises(PhotoseekError, match="do not start"):
            list(pool.read(jobs(RED)))


SCRIPT = """
import sys
from photoseek.contracts import DecodeJob
from photoseek.indexer.workers import DecodeWorkers
from small_photos import RED, Squash, plain
print("main")
pool = DecodeWorkers(Squash({squash}), workers=2)
for job, result in pool.read([DecodeJob(n, b"", plain(RED)) for n in range(4)]):
    print(type(result).__name__, flush=True)
"""


def start_script(tmp_path: Path, squash: str = "") -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).format(squash=squash))
    path = os.pathsep.join([str(HERE), *(entry for entry in sys.path if entry)])
    return subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
    )


def test_a_script_without_a_main_guard_runs_once_and_need_not_close(tmp_path: Path) -> None:
    with start_script(tmp_path) as script:
        out, err = script.communicate(timeout=60)
    assert (script.returncode, out, err) == (0, "main\n" + "PhotoRead\n" * 4, "")


def test_files_in_the_current_folder_are_not_imported(tmp_path: Path) -> None:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "numpy.py").write_text("raise SystemExit('imported from a folder of photos')")
    before = Path.cwd()
    os.chdir(tmp_path / "cwd")
    try:
        with DecodeWorkers(Squash(), workers=1) as pool:
            assert isinstance(answers(pool, jobs(RED))[0], PhotoRead)
    finally:
        os.chdir(before)


@posix
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_workers_end_when_their_library_is_killed(tmp_path: Path) -> None:
    """Also those in the middle of a photo; otherwise each crash of an app would leave some behind."""
    with start_script(tmp_path, "mishap='hang'") as script:
        children = Path(f"/proc/{script.pid}/task")
        found: list[int] = []
        for _ in range(100):
            found = [int(pid) for task in children.iterdir() for pid in (task / "children").read_text().split()]
            if len(found) == 2:
                break
            time.sleep(0.1)
        time.sleep(0.5)  # so that they are at work
        script.kill()
    for _ in range(50):
        if not any(
            Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in found
        ):
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"{found} are still there")
    assert len(found) == 2


@posix
def test_ctrl_c_leaves_the_workers_to_the_library(tmp_path: Path) -> None:
    with start_script(tmp_path, "seconds=0.4") as script:
        assert script.stdout is not None
        while script.stdout.readline() != "PhotoRead\n":
            pass
        os.killpg(script.pid, signal.SIGINT)  # what a terminal sends to all processes of a job
        _, err = script.communicate(timeout=60)
    assert err.count("Traceback") == 1  # the script's own KeyboardInterrupt
    assert "KeyboardInterrupt" in err
