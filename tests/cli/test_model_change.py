"""`models use`, `models prune` and what `status` says of them; real processes that write, build and search at once."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from small_library import stored_files, stored_vectors, write_photo, write_photos

Command = Callable[..., Any]
Process = Callable[..., "subprocess.Popen[bytes]"]

SLOW_BUILD = """
import sys
from photoseek import PhotoLibrary
from photoseek.binding import ModelBinding

load = ModelBinding._load_vision

class Slow:
    batch_size, batches_at_once = 8, 1

    def __init__(self, tower):
        self._tower, self.dim = tower, tower.dim

    def encode(self, pictures):
        print("batch", flush=True)
        sys.stdin.readline()
        return self._tower.encode(pictures)

ModelBinding._load_vision = lambda binding, checkpoint, **how: Slow(load(binding, checkpoint, **how))
with PhotoLibrary.open(sys.argv[1], engine="numpy") as library:
    change = library.use_model(sys.argv[2], workers=1)
print("switched" if change.switched else "waiting", change.waiting, flush=True)
"""
"""`use_model` with a tower that waits for a line, or the end, of its input before each batch."""


@pytest.fixture
def indexed(command: Command, photos: Path, tiny_checkpoint: Path) -> Path:
    """The folder of five photos that the library holds."""
    write_photos(photos, 5)
    assert command("index", photos, "--model", tiny_checkpoint).code == 0
    return photos


def test_a_model_is_changed_shown_and_pruned(
    command: Command,
    indexed: Path,
    tiny_checkpoint: Path,
    turned_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = command("models", "use", turned_checkpoint)
    assert (ended.code, ended.lines) == (
        0,
        [f"5 photos embedded with {turned_checkpoint}.", f"{turned_checkpoint} answers now."],
    )
    status = command("status")
    assert f"Kept      {tiny_checkpoint}: 5 vectors, 160 bytes, which answered before" in status.lines
    assert any("models prune" in line for line in status.lines)
    (retired,) = json.loads(command("status", "--json").out)["retired"]
    assert (retired["model"], retired["vectors"], retired["bytes"]) == (str(tiny_checkpoint), 5, 160)
    listed = command("models", "list")
    assert listed.lines[-3] == "In this library:"
    assert [line.split(maxsplit=1)[1] for line in listed.lines[-2:]] == [
        "answered before, 5 vectors, 160 bytes",
        "answers, 5 vectors, 160 bytes",
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = command("models", "prune")
    assert asked.code == 1
    assert str(tiny_checkpoint) in asked.out
    assert "Kept" in command("status").out
    assert command("models", "prune", turned_checkpoint).code == 2
    pruned = command("models", "prune", "--yes")
    assert (pruned.code, pruned.lines[-1]) == (0, "Removed.")
    assert "Kept" not in command("status").out
    assert command("models", "prune").lines == ["There is nothing to remove."]
    assert command("verify").code == 0


def test_photos_that_wait_are_counted_with_what_to_do(command: Command, indexed: Path, turned_checkpoint: Path) -> None:
    write_photo(indexed / "01.png", "pink", seed=50)
    away = indexed.parent / "drive"
    write_photos(away, 2, first_seed=60)
    command("index", away)
    away.rename(indexed.parent / "unplugged")
    command("index", away)
    ended = command("models", "use", turned_checkpoint)
    assert (ended.code, ended.lines) == (1, [f"4 photos embedded with {turned_checkpoint}."])
    assert ended.err.splitlines()[-4:] == [
        "3 photos wait; the old model goes on answering.",
        "  2 are on drives that are away, or were added by an app, which has to add them again.",
        '  1 changed, moved or cannot be read: "photoseek index" looks at them again.',
        "  Then run the same again, or let it answer without them: --leave-waiting.",
    ]
    lines = command("status").lines
    line = next(number for number, line in enumerate(lines) if line.startswith("Next"))
    assert lines[line].startswith(f"Next      {turned_checkpoint}: 4 of 7 different photos embedded, 2 more wait")
    assert (
        lines[line + 1]
        == f'          "photoseek models use {turned_checkpoint}" goes on, and lets it answer at the end.'
    )
    (build,) = json.loads(command("status", "--json").out)["building"]
    assert build == {
        "model": str(turned_checkpoint),
        "photos": 7,
        "embedded": 4,
        "away": 2,
        "running": False,
    }
    ended = command("models", "use", turned_checkpoint, "--leave-waiting")
    assert (ended.code, ended.lines[-1].split(":")[0]) == (0, "3 photos wait")


@pytest.fixture
def build(
    environment: dict[str, str], tmp_path: Path, turned_checkpoint: Path
) -> Callable[[], subprocess.Popen[bytes]]:
    """Starts a build, and returns when eight more photos have their vectors and the next are being embedded."""

    def embeddings() -> int:
        with closing(sqlite3.connect(f"file:{tmp_path}/library/catalog.sqlite?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM embeddings").fetchone()[0])

    def start() -> subprocess.Popen[bytes]:
        before = embeddings()
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW_BUILD, tmp_path / "library", turned_checkpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):  # the probe pictures, or those that check an engine; then a batch
            process.stdin.write(b"\n")
        process.stdin.flush()
        for _ in range(3):
            assert process.stdout.readline() == b"batch\n"
        until = time.monotonic() + 60
        while embeddings() < before + 8:  # another thread stores them
            assert time.monotonic() < until, "the first batch was not stored"
            time.sleep(0.05)
        return process

    return start


def ended(process: subprocess.Popen[bytes]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.decode()


@pytest.mark.slow
def test_processes_index_forget_and_search_while_another_builds(
    process: Process,
    build: Callable[[], subprocess.Popen[bytes]],
    photos: Path,
    tmp_path: Path,
    tiny_checkpoint: Path,
    turned_checkpoint: Path,
) -> None:
    library = tmp_path / "library"

    def run(*arguments: object) -> str:
        return ended(process("--library", library, *arguments))

    engine = ("--engine", "numpy")
    write_photos(photos, 80)
    run("index", photos, "--model", tiny_checkpoint, "--workers", "1", *engine)
    building = build()
    write_photos(photos / "new", 10, first_seed=200)
    indexing = process("--library", library, "index", "--workers", "1", *engine)
    searches = [len(json.loads(run("search", "red", "--json", "--limit", "200", *engine))["matches"]) for _ in range(3)]
    assert ended(indexing).startswith("90 photos seen: 10 indexed, 80 unchanged")
    status = json.loads(run("status", "--json"))
    assert (status["model"], status["indexed"]) == (str(tiny_checkpoint), 90)
    (state,) = status["building"]
    assert (state["running"], state["photos"], state["embedded"]) == (True, 90, 8)
    assert run("forget", photos / "00.png").startswith("Forgot 1")
    assert ended(building).splitlines()[-1] == "switched 0"
    assert set(searches) <= {80, 90}
    assert json.loads(run("status", "--json"))["model"] == str(turned_checkpoint)
    assert len(json.loads(run("search", "red", "--json", "--limit", "200", *engine))["matches"]) == 89
    assert len(stored_files(library)) == len(stored_vectors(library)) == 89
    run("verify")


@pytest.mark.slow
def test_a_build_that_is_killed_goes_on(
    process: Process,
    build: Callable[[], subprocess.Popen[bytes]],
    photos: Path,
    tmp_path: Path,
    tiny_checkpoint: Path,
    turned_checkpoint: Path,
) -> None:
    library = tmp_path / "library"
    write_photos(photos, 40)
    options = ("--workers", "1", "--engine", "numpy")
    ended(process("--library", library, "index", photos, "--model", tiny_checkpoint, *options))
    for _ in range(2):
        building = build()
        building.kill()
        building.communicate()
        ended(process("--library", library, "verify"))
    (state,) = json.loads(ended(process("--library", library, "status", "--json")))["building"]
    assert (state["running"], state["embedded"]) == (False, 16)
    told = ended(process("--library", library, "models", "use", turned_checkpoint, *options))
    assert told.splitlines()[0] == f"24 photos embedded with {turned_checkpoint}."
    assert len(stored_vectors(library)) == 40
    ended(process("--library", library, "verify"))
