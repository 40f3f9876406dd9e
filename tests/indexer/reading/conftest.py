"""Fixtures for the tests of reading one photo."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import pytest

from photoseek.contracts import DecodeJob, ReadResult
from photoseek.indexer.workers import DecodeWorkers

# For `from small_photos import ...` here, and for the preprocessing that worker processes import.
sys.path.insert(0, str(Path(__file__).parent))

from small_photos import Squash

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with photos.tar and broken.tar, which lies outside the repository."""
    folder = Path(os.environ.get("PHOTOSEEK_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "photos.tar").is_file():
        pytest.skip(f"no photos.tar in {folder} (PHOTOSEEK_TEST_DATA names another folder)")
    return folder


@pytest.fixture(scope="session")
def camera_photos(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos.tar, unpacked: pictures that must all be read."""
    return _unpack(shared_data / "photos.tar", tmp_path_factory) / "photos"


@pytest.fixture(scope="session")
def broken_photos(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """broken.tar, unpacked: damaged and hostile files."""
    return _unpack(shared_data / "broken.tar", tmp_path_factory) / "broken"


@pytest.fixture(scope="session")
def read_photos(camera_photos: Path) -> dict[str, ReadResult]:
    """What became of each file of photos.tar, by its path in it."""
    return _read_folder(camera_photos)


@pytest.fixture(scope="session")
def read_broken(broken_photos: Path) -> dict[str, ReadResult]:
    """What became of each file of broken.tar, by its path in it."""
    return _read_folder(broken_photos)


def _read_folder(folder: Path) -> dict[str, ReadResult]:
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    jobs = [DecodeJob(key, os.fsencode(folder / name)) for key, name in enumerate(names)]
    with DecodeWorkers(Squash(), workers=2) as pool:
        return {names[job.key]: result for job, result in pool.read(jobs)}


def _unpack(tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp(tar.stem)
    with tarfile.open(tar) as archive:
        archive.extractall(target, filter="data")
    return target
