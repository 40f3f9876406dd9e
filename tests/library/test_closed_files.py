"""A library that was closed keeps no file open, even while an error of its is held."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from small_library import write_photos

from photoseek import PhotoLibrary
from photoseek.errors import UsageError

OPEN_FILES = Path("/proc/self/fd")

pytestmark = pytest.mark.skipif(not OPEN_FILES.exists(), reason="finds open files in /proc")


def open_below(folder: Path) -> list[str]:
    files = (os.readlink(entry) for entry in OPEN_FILES.iterdir() if entry.is_symlink())
    return [file for file in files if file.startswith(str(folder))]


def test_after_a_move_that_was_refused(library: PhotoLibrary, photos: Path, tmp_path: Path) -> None:
    write_photos(photos, 3)
    library.index(photos)
    copied = Path(shutil.copytree(photos, tmp_path / "copied"))
    library.index(copied)
    with pytest.raises(UsageError, match="already") as held:
        library.move_root(photos, copied)
    assert open_below(library.path)
    library.close()
    assert open_below(library.path) == []
    assert held.value.hint
