"""Fixtures of the crash tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def _server() -> Iterator[subprocess.Popen[str]]:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "killing.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
    )
    yield server
    assert server.stdin is not None
    server.stdin.close()
    server.wait()
    assert server.stdout is not None
    server.stdout.close()


@pytest.fixture
def run_child(_server: subprocess.Popen[str]) -> Run:
    """Runs a request of `killing.py` in a child that dies at moment `kill_at`; -1 lets it live.

    Returns `killed`, and the `moments` that a child which lived has passed.
    """

    def run(kill_at: int = -1, **request: Any) -> dict[str, Any]:
        assert _server.stdin is not None
        assert _server.stdout is not None
        print(json.dumps({**request, "kill_at": kill_at}, default=str), file=_server.stdin, flush=True)
        answer: dict[str, Any] = json.loads(_server.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    return run
