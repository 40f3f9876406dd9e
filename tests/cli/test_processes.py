"""The command line as real processes, with real workers and a real (tiny, random) model."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_library import Files, assert_same_vectors, stored_files, stored_vectors, write_photo, write_photos

pytestmark = pytest.mark.slow

Process = Callable[..., "subprocess.Popen[bytes]"]


def finish(process: subprocess.Popen[bytes], timeout_s: float = 120) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def start(process: Process, tmp_path: Path, tiny_checkpoint: Path) -> Process:
    """`photoseek index PHOTOS` into the library of the test."""

    def start_(*arguments: object) -> subprocess.Popen[bytes]:
        options = ["--model", tiny_checkpoint, "--engine", "numpy", "--workers", "1", "--batch-size", "2"]
        return process("--library", tmp_path / "library", "index", *arguments, *options)

    return start_


def test_from_a_folder_to_an_answer(start: Process, process: Process, photos: Path, tmp_path: Path) -> None:
    write_photos(photos, 6)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    code, out, err = finish(start(photos))
    assert (code, out.splitlines()[0]) == (0, "7 photos seen: 6 indexed, 0 unchanged, 1 failed.")
    assert "Traceback" not in err
    code, out, err = finish(process("search", "a red car", "--json", "--limit", "3", "--library", tmp_path / "library"))
    assert (code, err, len(json.loads(out)["matches"])) == (0, "", 3)
    assert json.loads(out)["matches"][0]["rank"] == 1


@pytest.mark.slow
def test_ctrl_c_stops_with_one_line_and_running_again_goes_on(
    start: Process, process: Process, photos: Path, tmp_path: Path
) -> None:
    write_photos(photos, 300)
    running = start(photos)
    catalog = tmp_path / "library" / "catalog.sqlite"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not _any_indexed(catalog):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    code, out, err = finish(running)
    if code == 0:
        pytest.skip("the run was over before it could be stopped")
    assert (code, out) == (130, ""), err
    assert "Traceback" not in err
    assert "Run the same command again to go on" in err
    assert len([line for line in err.splitlines() if line.strip()]) == 1
    kept = len(stored_files(catalog.parent))
    assert 0 < kept < 300
    code, out, _err = finish(start(photos))
    assert (code, out.splitlines()[0]) == (0, f"300 photos seen: {300 - kept} indexed, {kept} unchanged.")
    assert finish(process("verify", "--library", tmp_path / "library"))[0] == 0


def _any_indexed(catalog: Path) -> bool:
    try:
        return bool(stored_files(catalog.parent))
    except Exception:  # not there yet, or without tables
        return False


def test_a_reader_that_goes_away_is_no_traceback(
    start: Process, process: Process, photos: Path, tmp_path: Path
) -> None:
    write_photos(photos, 3)
    finish(start(photos))
    searching = process("--library", tmp_path / "library", "search", "red", "--json")
    assert searching.stdout is not None
    searching.stdout.close()
    assert searching.stderr is not None
    err = searching.stderr.read().decode()
    searching.stderr.close()
    searching.wait()
    assert "Traceback" not in err


def test_help_and_a_repeated_query_load_no_model(environment: dict[str, str]) -> None:
    for code in ("import photoseek", "from photoseek.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"):
        check = f"{code}\nimport sys\nassert not {{'torch', 'transformers', 'faiss', 'openvino'}} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", check], env=environment, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_photo_only(
    start: Process, process: Process, photos: Path, tmp_path: Path
) -> None:
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc")
    for seed in range(4):
        write_photo(photos / f"{seed}.png", "red", seed=seed)
    slow = photos / "1-slow.tif"
    from PIL import Image

    Image.effect_noise((6000, 6000), 90).convert("RGB").save(slow, compression="tiff_lzw")
    running = start(photos)
    killed = False
    deadline = time.monotonic() + 60
    while running.poll() is None and not killed and time.monotonic() < deadline:
        for worker in _children(running.pid):
            if _holds_open(worker, slow):
                os.kill(worker, signal.SIGKILL)
                killed = True
        time.sleep(0.0005)
    code, out, _err = finish(running)
    if not killed:
        pytest.skip("the slow photo was read before its worker could be killed")
    assert code == 0
    assert out.splitlines()[0] == "5 photos seen: 4 indexed, 0 unchanged, 1 failed."
    assert "the decoder crashed on this file" in out
    assert finish(start(photos))[1].splitlines()[0] == "5 photos seen: 1 indexed, 4 unchanged."


def _children(pid: int) -> list[int]:
    found = []
    for entry in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in entry.read_text().split()]
        except OSError:
            continue
    return found


def _holds_open(pid: int, path: Path) -> bool:
    """Has the process this file open?"""
    try:
        return any(os.readlink(link) == str(path) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


@pytest.mark.slow
def test_kills_at_random_times(start: Process, process: Process, photos: Path, tmp_path: Path) -> None:
    """Real processes killed whenever it happens, until one run gets to its end."""
    write_photos(photos, 120)
    started = time.monotonic()
    assert finish(start(photos))[0] == 0
    whole_run = time.monotonic() - started  # so that kills fall into a run on a machine of any speed
    library, expected_library = tmp_path / "library", tmp_path / "expected"
    library.rename(expected_library)
    expected: Files = stored_files(expected_library)
    chance = random.Random(0)
    kills = 0
    while True:
        running = start(photos)
        try:
            # Later and later: the first kills fall into start-up and embedding, the last may let it end.
            running.communicate(timeout=whole_run * chance.uniform(0.2, 0.6 + 0.1 * kills))
            break
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
            kills += 1
        if (library / "catalog.sqlite").exists():
            code, out, err = finish(process("--library", library, "verify"))
            assert code == 0 or (code, "there is no photo library" in err) == (3, True), out + err
        assert kills < 100
    assert kills >= 2
    assert finish(start(photos))[1].startswith("120 photos seen: 0 indexed, 120 unchanged")
    assert stored_files(library) == expected
    assert_same_vectors(stored_vectors(library), stored_vectors(expected_library), f"after {kills} kills")
    assert finish(process("--library", library, "verify"))[0] == 0
