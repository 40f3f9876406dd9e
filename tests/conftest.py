"""Fixtures that every part of the tests shares."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from photoseek import PhotoLibrary

sys.path.insert(0, str(Path(__file__).parent))  # so that tests may say `from checkpoints import make_checkpoint`

from checkpoints import make_checkpoint


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's library, models or settings."""
    monkeypatch.delenv("PHOTOSEEK_LIBRARY", raising=False)
    monkeypatch.delenv("PHOTOSEEK_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small random dual encoder: 32 px pictures, 16 dimensions; treat it as read-only."""
    return make_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def turned_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another small dual encoder; under the fakes its vectors point the other way."""
    return make_checkpoint(tmp_path_factory.mktemp("models") / "turned", seed=1)


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The colour model and a reader without processes (`fakes`) for this test."""
    from fakes import ColourVision, install_fakes

    install_fakes(monkeypatch.setattr)
    monkeypatch.setattr(ColourVision, "encoded", 0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An empty folder for photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def open_library(tmp_path: Path, tiny_checkpoint: Path, fake_model: None) -> Iterator[Callable[..., PhotoLibrary]]:
    """Opens libraries with the colour model, by default the one at `tmp_path / "library"`, and closes them."""
    from photoseek import PhotoLibrary

    opened: list[PhotoLibrary] = []

    def open_(path: Path | None = None, *, model: Path | None = None) -> PhotoLibrary:
        library = PhotoLibrary.open(path or tmp_path / "library", model=model or tiny_checkpoint)
        opened.append(library)
        return library

    yield open_
    for library in opened:
        library.close()


@pytest.fixture
def library(open_library: Callable[..., PhotoLibrary]) -> PhotoLibrary:
    """A new library with the colour model; nothing is written before it is used."""
    return open_library()
