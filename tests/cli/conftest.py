"""The command line as its users see it: in this process with the colour model, and as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Ended:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def objects(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.lines]

    @property
    def matches(self) -> list[Any]:
        """The matches of a search with --json."""
        return list(json.loads(self.out)["matches"])


Command = Callable[..., Ended]


@pytest.fixture
def command(tmp_path: Path, fake_model: None, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs `photoseek --library TMP/library ARGUMENTS...` in this process; a traceback fails the test."""
    from photoseek.cli import main

    def run(*arguments: object, library: object = tmp_path / "library") -> Ended:
        capfd.readouterr()
        place = [] if library is None else ["--library", str(library)]
        code: object = 0
        try:
            main([*place, *map(str, arguments)])
        except SystemExit as end:
            code = end.code
        out, err = capfd.readouterr()
        assert isinstance(code, int | None)
        assert "Traceback" not in out + err
        return Ended(code or 0, out, err)

    return run


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """For real processes: everything of the user's that photoseek looks at lies in the test's folder."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PHOTOSEEK_")},
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        "HOME": str(tmp_path / "home"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


@pytest.fixture
def process(environment: dict[str, str]) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts `photoseek ARGUMENTS...` as a process."""

    def start(*arguments: object, **variables: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "photoseek", *map(os.fspath, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, **variables},
        )

    return start
