"""Runs of the indexer in tests: what must hold after each, what is found, and how photos change in between."""

from __future__ import annotations

import os
from pathlib import Path

from fakes import ColourVision
from small_library import write_photo

from photoseek import IndexReport, PhotoLibrary


def index(library: PhotoLibrary, *folders: Path, **options: object) -> IndexReport:
    """Run, and check what must hold after every run."""
    ColourVision.encoded = 0
    report = library.index(list(folders) or None, **options)  # type: ignore[arg-type]
    assert report.seen == report.indexed + report.unchanged + report.failed + report.skipped
    assert report.embedded <= ColourVision.encoded
    if library.exists:
        status = library.status()
        assert status.photos == status.indexed + status.failed + status.skipped + status.missing
        assert library.verify().problems == []
    return report


def found(library: PhotoLibrary, text: str = "red", **options: object) -> list[str]:
    """File names, best first."""
    return [match.path.name for match in library.search(text, limit=100, **options) if match.path]  # type: ignore[arg-type]


def edit(path: Path, colour: str, seed: int = 7) -> None:
    """Another picture under the same name, with another time."""
    before = path.stat().st_mtime_ns
    write_photo(path, colour, seed=seed)
    os.utime(path, ns=(before + 10**9, before + 10**9))
