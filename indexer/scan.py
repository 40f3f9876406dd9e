"""Walks a root: which files are there, with size and time. Opens nothing but `.photoseekignore` files."""

from __future__ import annotations

import operator
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from photoseek.indexer.ignore import IGNORE_FILE, IgnoreRules, hidden
from photoseek.paths import mtime_ns


class RootUnavailableError(Exception):
    """The root itself cannot be listed: its drive is away, or access is denied."""


@dataclass(slots=True)
class ScannedFolder:
    """One folder's own files; sub-folders come as further values."""

    folder: bytes
    """Relative to the root; empty for the root itself."""
    files: list[tuple[bytes, int, int]] = field(default_factory=list)
    """(name, size, mtime_ns) of regular files that no rule leaves out."""
    broken: list[tuple[bytes, str]] = field(default_factory=list)
    """(name, reason) of names that are no readable file: dead links, pipes."""
    excluded: list[bytes] = field(default_factory=list)
    """Names of files that a rule leaves out."""
    excluded_folders: list[bytes] = field(default_factory=list)
    """Sub-folders (relative to the root) that a rule leaves out."""
    other_roots: list[bytes] = field(default_factory=list)
    """Sub-folders (relative to the root) that are roots of their own."""
    bad_rules: list[str] = field(default_factory=list)
    """What its own `.photoseekignore` says that is no rule; the others hold."""
    error: str | None = None
    """Why the folder could not be listed; the files known in it and below keep their state."""


def scan(root: bytes, *, under: bytes = b"", other_roots: frozenset[bytes] = frozenset()) -> Iterator[ScannedFolder]:
    """Every folder of a root, or of its sub-folder `under` (relative), in a stable order.

    Links to folders are followed after all real folders, and no folder is visited twice, so that a loop of
    links ends and a link never takes a file's real place. `other_roots` are absolute paths.

    Raises:
        RootUnavailableError: the root (or `under`) cannot be listed.
    """
    rules = IgnoreRules()
    try:
        for _folder, above in _way_down(root, under):
            rules = above
    except OSError as error:
        raise RootUnavailableError(error.strerror or str(error)) from error
    visited: set[tuple[int, int]] = set()
    pending: list[tuple[bytes, IgnoreRules]] = [(under, rules)]
    links: list[tuple[bytes, IgnoreRules]] = []
    first = True
    while pending or links:
        folder, rules = pending.pop() if pending else links.pop(0)
        path = os.path.join(root, folder) if folder else root
        found = ScannedFolder(folder)
        try:
            status = os.stat(path)
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(20, "Not a folder", path)
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listing:
                entries = sorted(listing, key=operator.attrgetter("name"))
            rules = rules.below(folder, os.path.join(path, IGNORE_FILE), found.bad_rules.append)
        except OSError as error:
            if first:
                raise RootUnavailableError(error.strerror or str(error)) from error
            yield ScannedFolder(folder, error=error.strerror or str(error))
            continue
        first = False
        folders: list[tuple[bytes, IgnoreRules]] = []
        for entry in entries:
            # Nearly every entry: a plain file that no rule can leave out.
            if not rules.levels and not entry.name.startswith(b".") and entry.is_file(follow_symlinks=False):
                try:
                    status = entry.stat()
                except OSError as error:
                    found.broken.append((entry.name, error.strerror or str(error)))
                else:
                    found.files.append((entry.name, status.st_size, mtime_ns(status)))
                continue
            subfolder = _sort_entry(entry, root, rules, other_roots, found)
            if subfolder is not None:
                (links if entry.is_symlink() else folders).append((subfolder, rules))
        pending.extend(reversed(folders))
        yield found


def leaves_out(root: bytes, under: bytes) -> bool:
    """Does a rule keep a walk over the root out of its sub-folder `under` (relative)?"""
    try:
        return any(
            hidden(os.path.basename(folder), folder=True) or rules.exclude(folder, folder=True)
            for folder, rules in _way_down(root, under)
        )
    except OSError:
        return False  # the walk will say what cannot be read


def _way_down(root: bytes, under: bytes) -> Iterator[tuple[bytes, IgnoreRules]]:
    """The folders from the root's own down to `under` (relative), each with the rules of those above it.

    Raises:
        OSError: an ignore file is there and cannot be read.
    """
    rules, parent = IgnoreRules(), b""
    for name in under.split(b"/") if under else ():
        rules = rules.below(parent, os.path.join(root, parent, IGNORE_FILE))
        parent = os.path.join(parent, name)
        yield parent, rules


def _sort_entry(
    entry: os.DirEntry[bytes], root: bytes, rules: IgnoreRules, other_roots: frozenset[bytes], found: ScannedFolder
) -> bytes | None:
    """Put a file where it belongs in `found`; returns the relative path of a folder to walk."""
    name = entry.name
    relative = found.folder + b"/" + name if found.folder else name
    try:
        is_folder = entry.is_dir()
        if hidden(name, folder=is_folder) or (rules.levels and rules.exclude(relative, folder=is_folder)):
            (found.excluded_folders if is_folder else found.excluded).append(relative if is_folder else name)
            return None
        if is_folder:
            if other_roots and os.path.join(root, relative) in other_roots:
                found.other_roots.append(relative)
                return None
            return relative
        status = entry.stat()
    except OSError as error:
        reason = "is a link that leads nowhere" if entry.is_symlink() else (error.strerror or str(error))
        found.broken.append((name, reason))
        return None
    if stat.S_ISREG(status.st_mode):
        found.files.append((name, status.st_size, mtime_ns(status)))
    else:
        found.broken.append((name, "is no regular file (a pipe, socket or device)"))
    return None
