"""Small things that a user of the command line runs into once, and should not run into again."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_library import write_photo, write_photos

pytestmark = pytest.mark.slow

Command = Callable[..., Any]


@pytest.fixture
def quiet_afterwards() -> Iterator[None]:
    """`-v` sets the level of photoseek's loggers, which outlives a command run in this process."""
    logger = logging.getLogger("photoseek")
    before = logger.level
    logger.setLevel(logging.NOTSET)
    yield
    logger.setLevel(before)


@pytest.mark.parametrize("place", ["before", "after", "both"])
def test_verbose_stands_before_or_after_the_commands_name(
    command: Command,
    photos: Path,
    tiny_checkpoint: Path,
    place: str,
    quiet_afterwards: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    before, after = ["-v"] * (place != "after"), ["-v"] * (place != "before")
    assert command(*before, "index", photos, "--model", tiny_checkpoint, *after).code == 0
    assert "broken.jpg" in caplog.text


def test_log_lines_hold_no_controls_of_names(photos: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    (photos / "a\x1b[31m\nINFO: b.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    command = [sys.executable, "-m", "photoseek", "--library", str(tmp_path / "library"), "-v", "index", str(photos)]
    told = subprocess.run([*command, "--model", str(tiny_checkpoint)], capture_output=True, check=True).stderr
    (line,) = [line for line in told.split(b"\n") if b"b.jpg" in line and b"INFO" in line]
    assert b"[31m" in line, "one name, one line"
    assert b"\x1b" not in line


@pytest.mark.slow
def test_verbose_tells_what_takes_how_long(photos: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_photos(photos / "sub", 3)

    def told(*arguments: str) -> str:
        command = [sys.executable, "-m", "photoseek", "--library", str(tmp_path / "library"), *arguments]
        return subprocess.run(command, capture_output=True, check=True, text=True).stderr

    first = told("-v", "index", str(photos), "--model", str(tiny_checkpoint))
    for part in (
        f"model {tiny_checkpoint} (checkpoint ",
        "pictures of tiny: ",
        " in float32",
        f"{photos} looked at in ",
        "folders 2, files 3, of these new 3, changed or to be tried again 0, unchanged 0; missing 0, back 0",
        "3 files read and 3 pictures embedded in ",
        "no index generation is due: 0 rows in the present one, 3 newer",
    ):
        assert part in first
    assert "of these new 0, changed or to be tried again 0, unchanged 3;" in told("-v", "index")
    assert told("index") == ""
    words = told("-v", "search", "red")
    assert "words of tiny: numpy on cpu in float32, loaded in " in words
    assert "texts encoded: 1, in " in words
    assert "view of 3 vectors: 0 in a generation, 3 newer, 0 hidden" in words
    assert "3 candidates, exact" in words
    assert "texts asked before, whose vectors the cache has: 1" in told("-v", "search", "red")
    assert told("search", "red") == ""


def test_without_verbose_nothing_is_told(
    command: Command, photos: Path, tiny_checkpoint: Path, quiet_afterwards: None, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert command("index", photos, "--model", tiny_checkpoint).code == 0
    assert caplog.text == ""


@pytest.mark.parametrize("arguments", [["index"], ["search", "red"], ["index", "--dry-run"]], ids=" ".join)
@pytest.mark.parametrize("wrong", [["--engine", "steam"], ["--engine", "numpy", "--device", "cuda"]], ids=" ".join)
def test_a_wrong_engine_is_refused_also_when_nothing_is_to_be_embedded(
    command: Command, photos: Path, tiny_checkpoint: Path, arguments: list[str], wrong: list[str]
) -> None:
    write_photo(photos / "red.png", "red")
    assert command("index", photos, "--model", tiny_checkpoint).code == 0
    assert command("search", "red").code == 0
    answer = command(*arguments, *wrong)
    assert (answer.code, answer.out) == (2, "")
    assert wrong[1] in answer.err


def test_an_unknown_model_comes_with_a_hint(command: Command, photos: Path, tiny_checkpoint: Path) -> None:
    write_photo(photos / "red.png", "red")
    assert command("index", photos, "--model", tiny_checkpoint).code == 0
    for arguments in (["models", "use", "nosuch"], ["index", "--model", "nosuch"]):
        answer = command(*arguments)
        assert (answer.code, answer.out) == (1, "")
        assert "there is no model nosuch" in answer.err
        assert "models list" in answer.err


def roots(command: Command) -> list[str]:
    return [root["path"] for root in json.loads(command("roots", "list", "--json").out)]


def test_a_folder_around_a_known_one_covers_the_rest_and_says_so(
    command: Command, photos: Path, tiny_checkpoint: Path
) -> None:
    write_photos(photos / "inner", 3)
    command("index", photos / "inner", "--model", tiny_checkpoint)
    write_photos(photos / "beside", 2, first_seed=20)
    write_photo(photos / "inner" / "new.png", "red", seed=9)
    told = f"{photos / 'inner'} stays a folder of its own; the new one covers the rest."
    dry = command("index", photos, "--dry-run")
    assert dry.lines[0] == "Would read 3 files, new or changed; 3 unchanged."
    assert told in dry.lines
    answer = command("index", photos)
    assert answer.lines == ["6 photos seen: 3 indexed, 3 unchanged.", told]
    assert roots(command) == [str(photos), str(photos / "inner")]
    assert len(command("search", "red", "--paths").lines) == 6
    again = command("index", photos)
    assert again.lines == ["6 photos seen: 0 indexed, 6 unchanged."], "what lies within is looked at every time"
    (photos / "inner" / "new.png").unlink()
    assert "1 now missing" in command("index", photos).out


@pytest.fixture
def renamed(command: Command, photos: Path, tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The new place of a folder with three photos that was renamed after it was indexed."""
    write_photos(photos, 3)
    command("index", photos, "--model", tiny_checkpoint)
    return photos.rename(tmp_path / "renamed")


def test_a_folder_that_was_renamed_is_told_from_one_that_is_away(command: Command, photos: Path, renamed: Path) -> None:
    (root,) = json.loads(command("roots", "list", "--json").out)
    assert not root["online"]
    assert json.loads(command("status", "--json").out)["offline"] == 3
    assert '  If the folder was renamed or moved: "photoseek roots move OLD NEW".' in command("index").lines
    told = [
        f"{renamed} has every photo of {photos}, which cannot be reached.",
        f'  If the folder was renamed or moved: "photoseek roots remove {photos}" forgets the old place.',
    ]
    assert command("index", renamed).lines[1:] == told
    assert command("index", renamed).lines[1:] == [], "said once"
    refused = command("roots", "move", photos, renamed)
    assert refused.code == 2
    assert '"photoseek roots remove" forgets the old place' in refused.err
    assert command("roots", "remove", photos).code == 0
    matches = command("search", "red", "--json").matches
    assert [match["ids"] for match in matches] == [[match["id"]] for match in matches]
    assert roots(command) == [str(renamed)]


def test_a_new_folder_that_lacks_a_photo_replaces_nothing(command: Command, renamed: Path) -> None:
    (renamed / "00.png").unlink()
    assert command("index", renamed).lines == ["2 photos seen: 2 indexed, 0 unchanged."]


def test_folders_within_each_other_are_looked_at_once(command: Command, photos: Path, tiny_checkpoint: Path) -> None:
    write_photos(photos / "a" / "b" / "c", 2)
    write_photos(photos / "a", 1, first_seed=30)
    command("index", photos / "a" / "b", "--model", tiny_checkpoint)
    for order in (["a/b/c", "a", "a/b"], ["a", "a/b/c"], ["a/b", ""]):
        (report,) = command("index", *(photos / path for path in order), "--json").objects
        assert (report["indexed"] + report["unchanged"], report["missing"]) == (3, 0), order


def test_a_dry_run_copies_nothing(
    command: Command, photos: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(photos, 3)
    command("index", photos, "--model", tiny_checkpoint)
    write_photo(photos / "new.png", "red", seed=50)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a dry run of a library needs no folder of its own")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "library").rglob("*")}
    answer = command("index", photos, photos.parent, "--dry-run")
    assert answer.lines[0] == "Would read 1 file, new or changed; 3 unchanged."
    assert roots(command) == [str(photos)], "not even a new root is kept"
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "library").rglob("*")}
    written = {path.name for path in after if after[path] != before.get(path)}
    assert written <= {"catalog.sqlite-shm", "catalog.sqlite-wal", "queries.sqlite", "library"}, "SQLite's own files"
    assert os.path.exists(photos / "new.png")


@pytest.mark.parametrize("name", [".hid", ".hid/deep", "shots", "@eaDir"])
def test_a_folder_that_is_left_out_and_named_all_the_same_is_kept(
    command: Command, photos: Path, tiny_checkpoint: Path, name: str
) -> None:
    write_photos(photos, 2)
    write_photos(photos / name, 3, first_seed=20)
    (photos / ".photoseekignore").write_text("shots/\n")
    command("index", photos, "--model", tiny_checkpoint)
    assert command("index", photos / name, "--dry-run").lines == ["Would read 3 files, new or changed; 0 unchanged."]
    assert command("index", photos / name).lines[0].startswith("3 photos seen: 3 indexed")
    assert command("index").lines[0].startswith("5 photos seen: 0 indexed, 5 unchanged")
    assert len(command("search", "red", "--paths").lines) == 5
    assert roots(command) == [str(photos), str(photos / name)]


def test_an_ignore_file_that_cannot_be_read_is_no_traceback(
    command: Command, photos: Path, tiny_checkpoint: Path
) -> None:
    write_photos(photos / "part", 2)
    command("index", photos, "--model", tiny_checkpoint)
    (photos / ".photoseekignore").symlink_to(".photoseekignore")
    assert "Offline" in command("index", photos / "part").out


def test_a_terminal_obeys_no_name(
    command: Command, photos: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = "a\x1b]0;owned\a\n\u202eb"
    monkeypatch.chdir(tmp_path)
    write_photos(photos, 2)
    write_photo(photos / "alone" / f"{wild}.png", "red")
    Path(f"{wild}.txt").write_text("text")
    Path(wild).mkdir()
    command("index", photos, "--model", tiny_checkpoint)
    (photos / "alone" / f"{wild}.png").unlink()
    for arguments in (
        ["index", f"{wild}.txt"],
        ["index", f"{wild}/nothing"],
        ["forget", wild],
        ["search", "--like", wild],
        ["search", wild, "two"],
        ["search", "red", f"--{wild}"],
        ["search", "red", "--order", wild],
        ["search", "red", "--folder", photos / "alone", "--open"],
        ["search", "--folder", wild],
        ["search", wild, "--html", f"{wild}.html"],
        ["classify", photos / "00.png", "--label", wild, "--label", "b"],
        ["roots", "remove", wild],
        ["backup", f"{wild}/copy"],
        ["roots", "move", photos, wild],
        ["models", "use", wild],
        [wild],
    ):
        answer = command(*arguments)
        assert not {"\x1b", "\a", "\u202e"}.intersection(answer.out + answer.err), arguments
        assert r"\x1b]0;owned" in answer.out + answer.err, arguments
    assert r"\x1b]0;owned" in command("status", library=wild).err


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_output_that_cannot_be_written_is_one_sentence(
    command: Command, environment: dict[str, str], photos: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    write_photos(photos, 3)
    command("index", photos, "--model", tiny_checkpoint)
    run = [sys.executable, "-m", "photoseek", "--library", str(tmp_path / "library")]
    listing = ["search", "--format", "png"]
    for arguments in (
        ["status"],
        [*listing, "--json"],
        [*listing, "--paths"],
        [*listing, "--preview-as", "blocks"],
        ["-h"],
    ):
        with open("/dev/full", "w") as full:
            ended = subprocess.run([*run, *arguments], stdout=full, stderr=subprocess.PIPE, env=environment, text=True)
        assert (ended.returncode, ended.stderr) == (
            1,
            "Error: standard output cannot be written: No space left on device\n",
        ), arguments
    silent = ["sh", "-c", '"$@" 2>&-', "sh", *run, "index"]
    ended = subprocess.run(silent, stdout=subprocess.PIPE, env=environment, text=True)
    assert (ended.returncode, ended.stdout) == (0, "3 photos seen: 0 indexed, 3 unchanged.\n")
    closed = ["sh", "-c", '"$@" >&-', "sh", *run, "status"]
    ended = subprocess.run(closed, stderr=subprocess.PIPE, env=environment, text=True)
    assert (ended.returncode, ended.stderr) == (1, "Error: standard output is closed\n")


@pytest.mark.parametrize("words", [["red"], []], ids=["words", "filters alone"])
def test_a_folder_in_which_nothing_was_indexed_is_named(
    command: Command, photos: Path, tiny_checkpoint: Path, tmp_path: Path, words: list[str]
) -> None:
    write_photos(photos / "in" / "deep", 2)
    assert command("index", photos / "in", "--model", tiny_checkpoint).code == 0
    for known in (photos, photos / "in", photos / "in" / "deep"):
        assert "no indexed folder" not in command("search", *words, "--folder", known).err
    answer = command("search", *words, "--folder", photos, "--folder", tmp_path / "nowhere", "--json")
    assert (answer.code, len(answer.lines)) == (0, 1)
    assert answer.err == f"{tmp_path / 'nowhere'} lies in no indexed folder, and holds none.\n"
