"""Compares a root's folders with what the catalog knows of them: new, changed, missing, back, excluded."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

from photoseek.contracts import FileStore, KnownFile, KnownRow, Outcome, ReadFailure, Root, Trouble, WorkItem
from photoseek.indexer.formats import NameVerdict, judge_name
from photoseek.indexer.ignore import IGNORE_FILE
from photoseek.indexer.report import IndexReport, PhotoTrouble
from photoseek.indexer.scan import RootUnavailableError, ScannedFolder, scan
from photoseek.indexer.worklist import Worklist


class RootChanges:
    """What one pass over a root (or a sub-folder of it) found; nothing is stored before `apply`."""

    def __init__(
        self,
        store: FileStore,
        root: Root,
        under: bytes,
        *,
        may_be_picture: Callable[[bytes], bool],
        retry_failed: bool = False,
        other_roots: frozenset[bytes] = frozenset(),
        on_folder: Callable[[int], None] = lambda files: None,
    ) -> None:
        self.root = root
        self.under = under
        self.report = IndexReport()
        self.work = Worklist()
        self.obstacles: list[Outcome] = []
        self._store = store
        self._may_be_picture = may_be_picture
        self._retry_failed = retry_failed
        self.missing = 0
        """Photos that are gone; rows of files that are none, or that a rule left out, are not counted."""
        self.folders = 0
        self.files = 0
        """Those that no rule leaves out."""
        self.new = 0
        """Files to be read that the catalog does not know; the rest of the work changed, or is tried again."""
        self._missing = array("q")
        self._returned = array("q")
        self._excluded = array("q")
        self._found_known = False
        self.available = self._compare(other_roots, on_folder)

    def apply(self) -> None:
        """Store what became of the known files; an unavailable root changes nothing but its own state."""
        if self.under == b"" or self.available:
            self._store.set_root_online(self.root.id, self.available)
        if self.available:
            self._store.apply_scan(
                self.root.id, missing=self._missing, returned=self._returned, excluded=self._excluded
            )

    def _compare(self, other_roots: frozenset[bytes], on_folder: Callable[[int], None]) -> bool:
        """Walk and compare; False when the root is away, or looks as if its drive were."""
        unvisited = self._store.known_folders(self.root.id, self.under)
        protected: list[bytes] = []
        left_out: list[bytes] = []
        try:
            for found in scan(self.root.path, under=self.under, other_roots=other_roots):
                if found.error is not None:
                    self.report.unreadable_folders.append(self._trouble(found.folder, found.error))
                    protected.append(found.folder)
                    continue
                ignore_file = os.path.join(found.folder, IGNORE_FILE)
                self.report.bad_rules += [self._trouble(ignore_file, reason) for reason in found.bad_rules]
                protected += found.other_roots
                left_out += found.excluded_folders
                known = self._store.known_files(self.root.id, found.folder) if found.folder in unvisited else {}
                unvisited.discard(found.folder)
                self.folders += 1
                self.files += len(found.files)
                self._compare_folder(found, known)
                on_folder(len(found.files))
        except RootUnavailableError:
            return False
        for folder in sorted(unvisited):
            if _within(folder, protected):
                self._found_known = True  # not seen, but not gone either: its files keep their state
            else:
                self._lose(folder, excluded=_within(folder, left_out))
        return self._found_known or not self.missing or self._moved_within()

    def _trouble(self, place: bytes, reason: str) -> PhotoTrouble:
        return PhotoTrouble(Path(os.fsdecode(os.path.join(self.root.path, place))), reason)

    def _compare_folder(self, found: ScannedFolder, known: dict[bytes, KnownRow]) -> None:
        report = self.report
        unchanged = 0
        for name, size, mtime_ns in found.files:
            row = known.pop(name, None)
            if row is None:
                if self._may_be_picture(name):
                    self.new += 1
                    self.work.add(WorkItem(self.root.id, found.folder, name, size, mtime_ns))
                else:
                    report.ignored += 1
                continue
            _name, id, known_size, known_mtime_ns, state, missing, _trouble = row
            if known_size != size or known_mtime_ns != mtime_ns:
                self._found_known = True
                self.work.add(WorkItem(self.root.id, found.folder, name, size, mtime_ns, id))
            elif state == "indexed" and not missing:
                unchanged += 1
            else:
                self._same(found.folder, KnownFile._make(row))
        if unchanged:
            self._found_known = True
            report.unchanged += unchanged
        for name, reason in found.broken:
            entry = KnownFile._make(known[name]) if name in known else None
            if entry is not None and entry.state != "failed":
                continue  # a photo was there and a dead link is now: it is missing, and comes back with its target
            known.pop(name, None)
            if judge_name(name) is not NameVerdict.PICTURE:  # the name alone decides where there are no bytes
                report.ignored += 1
                if entry is not None:
                    self._excluded.append(entry.id)
            elif entry is None:
                item = WorkItem(self.root.id, found.folder, name, size=0, mtime_ns=0)
                self.obstacles.append(Outcome(item, ReadFailure(Trouble.SURROUNDINGS, reason)))
            else:
                report.failed += 1
        for name in found.excluded:
            report.ignored += 1
            row = known.pop(name, None)
            if row is not None:
                self._found_known = True
                entry = KnownFile._make(row)
                if entry.state != "ignored":
                    self._excluded.append(entry.id)
        for entry in map(KnownFile._make, known.values()):
            self._miss(entry)

    def _same(self, folder: bytes, entry: KnownFile) -> None:
        """A file whose size and time are those in the catalog, and that was not simply indexed."""
        self._found_known = True
        report = self.report
        again = (entry.state == "failed" and entry.trouble == Trouble.SURROUNDINGS.value) or (
            self._retry_failed and entry.state in ("failed", "skipped")
        )
        no_longer_excluded = entry.state == "ignored" and entry.trouble is None
        if again or no_longer_excluded:
            self.work.add(WorkItem(self.root.id, folder, entry.name, entry.size, entry.mtime_ns, entry.id))
            return
        if entry.missing:
            self._returned.append(entry.id)
            report.returned += entry.state != "ignored"
        if entry.state == "indexed":
            report.unchanged += 1
        elif entry.state == "failed":
            report.failed += 1
        elif entry.state == "skipped":
            report.skipped += 1
        else:
            report.ignored += 1

    def _lose(self, folder: bytes, *, excluded: bool) -> None:
        """A known folder that the walk did not meet."""
        for entry in map(KnownFile._make, self._store.known_files(self.root.id, folder).values()):
            if excluded and entry.state != "ignored":
                self._excluded.append(entry.id)
                self._found_known = True
            elif not excluded:
                self._miss(entry)

    @property
    def missing_ids(self) -> Sequence[int]:
        """Files that are not where they were; reading may find some of them at another place."""
        return self._missing

    def _miss(self, entry: KnownFile) -> None:
        """A known file that is not where it was."""
        if not entry.missing:
            self._missing.append(entry.id)
            self.missing += entry.state != "ignored"

    def _moved_within(self) -> bool:
        """Nothing known stands where it stood: was it all moved, rather than the drive taken away?"""
        stats = self._store.known_stats(self.root.id)
        return any((item.size, item.mtime_ns) in stats for item in self.work)


def _within(folder: bytes, parents: list[bytes]) -> bool:
    return any(folder == parent or folder.startswith(parent + b"/") or parent == b"" for parent in parents)
