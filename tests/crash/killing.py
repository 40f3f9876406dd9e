"""A server that runs library work in forked children and kills them at chosen moments.

Started by the tests as `python killing.py`. Each line on its input is a JSON request; for each it forks a child
with everything imported, so that fifty kills take seconds. A *moment* is a point in the child's life at which
something durable is about to happen or has just happened: every statement that SQLite is given in a writing
transaction, every commit (before and after), every fsync and every rename (before and after). The child that
reaches the moment asked for kills itself with SIGKILL there, as a power button would.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect

sys.path.insert(0, str(Path(__file__).parents[1]))

from fakes import install_fakes

from photoseek import IndexSettings, PhotoLibrary

READING = ("SELECT", "PRAGMA", "BEGIN")


class Moments:
    """Counts moments; at the one asked for the process is gone."""

    def __init__(self, kill_at: int) -> None:
        self.seen: list[str] = []
        self._kill_at = kill_at

    def pass_(self, name: str) -> None:
        if len(self.seen) == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen.append(name)

    def watch(self) -> None:
        """Let the writes of this process be moments."""

        def around(owner: Any, name: str) -> None:
            original: Callable[..., Any] = getattr(owner, name)

            def passing(*arguments: Any, **options: Any) -> Any:
                self.pass_(f"before {name}")
                result = original(*arguments, **options)
                self.pass_(f"after {name}")
                return result

            setattr(owner, name, passing)

        for owner, name in ((os, "fsync"), (os, "replace"), (DefaultDialect, "do_commit")):
            around(owner, name)

        @sa.event.listens_for(sa.engine.Engine, "before_cursor_execute")
        def statement(_connection: Any, _cursor: Any, text: str, *_rest: Any) -> None:
            if not text.lstrip().upper().startswith(READING):
                self.pass_(f"before {text[:40]}")


def work(request: dict[str, Any]) -> None:
    """What a child does: the steps of the request, in order."""
    settings = IndexSettings(**request["settings"]) if request.get("settings") else None
    with PhotoLibrary.open(request["library"], model=request.get("model")) as library:
        for step in request["steps"]:
            if step == "index":
                library.index(request["folders"], batch_size=2, settings=settings)
            elif step == "use_model":
                library.use_model(request["use_model"])
            elif step == "prune":
                library.prune_models()
            elif step == "forget":
                library.forget(request["forget"])
            elif step == "backup":
                library.backup(request["backup"])
            else:
                raise ValueError(step)


def child(request: dict[str, Any], answer: int) -> None:
    """Run in the forked process; writes the moments that it passed."""
    moments = Moments(request["kill_at"])
    moments.watch()
    try:
        work(request)
        reply: object = {"moments": moments.seen}
    except BaseException:
        reply = {"error": traceback.format_exc()}
    with os.fdopen(answer, "w") as stream:
        json.dump(reply, stream)


def main() -> None:
    install_fakes()
    for line in sys.stdin:
        request = json.loads(line)
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reading)
            child(request, writing)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as stream:
            told = stream.read()
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed, **(json.loads(told) if told else {})}), flush=True)


if __name__ == "__main__":
    main()
