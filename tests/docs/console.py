"""Makes the outputs in README.md anew, as a person sees them: python tests/docs/console.py

Runs every line that begins with `$ photoseek` in a block marked `console`, in the repository's root, with a library
of its own. What it prints to a terminal follows; paths of this machine become those of a reader.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "README.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROMPT = "$ photoseek"


def commands(text: str) -> list[str]:
    """The command lines of all blocks, in order."""
    return [line for block in BLOCK.findall(text) for line in block.splitlines() if line.startswith(PROMPT)]


def run_on_terminal(command: str, data_folder: Path) -> tuple[int, str]:
    """Exit code and output of one command line: standard output on a terminal, then standard error."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "XDG_DATA_HOME": str(data_folder), "COLUMNS": "100"}
    environment.pop("PHOTOSEEK_LIBRARY", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "photoseek.cli", *shlex.split(command)[2:]],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
    )
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    _, told = process.communicate()
    text = shown.decode().replace("\r\n", "\n") + told.decode()
    for found, written in ((str(data_folder), "/home/you/.local/share"), (str(ROOT), "/home/you/photoseek")):
        text = text.replace(found, written)
    return process.returncode, text


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux's way to say that the other side of a terminal was closed
        return b""


def remade(text: str) -> str:
    """The page with the outputs that its commands have now.

    Raises:
        RuntimeError: a command failed.
    """
    with tempfile.TemporaryDirectory() as folder:

        def answer(match: re.Match[str]) -> str:
            parts = []
            for command in (line for line in match[1].splitlines() if line.startswith(PROMPT)):
                code, output = run_on_terminal(command, Path(folder))
                if code:
                    raise RuntimeError(f"{command} ended with {code}: {output}")
                parts.append(f"{command}\n{output}")
            return "```console\n" + "\n".join(parts) + "```"

        return BLOCK.sub(answer, text)


if __name__ == "__main__":
    PAGE.write_text(remade(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
