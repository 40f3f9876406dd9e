"""One page of HTML with photos: whole in itself, readable without a script, and safe whatever the files are called."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

from PIL import Image

from photoseek.contracts import Picture
from photoseek.errors import PhotoseekError, UsageError
from photoseek.paths import unfinished

SIDE = 480
"""Pixels of a picture's longer side: sharp at half that width on a telephone."""
WEBP_QUALITY = 78
GENERATOR = '<meta name="generator" content="photoseek'
"""Tells a page of ours from all other files; stands within the first `HEAD_BYTES`."""
HEAD_BYTES = 512
SUFFIXES = (".html", ".htm")
RATIO_MIN, RATIO_MAX = 0.5, 3.0
"""Widths over heights between which a picture gets its own room; others stand in a frame."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One photo of the page, in words that are not escaped yet."""

    picture: Picture | None
    """uint8 (height, width, 3)."""
    reason: str
    """Stands in a grey box where there is no picture."""
    rank: int
    certainty: str | None
    """How likely it is, as `likely`, or the plain score."""
    detail: str | None
    """The figures behind it, shown on pointing there."""
    name: str
    """Name of the file, printable."""
    folder: str | None
    url: str | None
    """Where a click leads: a file:// URL, percent-encoded."""
    taken_at: datetime | None
    place: str | None
    notes: tuple[str, ...] = ()


def check_target(target: Path, *, force: bool) -> None:
    """Refuse to write a page over something that is none of ours.

    Raises:
        UsageError: the name is not that of a page, or the file there is another one and `force` is not set.
    """
    if target.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{target} is not the name of a page", hint="let it end in .html")
    if os.path.isdir(target):
        raise UsageError(f"{target} is a folder", hint=f"name a file in it: {target / 'photos.html'}")
    if not force and os.path.lexists(target) and not _is_ours(target):
        raise UsageError(f"{target} exists, and photoseek did not write it", hint="take another name, or add --force")


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return GENERATOR.encode() in stream.read(HEAD_BYTES)
    except OSError:
        return False


def write_page(target: Path, parts: Iterable[str]) -> None:
    """Write a page, or leave what stood there as it was.

    Raises:
        PhotoseekError: it cannot be written.
    """
    made = unfinished(target)
    try:
        try:
            with made.open("w", encoding="utf-8", newline="\n") as stream:
                stream.writelines(parts)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(made, target)
        except BaseException:
            made.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PhotoseekError(f"{target} could not be written: {error.strerror or error}") from error


def page(question: str, remarks: Iterable[str], entries: Iterable[Entry], version: str) -> Iterator[str]:
    """The page, part by part, so that thousands of photos need the memory of one.

    Args:
        question: the heading.
        remarks: what is said below it, a paragraph each.
        version: of photoseek.
    """
    style = resources.files("photoseek").joinpath("gallery.css").read_text(encoding="utf-8")
    heading = html.escape(question)
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'{GENERATOR} {html.escape(version)}">\n'
        # Nothing of a file's name could run or load anything even if it got past the escaping.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:;'
        " style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading} - photoseek</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<header>\n<h1>{heading}</h1>\n"
    )
    yield from (f"<p>{html.escape(remark)}</p>\n" for remark in remarks)
    yield "</header>\n<main>\n<ol>\n"
    for entry in entries:
        yield _item(entry)
    yield "</ol>\n</main>\n<footer>The links lead to the photos on the machine where photoseek found them.</footer>\n"
    yield "</body>\n</html>\n"


def _item(entry: Entry) -> str:
    picture = _picture(entry)
    if entry.url is not None:
        picture = f'<a href="{html.escape(entry.url)}" tabindex="-1">{picture}</a>'
    return (
        f'<li style="--ratio:{_ratio(entry.picture):.3f}">{picture}\n<div class="about">\n'
        + "".join(f"<p{attributes}>{content}</p>\n" for attributes, content in _lines(entry))
        + "</div></li>\n"
    )


def _lines(entry: Entry) -> Iterator[tuple[str, str]]:
    """(attributes, content) of the paragraphs below a picture."""
    yield "", f'<span class="rank">{entry.rank}</span>{_certainty(entry)}'
    name = html.escape(entry.name)
    yield "", f'<a class="name" href="{html.escape(entry.url)}">{name}</a>' if entry.url else f"<b>{name}</b>"
    if entry.taken_at is not None:
        yield ' class="facts"', _time(entry.taken_at)
    for text in (entry.place, " · ".join(entry.notes)):
        if text:
            yield ' class="facts"', html.escape(text)
    if entry.folder is not None:
        yield ' class="folder"', html.escape(entry.folder)


def _certainty(entry: Entry) -> str:
    if entry.certainty is None:
        return ""
    css_class = "sure unlikely" if entry.certainty == "unlikely" else "sure"
    title = f' title="{html.escape(entry.detail)}"' if entry.detail is not None else ""
    return f' <span class="{css_class}"{title}>{html.escape(entry.certainty)}</span>'


def _time(moment: datetime) -> str:
    return f'<time datetime="{moment.isoformat()}">{moment.day} {moment:%B %Y, %H:%M}</time>'


def _ratio(picture: Picture | None) -> float:
    if picture is None:
        return 4 / 3
    height, width = picture.shape[:2]
    return float(min(max(width / height, RATIO_MIN), RATIO_MAX))


def _picture(entry: Entry) -> str:
    if entry.picture is None:
        return f'<div class="none">{html.escape(entry.reason)}</div>'
    height, width = entry.picture.shape[:2]
    stream = io.BytesIO()
    Image.fromarray(entry.picture).save(stream, "WEBP", quality=WEBP_QUALITY, method=4)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    taken = f", taken {entry.taken_at.day} {entry.taken_at:%B %Y}" if entry.taken_at is not None else ""
    alt = html.escape(f"Photo {entry.name}{taken}")
    return f'<img src="data:image/webp;base64,{data}" width="{width}" height="{height}" alt="{alt}">'
