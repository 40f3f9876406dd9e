"""Opens a file with the program that the system has for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from photoseek.errors import PhotoseekError

SETTLE_S = 2.0
"""Time in which an opener that fails has said so; one that shows the photo itself goes on running."""


def open_file(path: Path) -> None:
    """Show a file to the person at this machine; returns while it is shown.

    Raises:
        PhotoseekError: the file is gone, the system has no viewer, or the viewer failed.
    """
    if not os.path.exists(path):
        raise PhotoseekError(f"{path} cannot be opened: there is no such file now")
    if sys.platform == "win32":
        os.startfile(path)  # noqa: S606 - the system's own way; the path exists
        return
    name = "open" if sys.platform == "darwin" else "xdg-open"
    program = shutil.which(name)
    if program is None:
        raise PhotoseekError(
            f"{path} cannot be opened: there is no program {name}",
            hint="install xdg-utils, or open the path that is printed yourself",
        )
    # An absolute path never looks like an option. A session of its own, so that Ctrl-C here leaves the viewer alone.
    process = subprocess.Popen(  # noqa: S603 - no shell; the program is the system's own
        [program, os.path.abspath(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = process.wait(SETTLE_S)
    except subprocess.TimeoutExpired:
        return
    if code:
        raise PhotoseekError(f"{path} cannot be opened: {name} ended with {code}", hint="is there a desktop here?")
