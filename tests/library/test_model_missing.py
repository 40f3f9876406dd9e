"""A model that is not there stops a first run before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_library import write_photo

from photoseek import PhotoLibrary
from photoseek.errors import CheckpointError


def test_a_first_run_with_a_missing_model_makes_no_library(tmp_path: Path, photos: Path) -> None:
    write_photo(photos / "red.png", "red")
    with PhotoLibrary.open(tmp_path / "library", model=tmp_path / "nothing") as library:
        with pytest.raises(CheckpointError):
            library.index([photos])
        with pytest.raises(CheckpointError):
            library.add((photos / "red.png").read_bytes(), id="app-1")
        assert not library.exists
    assert not (tmp_path / "library").exists()
