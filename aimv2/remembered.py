"""What was tried on this machine: `trials.json` in the models folder, one entry for each question asked.

A key is a digest of everything that the answer depends on (checkpoint, processor or GPU, versions), so that an
entry never has to be taken back.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from photoseek.aimv2.models import models_folder

log = logging.getLogger(__name__)


def key_of(*parts: object) -> str:
    """The key of a question: a digest of what its answer depends on."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def remembered(key: str) -> dict[str, Any] | None:
    """The fields of an entry, or None."""
    entry = _read().get(key)
    return entry if isinstance(entry, dict) else None


def remember(key: str, entry: dict[str, Any]) -> None:
    """Write the file as a whole; where that fails (read-only, full), the answer just serves this process."""
    content = _read() | {key: entry}
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="trials.", suffix=".tmp", dir=_file().parent)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=2)
        Path(name).replace(_file())
    except OSError as error:
        log.warning("the trial is not remembered: %s: %s", _file(), error.strerror)


def _file() -> Path:
    return models_folder() / "trials.json"


def _read() -> dict[str, Any]:
    """All entries; a file that cannot be read is as none, since trials can be run again."""
    try:
        content = json.loads(_file().read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
