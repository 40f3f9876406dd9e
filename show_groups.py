"""How the command line shows duplicates: as JSON, and as a table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from photoseek.show import one_line, size_text, to_json
from photoseek.show_matches import short_path

if TYPE_CHECKING:
    from photoseek.search.groups import DuplicateGroup, Duplicates
    from photoseek.search.results import Photo

KINDS = {"bytes": "the same file", "pictures": "the same picture", "near": "one moment"}


def duplicates_json(found: Duplicates) -> str:
    """One object; the first photo of each group is the best."""
    return to_json(found)


def duplicates_lines(found: Duplicates) -> list[str]:
    """On a terminal a paragraph for each group, otherwise `group<TAB>kind<TAB>best or other<TAB>bytes<TAB>path`."""
    if not _on_terminal():
        return [
            f"{number}\t{group.kind}\t{'best' if photo is group.photos[0] else 'other'}\t{photo.size}\t{_place(photo)}"
            for number, group in enumerate(found.groups, start=1)
            for photo in group.photos
        ]
    lines = []
    for group in found.groups:
        lines += [*_group_lines(group), ""]
    return lines[:-1]


def duplicates_sum(found: Duplicates) -> str:
    """What there is in all, in one line."""
    groups = sum(found.counts.values())
    if not groups:
        return "No duplicates found."
    parts = [
        f"{KINDS[kind]}: {count:,} ({size_text(found.saveable_bytes[kind])})"
        for kind, count in found.counts.items()
        if count
    ]
    more = f"; {groups - len(found.groups):,} of them not shown" if groups > len(found.groups) else ""
    saved = size_text(sum(found.saveable_bytes.values()))
    return f"{groups:,} groups, {saved} beside the best of each{more}. " + ", ".join(parts) + "."


def _group_lines(group: DuplicateGroup) -> list[str]:
    heading = f"{KINDS[group.kind]}: {len(group.photos)} files, {size_text(group.saveable_bytes)} beside the best (*)"
    width = max(len(f"{photo.width} x {photo.height}") for photo in group.photos)
    lines = [heading]
    for photo in group.photos:
        mark = "*" if photo is group.photos[0] else " "
        picture = f"{photo.width} x {photo.height}"
        taken = photo.taken_at.replace(tzinfo=None).isoformat(" ", "seconds") if photo.taken_at else "-"
        notes = ["offline"] if photo.offline else []
        if len(photo.paths) > 1:
            notes.append(f"{len(photo.paths)} files")
        note = f"  ({', '.join(notes)})" if notes else ""
        facts = f"{picture:>{width}}  {photo.format:<5} {size_text(photo.size):>11}  {taken:<19}"
        lines.append(f"{mark} {facts}  {_place(photo)}{note}")
    return lines


def _on_terminal() -> bool:
    return sys.stdout.isatty()


def _place(photo: Photo) -> str:
    return short_path(photo.path) if photo.path is not None else one_line(photo.id)
