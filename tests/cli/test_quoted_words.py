"""Quoted words on the command line: photos are found by what stands in their names and in their metadata."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fakes import COLOURS, ColourText
from PIL import Image

from photoseek.storage import words

pytestmark = pytest.mark.slow

Command = Callable[..., Any]

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Low tide</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Aunt Mary with the dog</rdf:li></rdf:Alt></dc:description>
<dc:subject><rdf:Bag><rdf:li>family</rdf:li><rdf:li>Düne</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def write_jpeg(
    path: Path,
    colour: str,
    *,
    camera: tuple[str, str] = ("", ""),
    taken: str = "",
    xmp: str = "",
    iptc: Sequence[tuple[int, str]] = (),
) -> None:
    """A JPEG of one colour with EXIF, XMP and IPTC blocks as cameras and photo managers write them."""
    exif = Image.Exif()
    for tag, value in ((0x010F, camera[0]), (0x0110, camera[1]), (0x0132, taken)):
        if value:
            exif[tag] = value
    stream = BytesIO()
    Image.new("RGB", (64, 64), COLOURS[colour]).save(stream, "JPEG", exif=exif, xmp=xmp.encode())
    data = stream.getvalue()
    block = b"".join(b"\x1c\x02" + bytes([number, 0, len(text)]) + text.encode() for number, text in iptc)
    if block:
        segment = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(block).to_bytes(4, "big") + block
        data = data[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def shelf(photos: Path, command: Command) -> Path:
    """An indexed folder `photos` with the names and texts that the tests look for."""
    write_jpeg(photos / "IMG_2041.JPG", "red", camera=("NIKON CORPORATION", "NIKON D750"), taken="2021:05:01 10:00:00")
    write_jpeg(photos / "2019" / "Venice trip" / "IMG_2042.jpg", "green", camera=("NIKON CORPORATION", "NIKON D750"))
    write_jpeg(photos / "beach.jpg", "blue", xmp=XMP, taken="2023:05:01 10:00:00")
    press = [(5, "Regatta"), (105, "A close finish"), (120, "The red boat wins by a length"), (25, "sailing")]
    write_jpeg(photos / "press.jpg", "yellow", iptc=press, taken="2022:05:01 10:00:00")
    assert command("index", photos).code == 0
    return photos


def names(answer: Any) -> list[str]:
    return [Path(match["path"]).name for match in answer.matches]


@pytest.mark.parametrize(
    ("phrase", "found", "field"),
    [
        ("IMG_2041", ["IMG_2041.JPG"], "file name"),
        ("img_2041.jpg", ["IMG_2041.JPG"], "file name"),
        ("venice trip", ["IMG_2042.jpg"], "folder"),
        ("photos/2019", ["IMG_2042.jpg"], "folder"),
        ("Nikon D750", ["IMG_2041.JPG", "IMG_2042.jpg"], "camera"),
        ("low tide", ["beach.jpg"], "title"),
        ("aunt mary", ["beach.jpg"], "caption"),
        ("dune", ["beach.jpg"], "keywords"),
        ("Regatta", ["press.jpg"], "title"),
        ("close finish", ["press.jpg"], "caption"),
        ("red boat", ["press.jpg"], "caption"),
        ("sailing", ["press.jpg"], "keywords"),
        ("IMG_204", [], ""),
    ],
)
def test_a_photo_is_found_by_what_is_written_about_it(
    command: Command, shelf: Path, phrase: str, found: list[str], field: str
) -> None:
    answer = command("search", f'"{phrase}"', "--json")
    assert names(answer) == found
    for match in answer.matches:
        assert (match["score"], match["why"]) == (1.0, {f'{field} "{phrase}"': 1.0})


def test_quoted_words_alone_list_the_newest_first_and_load_no_model(
    command: Command, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("no words are to be encoded")

    monkeypatch.setattr(ColourText, "encode", never)
    answer = command("search", '"photos"', "--json")
    assert names(answer) == ["beach.jpg", "press.jpg", "IMG_2041.JPG", "IMG_2042.jpg"]
    page = json.loads(command("search", '"photos"', "--json", "--limit", 2).out)
    rest = command("search", '"photos"', "--json", "--limit", 2, "--after", page["next"])
    assert names(rest) == ["IMG_2041.JPG", "IMG_2042.jpg"]


def test_quoted_words_with_a_picture_s_meaning(command: Command, shelf: Path) -> None:
    answer = command("search", 'green "Nikon"', "--json")
    assert names(answer) == ["IMG_2042.jpg", "IMG_2041.JPG"]
    assert list(answer.matches[0]["why"]) == ["green", 'camera "Nikon"']
    assert answer.matches[0]["score"] == pytest.approx(answer.matches[0]["why"]["green"])
    assert names(command("search", "“Nikon” „Venice“ blue", "--json")) == ["IMG_2042.jpg"]
    assert names(command("search", "red", "--without", '"Nikon"', "--json")) == ["press.jpg", "beach.jpg"]
    assert names(command("search", '"photos"', "--taken", "2022..", "--json")) == ["beach.jpg", "press.jpg"]
    assert names(command("search", '"Nikon" "sailing"', "--json")) == []


def test_a_terminal_is_told_where_the_words_stand(
    command: Command, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _stream: True)
    assert command("search", '"IMG_2041"').lines[-1].endswith('IMG_2041.JPG  (file name "IMG_2041")')


def test_words_follow_files_that_are_moved_and_forgotten(command: Command, shelf: Path) -> None:
    (shelf / "IMG_2041.JPG").rename(shelf / "regatta.jpg")
    assert command("index").code == 0
    assert names(command("search", '"IMG_2041"', "--json")) == []
    assert names(command("search", '"regatta"', "--json")) == ["press.jpg", "regatta.jpg"]
    command("forget", shelf / "press.jpg")
    assert names(command("search", '"regatta"', "--json")) == ["regatta.jpg"]
    moved = shelf.rename(shelf.with_name("old pictures"))
    assert command("roots", "move", shelf, moved).code == 0
    assert names(command("search", '"old pictures" regatta', "--json"))[:1] != []
    assert names(command("search", '"photos"', "--json")) == []
    assert command("verify").code == 0


def test_empty_quotes_are_nothing_to_search_for(command: Command, shelf: Path) -> None:
    answer = command("search", '""')
    assert (answer.code, answer.out) == (2, "")
    assert "nothing to search for" in answer.err


def test_without_fts5_quoted_words_are_refused_in_a_sentence(
    command: Command, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "has_fts5", lambda: False)
    answer = command("search", '"IMG_2041"')
    assert (answer.code, answer.out) == (3, "")
    assert "quoted words need FTS5" in answer.err
    assert len(command("search", "red").lines) == 4
