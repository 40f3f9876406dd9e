"""Reading a file that may be no file, may change, or may not be here at all."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_photos import RED, plain

from photoseek.contracts import ReadFailure, Trouble
from photoseek.indexer import photo_file
from photoseek.indexer.photo_file import PhotoFile, is_placeholder, read_photo_file


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(plain(RED))
    return path


def failure(path: Path | bytes) -> ReadFailure:
    answer = read_photo_file(os.fsencode(path))
    assert isinstance(answer, ReadFailure)
    assert answer.reason.isprintable()
    return answer


def test_a_file_is_read_whole(photo: Path) -> None:
    answer = read_photo_file(os.fsencode(photo))
    assert answer == PhotoFile(plain(RED), photo.stat().st_mtime_ns)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names must be Unicode there")
def test_any_name(photo: Path) -> None:
    odd = os.fsencode(photo.parent) + b"/\xff\n.jpg"
    os.rename(photo, odd)
    assert isinstance(read_photo_file(odd), PhotoFile)


def test_what_is_gone_has_vanished(photo: Path) -> None:
    assert failure(photo.parent / "other.jpg").trouble is Trouble.VANISHED
    assert failure(photo / "inside.jpg").trouble is Trouble.VANISHED


def test_folders_pipes_and_sockets_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.jpg"))
        for name in ("folder.jpg", "fifo.jpg", "socket.jpg"):
            assert failure(tmp_path / name).trouble is Trouble.NO_PICTURE
    assert failure(b"/dev/zero").trouble is Trouble.NO_PICTURE


def test_a_pipe_that_takes_the_place_of_the_file_does_not_block(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_it = os.open

    def swap_then_open(path: bytes, flags: int) -> int:
        photo.unlink()
        os.mkfifo(photo)
        return open_it(path, flags)

    monkeypatch.setattr(os, "open", swap_then_open)
    assert failure(photo).trouble is Trouble.NO_PICTURE


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_without_permission(photo: Path) -> None:
    photo.chmod(0)
    assert failure(photo) == ReadFailure(Trouble.SURROUNDINGS, "cannot be read: permission denied")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ELOOP])
def test_errors_of_the_disk_are_errors_of_the_surroundings(
    photo: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> bytes:
        raise OSError(number, os.strerror(number), "a path\nwith a line break")

    monkeypatch.setattr(os, "read", refuse)
    assert failure(photo).trouble is Trouble.SURROUNDINGS


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert failure(tmp_path / "loop.jpg").trouble is Trouble.SURROUNDINGS


@pytest.mark.parametrize("change", ["grow", "shrink", "touch"])
def test_a_file_that_changes_meanwhile_is_not_believed(
    photo: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_it = os.read

    def change_then_read(descriptor: int, count: int) -> bytes:
        match change:
            case "grow":
                with photo.open("ab") as stream:
                    stream.write(b"more")
            case "shrink":
                os.truncate(photo, 600)
            case "touch":
                os.utime(photo, ns=(1, 1))
        return read_it(descriptor, count)

    monkeypatch.setattr(os, "read", change_then_read)
    assert failure(photo) == ReadFailure(Trouble.SURROUNDINGS, "the file changed while it was read")


def test_large_files_are_skipped_unread(photo: Path) -> None:
    os.truncate(photo, photo_file.FILE_BYTES_MAX + 1)  # sparse
    large = failure(photo)
    assert large.trouble is Trouble.SKIPPED
    assert "1.0 GiB" in large.reason


@pytest.mark.parametrize(("name", "head"), [("photo.psd", b"8BPS"), ("photo.nef", b"MM\0*")])
def test_pictures_without_a_reader_are_not_read_to_their_end(
    name: str, head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # RAW is read by an extra
    unread = tmp_path / name
    unread.write_bytes(head + bytes(100_000))
    counts = []
    read_it = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, count: counts.append(count) or read_it(descriptor, count))
    assert failure(unread).trouble is Trouble.SKIPPED
    assert sum(counts) < 1000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has its own marks")
def test_files_in_the_cloud_are_skipped_unread(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_placeholder(photo.stat())
    away = SimpleNamespace(st_mode=photo.stat().st_mode, st_size=1000, st_flags=0x40000000)
    assert is_placeholder(away)  # type: ignore[arg-type]
    monkeypatch.setattr(os, "stat", lambda path: away)
    assert failure(photo).trouble is Trouble.SKIPPED
