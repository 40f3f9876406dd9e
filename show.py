"""How the command line shows things: text and JSON out of the library's values, and progress on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from photoseek.aimv2.download import Offer
    from photoseek.doctor import Finding
    from photoseek.indexer.report import IndexReport, PhotoTrouble, Progress
    from photoseek.model_change import ModelChange
    from photoseek.status import BuildStatus, LibraryStatus, RootStatus, SpaceStatus

LISTED = 20
"""Broken files named on the terminal; `status` lists all."""
PLAIN_SECONDS = 10.0
"""Time between two progress lines where standard error is no terminal."""


def one_line(path: object) -> str:
    """A path for a person: control characters and bytes that are no text escaped, always one line."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in str(path)
    )


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON in ASCII: a name that is not UTF-8 comes out with lone surrogates as \\udcXX."""
    return json.dumps(value, indent=indent, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]
    raise TypeError(f"{type(value).__name__} has no JSON form")


def counted(number: int, thing: str) -> str:
    """`1 photo`, `2,000 photos`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


# index


def report_json(report: IndexReport) -> str:
    return to_json({"seen": report.seen, **json.loads(to_json(report))})


def report_lines(report: IndexReport, *, dry_run: bool) -> list[str]:
    """What a run did, in a few lines."""
    lines = []
    if dry_run:
        lines.append(f"Would read {counted(report.to_read, 'file')}, new or changed; {report.unchanged:,} unchanged.")
        if report.missing:
            lines.append(f"Would mark {counted(report.missing, 'known photo')} missing.")
    else:
        moved = f" ({report.moved:,} of them moved)" if report.moved else ""
        parts = [f"{report.indexed:,} indexed", f"{report.unchanged:,} unchanged{moved}"]
        parts += [
            f"{number:,} {word}" for number, word in ((report.failed, "failed"), (report.skipped, "skipped")) if number
        ]
        # What follows is no part of the photos seen, whose sum should come out right.
        beside = [
            f"{number:,} {word}"
            for number, word in (
                (report.missing, "now missing"),
                (report.ignored, "other ignored" if report.ignored == 1 else "others ignored"),
            )
            if number
        ]
        lines.append("; ".join([f"{counted(report.seen, 'photo')} seen: " + ", ".join(parts), *beside]) + ".")
        if report.missing:
            lines.append('  "photoseek status" says in which folders files are missing.')
    for path in report.offline:
        lines.append(f"Offline: {one_line(path)} cannot be reached or is empty; its photos stay in the library.")
        lines.append('  If the folder was renamed or moved: "photoseek roots move OLD NEW".')
        lines.append('  If they are really gone: "photoseek forget PATH", or "photoseek roots remove PATH".')
    lines += [
        f"{one_line(path)} stays a folder of its own; the new one covers the rest." for path in report.roots_within
    ]
    for old, new in report.replaced:
        lines.append(f"{one_line(new)} has every photo of {one_line(old)}, which cannot be reached.")
        lines.append(
            f'  If the folder was renamed or moved: "photoseek roots remove {one_line(old)}" forgets the old place.'
        )
    lines += _trouble_lines("Folder not readable", report.unreadable_folders)
    lines += _trouble_lines("Rule not understood", report.bad_rules, most=len(report.bad_rules))
    lines += _trouble_lines("Failed", report.failures)
    lines += _trouble_lines("Skipped", report.skips)
    return lines


def _trouble_lines(word: str, troubles: Sequence[PhotoTrouble], most: int = LISTED) -> list[str]:
    lines = [f"{word}: {one_line(trouble.path)}: {one_line(trouble.reason)}" for trouble in troubles[:most]]
    if len(troubles) > most:
        lines.append(f'  and {len(troubles) - most:,} more; "photoseek status" lists all.')
    return lines


WORDS = {"scan": "Looking", "index": "Indexing", "merge": "Writing the index", "compare": "Comparing"}
"""By the stage of a `Progress`."""


class IndexView:
    """Draws a run's progress on standard error: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._word = ""
        self._next_line = time.monotonic() + PLAIN_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_bar()

    def __call__(self, progress: Progress) -> None:
        word = WORDS[progress.stage]
        if sys.stderr.isatty():
            self._draw(word, progress.done, progress.total, unit=" photos")
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_SECONDS
            total = f" of {progress.total:,}" if progress.total is not None else ""
            left = f", {_duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
            pace = f" ({progress.rate:.1f} photos/s{left})" if progress.rate else ""
            print(f"{word}: {progress.done:,}{total}{pace}", file=sys.stderr, flush=True)  # noqa: T201

    def _draw(self, word: str, done: int, total: int | None, *, unit: str) -> None:
        if word != self._word:
            from tqdm import tqdm

            self._close_bar()
            self._word = word
            self._bar = tqdm(
                desc=word,
                total=total,
                unit=unit,
                unit_scale=unit == "B",
                file=sys.stderr,
                dynamic_ncols=True,
                leave=False,
            )
        self._bar.update(done - self._bar.n)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class DownloadView(IndexView):
    """The same for a download, in bytes."""

    def tell(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            self._draw("Downloading", done, total, unit="B")
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_SECONDS
            print(f"Downloading: {done:,} of {total:,} bytes", file=sys.stderr, flush=True)  # noqa: T201


# status and the rest


def status_json(status: LibraryStatus) -> str:
    return to_json(status)


def status_lines(status: LibraryStatus) -> list[str]:
    """What is in the library, what is not searchable and why."""
    index = status.index
    kinds = {
        "none": f"{counted(index.delta, 'picture')}, scanned exactly",
        "flat": f"{counted(index.rows, 'picture')}, scanned exactly",
        "ivf": f"{index.rows:,} pictures in {index.nlist:,} lists, {index.nprobe:,} probed",
    }
    recall = f", recall@10 {index.recall_at_10:.3f}" if index.recall_at_10 is not None else ""
    delta = f", {index.delta:,} newer ones" if index.delta and index.kind != "none" else ""
    lines = [
        f"Library   {one_line(status.path)} ({size_text(status.bytes)})",
        f"Model     {one_line(status.model or 'none yet')}"
        + (f", {status.dim} numbers a photo" if status.dim else "")
        + ("" if status.words or status.model is None else ", no text tower: search by example only"),
        f"Index     {kinds[index.kind]}{recall}{delta}",
        f"Photos    {status.photos:,}: {status.indexed:,} indexed, {status.failed:,} failed,"
        f" {status.skipped:,} skipped, {status.missing:,} missing",
    ]
    if status.offline:
        lines.append(f"          {status.offline:,} of the indexed ones are on drives that are away")
    lines += [line for build in status.building for line in build_lines(build)]
    lines += [f"Kept      {_space(space)}, which answered before" for space in status.retired]
    if status.retired:
        lines.append('          "photoseek models prune" removes what no search needs.')
    lines += ["Folders", *(f"  {line}" for line in roots_lines(status.roots))]
    if any(root.unended for root in status.roots):
        lines.append('  Unless a run is at it now, "photoseek index" goes on.')
    lines += [f"Missing: {counted(count, 'file')} of {one_line(folder)}" for folder, count in status.missing_in]
    if status.missing_in:
        lines.append('  If they are really gone: "photoseek forget --missing".')
    lines += _trouble_lines("Failed", status.failures, most=len(status.failures))
    lines += _trouble_lines("Skipped", status.skips, most=len(status.skips))
    if status.model == "builtin":
        lines.append('The built-in model is small; "photoseek models list" shows larger ones that find more.')
    return lines


def build_lines(build: BuildStatus) -> list[str]:
    """How far a new model's vectors are, and what makes them go on."""
    away = f", {build.away:,} more wait for drives that are away, or for the app that added them" if build.away else ""
    go_on = (
        "A process is at it now."
        if build.running
        else f'"photoseek models use {one_line(build.model)}" goes on, and lets it answer at the end.'
    )
    return [
        f"Next      {one_line(build.model)}: {build.embedded:,} of {build.photos:,} different photos embedded{away}",
        f"          {go_on}",
    ]


def change_lines(name: str, change: ModelChange) -> list[str]:
    """What came of `models use`."""
    lines = [f"{change.report.indexed:,} photos embedded with {one_line(name)}."]
    lines += _trouble_lines("Not readable now", change.report.failures)
    if change.switched:
        lines.append(f"{one_line(name)} answers now.")
        if change.waiting:
            lines.append(f'{change.waiting:,} photos wait: the next "photoseek index" that reaches them embeds them.')
    return lines


def waiting_lines(change: ModelChange) -> list[str]:
    """Why the model does not answer yet."""
    lines = [f"{change.waiting:,} photos wait; the old model goes on answering."]
    if change.waiting > change.unread:
        away = change.waiting - change.unread
        lines.append(f"  {away:,} are on drives that are away, or were added by an app, which has to add them again.")
    if change.unread:
        lines.append(f'  {change.unread:,} changed, moved or cannot be read: "photoseek index" looks at them again.')
    lines.append("  Then run the same again, or let it answer without them: --leave-waiting.")
    return lines


def space_lines(spaces: Sequence[SpaceStatus]) -> list[str]:
    """Models whose vectors a library holds."""
    notes = {
        "active": "answers",
        "building": "not complete yet",
        "retired": "answered before",
    }
    return [f"  {one_line(space.model):<40} {notes[space.state]}, {_space_size(space)}" for space in spaces]


def _space(space: SpaceStatus) -> str:
    return f"{one_line(space.model)}: {_space_size(space)}"


def _space_size(space: SpaceStatus) -> str:
    return f"{space.vectors:,} vectors, {size_text(space.bytes)}"


def size_text(size: int) -> str:
    """An amount of bytes for a person."""
    amount = float(size)
    for unit in ("bytes", "KB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:,.0f} {unit}" if unit in ("bytes", "KB") else f"{amount:,.1f} {unit}"


def roots_json(roots: Sequence[RootStatus]) -> str:
    return to_json(list(roots))


def roots_lines(roots: Sequence[RootStatus]) -> list[str]:
    if not roots:
        return ["no folders yet"]
    return [
        f"{'online ' if root.online else 'offline'}  {one_line(root.path)}"
        + (f"  (looked at {root.scanned_at})" if root.scanned_at else "")
        + ("  not read to the end" if root.unended else "")
        for root in roots
    ]


def shares_json(shares: Sequence[tuple[str, float]]) -> str:
    return to_json([{"label": label, "probability": share} for label, share in shares])


def shares_lines(shares: Sequence[tuple[str, float]]) -> list[str]:
    return [f"{share:6.1%}  {one_line(label)}" for label, share in shares]


def model_lines(spaces: Sequence[SpaceStatus] = ()) -> list[str]:
    """Models on this machine, those that can be downloaded, then those whose vectors the library holds."""
    from photoseek.aimv2 import PUBLISHED, list_models

    here = list_models()
    lines = ["On this machine:"]
    for checkpoint in here:
        words = "words and examples" if checkpoint.has_text else "examples only"
        lines.append(f"  {one_line(checkpoint.name):<40} searched by {words}, {checkpoint.dim:,} numbers a photo")
    names = {checkpoint.name for checkpoint in here}
    lines.append('To be had with "photoseek models download NAME":')
    for model in PUBLISHED:
        if model.name not in names:
            words = "words and examples" if model.has_text else "examples only"
            lines.append(f"  {model.name:<40} searched by {words}, {model.parameters_millions:,} M parameters")
    if spaces:
        lines += ["In this library:", *space_lines(spaces)]
    return lines


def offer_lines(offer: Offer) -> list[str]:
    """What a download would bring, and under which licence."""
    return [
        offer.licence.rstrip(),
        "",
        f"{offer.name}, {size_text(offer.total_bytes)} in {len(offer.files)} files, commit {offer.revision}",
    ]


def doctor_json(findings: Sequence[Finding]) -> str:
    return to_json({finding.name: finding.value for finding in findings})


def doctor_lines(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        lines.append(f"{finding.name:<16}{one_line(finding.value)}")
        if finding.advice:
            lines.append(f"{'':<16}-> {one_line(finding.advice)}")
    return lines
