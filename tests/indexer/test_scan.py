"""What a walk over a root meets, whatever lies there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from photoseek.indexer.scan import RootUnavailableError, ScannedFolder, scan


def walk(root: Path, under: bytes = b"", other_roots: frozenset[bytes] = frozenset()) -> dict[bytes, ScannedFolder]:
    """By folder; no folder may be told twice."""
    found: dict[bytes, ScannedFolder] = {}
    for folder in scan(os.fsencode(root), under=under, other_roots=other_roots):
        assert folder.folder not in found
        found[folder.folder] = folder
    return found


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def names(folder: ScannedFolder) -> list[bytes]:
    return [name for name, _size, _mtime in folder.files]


def test_files_come_with_size_and_time_in_a_stable_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "sub/c.jpg"):
        touch(tmp_path / name)
    os.utime(tmp_path / "a.jpg", ns=(5, 123_456_789))
    found = walk(tmp_path)
    assert list(found) == [b"", b"sub"]
    assert names(found[b""]) == [b"a.jpg", b"b.jpg"]
    assert found[b""].files[0] == (b"a.jpg", 1, 123_456_789)


def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "real.jpg").write_bytes(b"four")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "real.jpg")
    assert [file[:2] for file in walk(tmp_path / "root")[b""].files] == [(b"link.jpg", 4)]


def test_loops_of_links_end_and_each_folder_is_seen_at_its_real_place(tmp_path: Path) -> None:
    touch(tmp_path / "m" / "photo.jpg")
    (tmp_path / "a").symlink_to(tmp_path / "m")  # sorts before the real folder
    (tmp_path / "m" / "up").symlink_to(tmp_path)
    (tmp_path / "m" / "self").symlink_to(tmp_path / "m")
    assert list(walk(tmp_path)) == [b"", b"m"]


def test_a_link_that_points_at_itself_is_a_broken_name(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert [name for name, _reason in walk(tmp_path)[b""].broken] == [b"loop.jpg"]


def test_a_folder_outside_is_walked_through_a_link(tmp_path: Path) -> None:
    touch(tmp_path / "outside" / "deep" / "photo.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    assert names(walk(tmp_path / "root")[b"link/deep"]) == [b"photo.jpg"]


def test_dead_links_pipes_and_sockets_are_broken_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.jpg")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
        broken = dict(walk(tmp_path)[b""].broken)
    assert "leads nowhere" in broken[b"dead.jpg"]
    assert "no regular file" in broken[b"pipe.jpg"]
    assert "no regular file" in broken[b"socket.jpg"]


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    strange = [b"caf\xe9.jpg", b"line\nbreak.jpg", b"tab\t.jpg", b"-rf.jpg"]
    for name in strange:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    os.mkdir(os.path.join(os.fsencode(tmp_path), b"d\xff"))
    found = walk(tmp_path)
    assert sorted(names(found[b""])) == sorted(strange)
    assert b"d\xff" in found


def test_hidden_and_thumbnail_folders_are_not_entered(tmp_path: Path) -> None:
    for name in (".cache/a.jpg", "@eaDir/b.jpg", "sub/.thumbnails/c.jpg", "$RECYCLE.BIN/d.jpg", "sub/e.jpg", ".f.jpg"):
        touch(tmp_path / name)
    found = walk(tmp_path)
    assert list(found) == [b"", b"sub"]
    assert set(found[b""].excluded_folders) == {b".cache", b"@eaDir", b"$RECYCLE.BIN"}
    assert found[b""].excluded == [b".f.jpg"]
    assert found[b"sub"].excluded_folders == [b"sub/.thumbnails"]


def test_other_roots_and_the_library_are_not_entered(tmp_path: Path) -> None:
    touch(tmp_path / "nested" / "a.jpg")
    touch(tmp_path / "library" / "b.jpg")
    found = walk(tmp_path, other_roots=frozenset(os.fsencode(tmp_path / name) for name in ("nested", "library")))
    assert list(found) == [b""]
    assert set(found[b""].other_roots) == {b"nested", b"library"}


def test_a_part_of_a_root_keeps_its_path_and_the_rules_above_it(tmp_path: Path) -> None:
    for name in ("a/b/keep.jpg", "a/b/drop.tif", "c/d.jpg"):
        touch(tmp_path / name)
    (tmp_path / ".photoseekignore").write_text("*.tif\n")
    found = walk(tmp_path, under=b"a/b")
    assert list(found) == [b"a/b"]
    assert names(found[b"a/b"]) == [b"keep.jpg"]
    assert found[b"a/b"].excluded == [b"drop.tif"]


def test_a_root_that_is_away_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(RootUnavailableError):
        walk(tmp_path / "nothing")
    with pytest.raises(RootUnavailableError):
        walk(touch(tmp_path / "file"))


def test_an_unreadable_folder_is_told_and_its_neighbours_are_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1.jpg", "locked/2.jpg", "z/3.jpg"):
        touch(tmp_path / name)
    deny(monkeypatch, tmp_path / "locked")
    found = walk(tmp_path)
    assert found[b"locked"].error == "Permission denied"
    assert names(found[b"a"]) == [b"1.jpg"]
    assert names(found[b"z"]) == [b"3.jpg"]


def deny(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let listing a folder fail as it does without permission, which does not bind root."""
    real = os.scandir

    def scandir(path: bytes) -> object:
        if path == os.fsencode(folder):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
