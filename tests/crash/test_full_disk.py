"""A disk that fills up: a clear error, exit code 1, and nothing lost. On a real small disk where one may be mounted."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from small_library import stored_files, write_photos

from photoseek import IndexSettings, PhotoLibrary
from photoseek.errors import PhotoseekError, StorageFullError
from photoseek.storage import durable

pytestmark = pytest.mark.slow

SETTINGS = IndexSettings(ivf_min_rows=6, generation_min_rows=2, delta_max_rows=3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1,200 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, left_bytes: int) -> Path:
    """Take all space but `left_bytes`; returns the file that does."""
    ballast = disk / "ballast"
    size = max(0, shutil.disk_usage(disk).free - left_bytes)
    with ballast.open("wb") as stream:
        stream.write(bytes(size))
    return ballast


@pytest.mark.parametrize("left_bytes", [0, 4096, 20_000, 60_000, 100_000, 150_000])
def test_a_full_disk_during_a_run_loses_nothing(
    small_disk: Path, photos: Path, open_library: Callable[..., PhotoLibrary], left_bytes: int
) -> None:
    write_photos(photos / "old", 8)
    path = small_disk / "library"
    with open_library(path) as library:
        library.index(photos, settings=SETTINGS)
    before = stored_files(path)
    write_photos(photos / "new", 40, first_seed=100)
    ballast = fill(small_disk, left_bytes)
    with open_library(path) as library, pytest.raises(StorageFullError) as caught:
        library.index(photos, batch_size=2)
    assert (caught.value.exit_code, "full" in str(caught.value)) == (1, True)
    ballast.unlink()
    with open_library(path) as library:
        assert library.verify().problems == []
        assert before.items() <= stored_files(path).items()
        known = library.status().indexed
        assert library.index().indexed == 48 - known
        report = library.verify()
        assert (report.problems, report.litter) == ([], [])
        assert len(library.search("red", limit=100)) == 48


@pytest.mark.parametrize("left_bytes", [0, 4096, 30_000])
def test_a_new_library_on_a_full_disk_is_a_clear_error(
    small_disk: Path, photos: Path, open_library: Callable[..., PhotoLibrary], left_bytes: int
) -> None:
    write_photos(photos, 3)
    ballast = fill(small_disk, left_bytes)
    with open_library(small_disk / "library") as library, pytest.raises(StorageFullError):
        library.index(photos)
    ballast.unlink()
    with open_library(small_disk / "library") as library:
        assert library.index(photos).indexed == 3


@pytest.mark.parametrize("left_bytes", [0, 4096, 60_000, 200_000])
def test_a_backup_that_does_not_fit_leaves_nothing(
    small_disk: Path, library: PhotoLibrary, photos: Path, left_bytes: int
) -> None:
    write_photos(photos, 30)
    library.index(photos, settings=SETTINGS)
    ballast = fill(small_disk, left_bytes)
    with pytest.raises(StorageFullError, match="copy"):
        library.backup(small_disk / "copy")
    assert list(small_disk.iterdir()) == [ballast]
    ballast.unlink()
    library.backup(small_disk / "copy")
    assert stored_files(small_disk / "copy") == stored_files(library.path)


def test_a_backup_touches_nothing_beside_its_target(library: PhotoLibrary, photos: Path, tmp_path: Path) -> None:
    write_photos(photos, 3)
    library.index(photos)
    kept = [write_photos(tmp_path / name, 1)[0] for name in ("copy.unfinished", "copy.part", ".copy")]
    library.backup(tmp_path / "copy")
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize("write", range(8))
def test_a_merge_that_does_not_fit_keeps_the_old_generation(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    write_photos(photos, 8)
    library.index(photos, settings=SETTINGS)
    answers = [(match.id, match.score) for match in library.search("red", limit=8)]
    before = sorted((library.path / "index").rglob("*"))
    write_photos(photos / "new", 6, first_seed=50)
    writes = 0
    opened = Path.open

    class Full:
        """A stream on a disk that is full from the given write on."""

        def __init__(self, stream: BinaryIO) -> None:
            self._stream = stream

        def write(self, data: Any) -> int:
            nonlocal writes
            writes += 1
            if writes > write:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self._stream.write(data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_error: object) -> None:
            self._stream.close()

    def open_(self: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        stream = opened(self, mode, *rest, **options)
        return Full(stream) if mode == "xb" else stream

    monkeypatch.setattr(Path, "open", open_)
    with pytest.raises(StorageFullError):
        library.index()
    monkeypatch.undo()
    assert writes == write + 1
    assert sorted((library.path / "index").rglob("*")) == before
    assert library.verify().problems == []
    assert library.status().indexed == 14, "the photos themselves were committed before the merge"
    found = [(match.id, match.score) for match in library.search("red", limit=20)]
    assert [pair for pair in found if pair in answers] == answers
    assert library.index().unchanged == 14
    assert library.status().index.rows == 14


def test_an_unfinished_folder_disappears_whatever_the_error(tmp_path: Path) -> None:
    target = tmp_path / "made"

    def fill_and_fail(error: BaseException) -> None:
        with durable.new_folder(target) as folder:
            (folder / "file").write_text("x")
            raise error

    for raised, told in (
        (OSError(errno.EDQUOT, "quota"), StorageFullError),
        (OSError(errno.EIO, "Input/output error"), PhotoseekError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):
        with pytest.raises(told):
            fill_and_fail(raised)
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_of_temporary_files_is_told(
    library: PhotoLibrary, photos: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(photos, 2)
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    ballast = fill(small_disk, 0)
    with pytest.raises(StorageFullError, match="disk of temporary files is full") as caught:
        library.index(photos)
    assert str(small_disk) in str(caught.value)
    ballast.unlink()
    assert library.index().indexed == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a file on which nothing can be written")
def test_a_temporary_file_that_cannot_be_written_is_told(
    library: PhotoLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(photos, 2)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", lambda *_arguments, **_options: open("/dev/full", "w+"))  # noqa: SIM115
        with pytest.raises(StorageFullError, match="disk of temporary files is full"):
            library.index(photos)
    assert library.index(photos).indexed == 2


def test_no_folder_for_temporary_files_is_told(
    library: PhotoLibrary, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(photos, 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nothing"))
    with pytest.raises(PhotoseekError, match="temporary files cannot be written: No such file"):
        library.index(photos)
