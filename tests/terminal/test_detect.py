"""What a terminal is taken for, and that asking it never hangs, leaks or stops."""

from __future__ import annotations

import os
import pty
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoseek.terminal import ask as asking
from photoseek.terminal.ask import Answer, ask, read_answer
from photoseek.terminal.detect import CELL, Protocol, detect, has_true_colour

XTERM = {"TERM": "xterm-256color"}
KITTY_OK = b"\x1b_Gi=31;OK\x1b\\"
SIXEL_TERMINAL = b"\x1b[?62;4;22c"
PLAIN_TERMINAL = b"\x1b[?64;1;2;22c"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """(the terminal's side, the program's side) of a pseudo-terminal that counts as ours."""
    monkeypatch.setattr(asking, "_may_ask", lambda _descriptor: True)
    theirs, ours = pty.openpty()
    yield theirs, ours
    os.close(theirs)
    os.close(ours)


def answering(theirs: int, answer: bytes, delay_s: float = 0.0) -> threading.Thread:
    """Reads the question at the terminal's side and answers."""

    def serve() -> None:
        question = b""
        while not question.endswith(b"\x1b[c"):
            question += os.read(theirs, 100)
        time.sleep(delay_s)
        os.write(theirs, answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (KITTY_OK + b"\x1b[6;20;10t" + PLAIN_TERMINAL, Answer(kitty=True, cell=(10, 20))),
        (SIXEL_TERMINAL, Answer(sixel=True)),
        (b"\x1b_Gi=31;EINVAL:no\x1b\\" + PLAIN_TERMINAL, Answer()),
        (b"\x1b[6;0;0t" + PLAIN_TERMINAL, Answer()),
        (b"ls -l\r" + SIXEL_TERMINAL, Answer(sixel=True)),
        (b"\x1b[?64;14;24c", Answer()),
        (b"", Answer()),
    ],
)
def test_answers_are_understood(answer: bytes, meaning: Answer) -> None:
    assert read_answer(answer) == meaning


@given(st.binary(max_size=200))
def test_any_answer_is_read(answer: bytes) -> None:
    assert isinstance(read_answer(answer), Answer)


def test_a_terminal_is_asked_and_left_as_it_was(terminal: tuple[int, int]) -> None:
    theirs, ours = terminal
    before = termios.tcgetattr(ours)
    server = answering(theirs, KITTY_OK + SIXEL_TERMINAL)
    assert ask(ours, 10) == Answer(kitty=True, sixel=True)
    server.join()
    assert termios.tcgetattr(ours) == before


def test_a_silent_terminal_costs_the_time_limit_only(terminal: tuple[int, int]) -> None:
    started = time.monotonic()
    assert ask(terminal[1], 0.1) == Answer()
    assert 0.05 < time.monotonic() - started < 5


def test_a_descriptor_that_is_no_terminal_is_not_asked(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as stream:
        assert ask(stream.fileno(), 10) == Answer()
        assert stream.read() == b""


def test_a_terminal_of_another_session_is_not_asked() -> None:
    theirs, ours = pty.openpty()
    assert ask(ours, 10) == Answer()
    os.close(theirs)
    os.close(ours)


class Asked:
    """Stands in for the terminal, and counts."""

    def __init__(self, answer: Answer = Answer()) -> None:  # noqa: B008 - frozen
        self.answer, self.times = answer, 0

    def __call__(self) -> Answer:
        self.times += 1
        return self.answer


@pytest.mark.parametrize(
    ("environment", "answer", "protocol", "times"),
    [
        ({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}, Answer(), "kitty", 0),
        ({"TERM": "xterm-ghostty"}, Answer(), "kitty", 0),
        ({**XTERM, "TERM_PROGRAM": "iTerm.app"}, Answer(), "iterm", 0),
        ({**XTERM, "LC_TERMINAL": "iTerm2"}, Answer(), "iterm", 0),
        ({**XTERM, "TERM_PROGRAM": "WezTerm"}, Answer(), "iterm", 0),
        (XTERM, Answer(kitty=True, sixel=True), "kitty", 1),
        (XTERM, Answer(sixel=True), "sixel", 1),
        (XTERM, Answer(), "blocks", 1),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/x", "LC_TERMINAL": "iTerm2"}, Answer(), "blocks", 1),
        ({"TERM": "screen", "KITTY_WINDOW_ID": "1"}, Answer(sixel=True), "sixel", 1),
        ({"TERM": "linux"}, Answer(sixel=True), "blocks", 0),
        ({"TERM": "dumb"}, Answer(sixel=True), "blocks", 0),
    ],
)
def test_the_environment_decides_where_it_is_clear_and_the_answer_elsewhere(
    terminal: tuple[int, int], environment: dict[str, str], answer: Answer, protocol: str, times: int
) -> None:
    asked = Asked(answer)
    found = detect(environment, asked, descriptor=terminal[1])
    assert (found.protocol, asked.times) == (Protocol(protocol), times)


def test_nothing_is_asked_where_there_is_no_terminal(tmp_path: Path) -> None:
    asked = Asked(Answer(kitty=True))
    with (tmp_path / "file").open("wb") as stream:
        found = detect(XTERM, asked, descriptor=stream.fileno(), forced=Protocol.SIXEL)
    assert (found.protocol, found.cell, asked.times) == (Protocol.SIXEL, CELL, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such record")
def test_the_size_of_a_character_comes_from_the_system_where_it_knows(terminal: tuple[int, int]) -> None:
    import fcntl
    import struct

    fcntl.ioctl(terminal[1], termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 1100, 1200))
    asked = Asked(Answer(cell=(1, 1)))
    assert detect(XTERM, asked, descriptor=terminal[1], forced=Protocol.SIXEL).cell == (11, 24)
    assert asked.times == 0


@pytest.mark.parametrize(
    ("environment", "true_colour"),
    [
        ({**XTERM, "COLORTERM": "truecolor"}, True),
        ({**XTERM, "COLORTERM": "24bit"}, True),
        ({**XTERM, "TERM_PROGRAM": "Apple_Terminal"}, False),
        ({"TERM": "xterm-direct"}, True),
        ({"TERM": "xterm-kitty"}, True),
        ({"WT_SESSION": "1"}, True),
        (XTERM, False),
        ({}, False),
    ],
)
def test_24_bit_colours_are_used_where_they_are_sure(environment: dict[str, str], true_colour: bool) -> None:
    assert has_true_colour(environment) is true_colour
