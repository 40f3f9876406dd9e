"""What was written with a generation: how large each file is, its digest, and how far its lists are searched."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from photoseek.errors import DamageError
from photoseek.storage.durable import file_digest, synced_file
from photoseek.storage.list_files import has_lists
from photoseek.storage.lists import Reach
from photoseek.storage.spaces import Space

VECTORS_FILE = "vectors.faiss"
IDS_FILE = "ids.npy"
MANIFEST_FILE = "manifest.json"


def write_manifest(folder: Path, space: Space, rows: int, reach: Reach | None) -> None:
    """Describe all files that stand in the folder of a generation of so many vectors."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {
        "format": 1,
        "checkpoint_digest": space.checkpoint_digest,
        "preprocessing": space.preprocessing,
        "dim": space.dim,
        "rows": rows,
        "reach": asdict(reach) if reach is not None else None,
        "files": files,
    }
    with synced_file(folder / MANIFEST_FILE) as stream:
        stream.write(json.dumps(manifest, indent=2).encode())


def check_sizes(folder: Path) -> None:
    """Cheap check at opening.

    Raises:
        OSError: a file is not there, or cannot be read.
        DamageError: a file has another size than the manifest says, or the manifest is none.
    """
    for name, (size, _digest) in _read(folder).items():
        if (folder / name).stat().st_size != size:
            raise DamageError(f"{folder / name} is damaged: its size is not the one it was written with")


def check_digests(folder: Path) -> None:
    """The check that reads every byte.

    Raises:
        OSError: a file is not there, or cannot be read.
        DamageError: a file is not the one that the manifest describes, or the manifest is none.
    """
    for name, (_size, digest) in _read(folder).items():
        if file_digest(folder / name) != digest:
            raise DamageError(f"{folder / name} is not what was written")


def read_reach(folder: Path) -> Reach | None:
    """How far to search a generation's lists; None where it has none, or those of an older photoseek.

    Raises:
        DamageError: the manifest holds something else.
    """
    if not has_lists(folder):
        return None
    try:
        reach = json.loads((folder / MANIFEST_FILE).read_bytes()).get("reach")
        return Reach(**reach) if reach is not None else None
    except (ValueError, TypeError) as error:
        raise DamageError(f"{folder / MANIFEST_FILE} is damaged") from error


def _read(folder: Path) -> dict[str, tuple[int, str]]:
    """Size in bytes and SHA-256 of each file, by name."""
    try:
        files = json.loads((folder / MANIFEST_FILE).read_bytes())["files"]
        facts = {name: (int(files[name]["bytes"]), str(files[name]["sha256"])) for name in files}
    except (ValueError, KeyError, TypeError) as error:
        raise DamageError(f"{folder / MANIFEST_FILE} is damaged") from error
    if not {VECTORS_FILE, IDS_FILE} <= facts.keys():
        raise DamageError(f"{folder / MANIFEST_FILE} is damaged")
    return facts
