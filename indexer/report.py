"""What a run did and what it is doing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PhotoTrouble:
    """A photo without an embedding, and why."""

    path: Path
    reason: str


@dataclass(slots=True)
class IndexReport:
    """Files by what became of them: `seen == indexed + unchanged + failed + skipped`.

    A moved file counts as unchanged, a failure known from before as failed.
    """

    indexed: int = 0
    """New or changed files that can be found now, copies of known photos too."""
    unchanged: int = 0
    failed: int = 0
    """Files that should be readable and are not."""
    skipped: int = 0
    """Pictures that a rule leaves out, each with its reason."""
    embedded: int = 0
    """Vectors that the model computed."""
    moved: int = 0
    """Files found at a new place; part of `unchanged`."""
    missing: int = 0
    """Known files that this run found gone, and nowhere else; they stay in the library, out of the results."""
    returned: int = 0
    """Missing files that are back; part of `unchanged`."""
    ignored: int = 0
    """Files that are no pictures, are hidden, or are excluded by a rule."""
    failures: list[PhotoTrouble] = field(default_factory=list)
    """This run's failures; `LibraryStatus.failures` has all of them."""
    skips: list[PhotoTrouble] = field(default_factory=list)
    offline: list[Path] = field(default_factory=list)
    """Roots (or the sub-folder asked for) that could not be reached or look unmounted; nothing in them changed."""
    roots_within: list[Path] = field(default_factory=list)
    """Roots of old that lie in a new one: they stay roots of their own, and the new one covers the rest."""
    replaced: list[tuple[Path, Path]] = field(default_factory=list)
    """(old root, new root): the old one cannot be reached, and every photo of it was found in the new one. Where the
    folder was renamed or moved, `remove_root` forgets the old place."""
    unreadable_folders: list[PhotoTrouble] = field(default_factory=list)
    bad_rules: list[PhotoTrouble] = field(default_factory=list)
    """Lines of `.photoseekignore` files that are no rules; the other lines hold."""
    to_read: int = 0
    """With `dry_run`: how many files would be read."""
    cancelled: bool = False

    @property
    def seen(self) -> int:
        return self.indexed + self.unchanged + self.failed + self.skipped


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands; handed to `on_progress` a few times a second at most."""

    stage: str
    """`scan` (done: files found), `index` (done of total files to read), `merge`, or `compare` (for duplicates)."""
    done: int
    total: int | None = None
    failed: int = 0
    rate: float | None = None
    """Files a second, over the run so far."""
    seconds_left: float | None = None
