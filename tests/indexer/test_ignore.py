"""`.photoseekignore` has gitignore's syntax and order: checked against git itself where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from photoseek.indexer.scan import scan

PATTERNS = {
    "by name": "secret.jpg\n",
    "by extension": "*.tif\n",
    "folder anywhere": "private/\n",
    "anchored": "/private\n",
    "path": "a/private\n",
    "stars": "**/b/*.jpg\n",
    "below": "a/**\n",
    "negation": "*.jpg\n!keep.jpg\n",
    "negation below an excluded folder": "a/\n!a/keep.jpg\n",
    "comment and blank": "# *.jpg\n\n   \n\\#hash.jpg\n",
    "set": "[ks]*.jpg\n",
    "question mark": "?.jpg\n",
    "trailing space": "keep.jpg \n",
    "windows line ends": "*.tif\r\n",
    "not UTF-8": "caf\udce9.jpg\n",
}
FILES = [
    *("keep.jpg", "secret.jpg", "x.jpg", "photo.tif", "#hash.jpg", "caf\udce9.jpg"),
    *("a/keep.jpg", "a/private/p.jpg", "private/p.jpg", "a/b/c.jpg", "a/b/d.tif"),
]


def make_tree(root: Path) -> None:
    for name in FILES:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass


def scanned(root: Path) -> set[bytes]:
    return {
        os.path.join(found.folder, name)
        for found in scan(os.fsencode(root))
        for name, _size, _mtime in found.files
        if not name.startswith(b".")
    }


def by_git(root: Path) -> set[bytes]:
    """The files that git would add, with the same rules in `.gitignore` files."""
    subprocess.run(["git", "init", "-q", root], check=True)
    for rules in list(root.rglob(".photoseekignore")):
        shutil.copy(rules, rules.with_name(".gitignore"))
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--others", "--exclude-standard"], check=True, capture_output=True
    )
    return {name for name in listed.stdout.split(b"\0") if name and not os.path.basename(name).startswith(b".")}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("rules", PATTERNS.values(), ids=PATTERNS.keys())
def test_the_same_files_are_left_out_as_by_git(tmp_path: Path, rules: str) -> None:
    make_tree(tmp_path)
    (tmp_path / ".photoseekignore").write_bytes(os.fsencode(rules))
    assert scanned(tmp_path) == by_git(tmp_path)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_deeper_file_overrules_a_higher_one_as_in_git(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / ".photoseekignore").write_text("*.jpg\n")
    (tmp_path / "a" / ".photoseekignore").write_text("!keep.jpg\n/b/d.tif\n")
    assert scanned(tmp_path) == by_git(tmp_path) == {b"a/keep.jpg", b"photo.tif"}


def test_an_ignore_file_that_cannot_be_read_protects_its_folder(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / "a" / ".photoseekignore").symlink_to(".photoseekignore")  # opening a loop fails, for root too
    found = {folder.folder: folder for folder in scan(os.fsencode(tmp_path))}
    assert found[b"a"].error is not None
    assert found[b"private"].error is None


def test_lines_that_are_no_rules_are_told_and_the_others_hold(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / ".photoseekignore").write_text("a/\n!\nprivate\\\n[z-a]\n*.tif\n")
    told = next(scan(os.fsencode(tmp_path))).bad_rules
    assert told == [
        "line 2 is no rule and is left out: !",
        "line 3 is no rule and is left out: private\\",
        "line 4 is no rule and is left out: [z-a]",
    ]
    assert scanned(tmp_path) == {b"keep.jpg", b"secret.jpg", b"x.jpg", b"#hash.jpg", b"caf\xe9.jpg", b"private/p.jpg"}


def test_a_byte_order_mark_belongs_to_no_rule(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / ".photoseekignore").write_text("a/\n", encoding="utf-8-sig")
    assert not any(name.startswith(b"a/") for name in scanned(tmp_path))


def test_a_file_in_utf_16_is_told_once_and_rules_nothing(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / ".photoseekignore").write_text("private/\na/\n", encoding="utf-16")
    assert next(scan(os.fsencode(tmp_path))).bad_rules == ["is no text in UTF-8, so that none of its rules hold"]
    assert len(scanned(tmp_path)) == len(FILES)


def test_a_pipe_or_folder_of_that_name_rules_nothing(tmp_path: Path) -> None:
    make_tree(tmp_path)
    os.mkfifo(tmp_path / ".photoseekignore")
    (tmp_path / "a" / ".photoseekignore").mkdir()
    assert len(scanned(tmp_path)) == len(FILES)
