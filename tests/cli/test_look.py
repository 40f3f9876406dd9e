"""`search --preview` and `--open`: pictures of the answer, and what happens where they cannot be shown."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_library import write_photo

pytestmark = pytest.mark.slow

Command = Callable[..., Any]


@pytest.fixture
def indexed(command: Command, photos: Path, tiny_checkpoint: Path) -> Path:
    for colour in ("red", "green", "blue"):
        write_photo(photos / f"{colour}.png", colour)
    assert command("index", photos, "--model", tiny_checkpoint).code == 0
    return photos


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m|\x1b\]8;;[^\x1b]*\x1b\\", "", text)


def test_blocks_show_pictures_with_rank_score_and_path(
    command: Command, indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("COLORTERM", "truecolor")
    answer = command("search", "red", "--preview-as", "blocks", "--limit", 2)
    assert (answer.code, answer.err) == (0, "")
    assert re.search(r"\x1b\[38;2;2\d\d;\d+;\d+;48;2;2\d\d;\d+;\d+m[▀▌▘▝▖▛▞]", answer.out), "a red cell"
    shown = plain(answer.out)
    assert re.search(r"^1  \d\.\d{3} +2  -?\d\.\d{3}", shown, re.MULTILINE)
    assert "/red.png" in shown
    assert f"\x1b]8;;{(indexed / 'red.png').as_uri()}\x1b\\" in answer.out
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("protocol", "beginning"), [("kitty", "\x1b_Ga=T,"), ("iterm", "\x1b]1337;File="), ("sixel", "\x1bP0;1;0q")]
)
def test_a_protocol_can_be_forced(command: Command, indexed: Path, protocol: str, beginning: str) -> None:
    answer = command("search", "red", "--preview-as", protocol)
    assert (answer.code, answer.out.count(beginning)) == (0, 3)


def test_256_colours_where_no_more_are_sure(command: Command, indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLORTERM", "TERM_PROGRAM", "WT_SESSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "38;5;" in command("search", "red", "--preview-as", "blocks").out


def test_without_a_terminal_the_table_comes_instead(command: Command, indexed: Path) -> None:
    answer = command("search", "red", "--preview", "--limit", 1)
    assert (answer.code, answer.out.count("\t"), "\x1b" in answer.out) == (0, 1, False)
    assert "--preview-as blocks" in answer.err


def test_photos_that_cannot_be_read_are_grey_boxes(command: Command, indexed: Path) -> None:
    (indexed / "red.png").unlink()
    (indexed / "green.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    answer = command("search", "red", "--preview-as", "blocks")
    assert answer.code == 0
    assert "the file is gone" in plain(answer.out)
    assert "PNG" in plain(answer.out)
    assert "▀" in answer.out, "the third one is shown"


def test_filters_alone_are_shown_too(command: Command, indexed: Path) -> None:
    answer = command("search", "--format", "png", "--preview-as", "blocks")
    assert (answer.code, answer.err) == (0, "")
    assert "/blue.png" in plain(answer.out)


@pytest.mark.parametrize("other", ["--json", "--paths", "-0"])
def test_pictures_and_texts_for_programs_exclude_each_other(command: Command, indexed: Path, other: str) -> None:
    assert command("search", "red", "--preview", other).code == 2
    assert command("search", "red", "--preview-as", "blocks", other).code == 2


def test_nothing_found_shows_nothing(command: Command, indexed: Path) -> None:
    answer = command("search", "red", "--taken", "1999", "--preview-as", "kitty")
    assert (answer.code, answer.out) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_real_terminal_is_asked_and_gets_what_it_knows(
    command: Command, indexed: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """A process in a session of its own, whose terminal says that it knows sixel."""
    theirs, ours = pty.openpty()
    name = os.ttyname(ours)
    script = (
        f"import os; os.dup2(os.open({name!r}, os.O_RDWR), 1)\n"
        "from fakes import install_fakes; install_fakes()\n"
        f"from photoseek.cli import main; main(['--library', {str(tmp_path / 'library')!r}, 'search', 'red',"
        " '--preview'])"
    )
    tests = str(Path(__file__).parents[1])
    variables = {**environment, "TERM": "xterm-256color", "PYTHONPATH": tests + os.pathsep + environment["PYTHONPATH"]}
    for variable in ("TMUX", "STY", "TERM_PROGRAM", "LC_TERMINAL"):
        variables.pop(variable, None)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=variables,
    )
    shown = b""

    def serve() -> None:
        nonlocal shown
        answered = False
        while True:
            try:
                shown += os.read(theirs, 65536)
            except OSError:
                return
            if not answered and b"\x1b[c" in shown:
                answered = True
                os.write(theirs, b"\x1b[6;20;10t\x1b[?62;4;22c")

    thread = threading.Thread(target=serve)
    thread.start()
    _, errors = process.communicate(timeout=60)
    os.close(ours)
    thread.join(timeout=10)
    os.close(theirs)
    assert (process.returncode, errors) == (0, b"")
    assert shown.count(b"\x1bP0;1;0q") == 3


def opener(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that stands in for the system's opener, alone on the path."""
    folder.mkdir()
    program = folder / ("open" if sys.platform == "darwin" else "xdg-open")
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such program")
class TestOpen:
    """`--open`."""

    def test_the_first_photo_is_opened(
        self, command: Command, indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opener(tmp_path / "bin", f'printf %s "$*" > "{tmp_path}/opened"', monkeypatch)
        answer = command("search", "red", "--open")
        assert (answer.code, answer.err, len(answer.lines)) == (0, "", 3)
        assert (tmp_path / "opened").read_text() == str(indexed / "red.png")

    def test_an_opener_that_fails_is_told(
        self, command: Command, indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opener(tmp_path / "bin", "exit 3", monkeypatch)
        answer = command("search", "red", "--open")
        assert (answer.code, "ended with 3" in answer.err) == (1, True)

    def test_a_system_without_a_viewer_is_told(
        self, command: Command, indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        answer = command("search", "red", "--open")
        assert (answer.code, "there is no program" in answer.err, len(answer.lines)) == (1, True, 3)

    def test_a_photo_that_is_gone_is_told(self, command: Command, indexed: Path) -> None:
        (indexed / "red.png").unlink()
        answer = command("search", "red", "--open", "--limit", 1)
        assert (answer.code, "there is no such file now" in answer.err) == (1, True)

    def test_a_photo_whose_drive_is_away_is_told(self, command: Command, indexed: Path) -> None:
        indexed.rename(indexed.with_name("away"))
        answer = command("search", "red", "--open", "--limit", 1)
        assert (answer.code, "its drive is away" in answer.err) == (1, True)

    def test_nothing_found_opens_nothing(self, command: Command, indexed: Path) -> None:
        assert command("search", "red", "--taken", "1999", "--open").code == 0
