"""`search --html`: one page that is whole in itself, and never written over something else."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_library import write_photo

from photoseek.gallery import Entry, page
from photoseek.show_page import coordinates

pytestmark = pytest.mark.slow

Command = Callable[..., Any]
_VOID = {"meta", "img"}


@dataclass
class Tag:
    """An element that was read, with the text directly and further inside."""

    name: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Read(HTMLParser):
    """A page as a browser's parser sees it; fails where tags do not nest."""

    tags: list[Tag] = field(default_factory=list)
    open: list[Tag] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(Tag(tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(self.tags[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        for tag in self.open:
            tag.text += data

    def all(self, name: str) -> list[Tag]:
        return [tag for tag in self.tags if tag.name == name]


def read(text: str) -> Read:
    parser = Read()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def entry(**changes: Any) -> Entry:
    values: dict[str, Any] = {
        "picture": np.zeros((30, 40, 3), dtype=np.uint8),
        "reason": "",
        "rank": 1,
        "certainty": "likely",
        "detail": "confidence 61%, cosine 0.210",
        "name": "a.jpg",
        "folder": "/photos",
        "url": "file:///photos/a.jpg",
        "taken_at": None,
        "place": None,
    }
    return Entry(**{**values, **changes})


def written(*entries: Entry, question: str = '"red"', remarks: tuple[str, ...] = ()) -> Read:
    return read("".join(page(question, remarks, entries, "1.0")))


@pytest.fixture
def indexed(command: Command, photos: Path, tiny_checkpoint: Path) -> Path:
    for colour in ("red", "green", "blue"):
        write_photo(photos / f"{colour}.png", colour)
    assert command("index", photos, "--model", tiny_checkpoint).code == 0
    return photos


def test_the_page_shows_the_answer_in_order(command: Command, indexed: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.html"
    answer = command("search", "red", "--html", target)
    assert (answer.code, answer.out, answer.err) == (0, "", f"Wrote {target} with 3 photos.\n")
    shown = read(target.read_text(encoding="utf-8"))
    assert [tag.text for tag in shown.all("h1")] == ['"red"']
    names = [tag.text for tag in shown.all("a") if tag.attributes.get("class") == "name"]
    assert names[0] == "red.png"
    assert sorted(names) == ["blue.png", "green.png", "red.png"]
    assert [tag.attributes["alt"] for tag in shown.all("img")] == [f"Photo {name}" for name in names]
    assert [tag.attributes["href"] for tag in shown.all("a")][1] == (indexed / "red.png").as_uri()


def test_the_page_needs_no_script_and_nothing_from_elsewhere(command: Command, indexed: Path, tmp_path: Path) -> None:
    command("search", "red", "--html", tmp_path / "out.html")
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    shown = read(text)
    assert not {"script", "link", "iframe", "object"} & {tag.name for tag in shown.tags}
    assert not re.search(r"https?://|@import|url\(", text)
    for image in shown.all("img"):
        source = str(image.attributes["src"])
        assert source.startswith("data:image/webp;base64,")
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2], validate=True))) as picture:
            assert (
                picture.size == (int(str(image.attributes["width"])), int(str(image.attributes["height"]))) == (40, 40)
            )
    policy = [tag.attributes["content"] for tag in shown.all("meta") if "http-equiv" in tag.attributes]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert shown.all("html")[0].attributes == {"lang": "en"}
    assert any(tag.attributes.get("name") == "viewport" for tag in shown.all("meta"))


@pytest.mark.parametrize(
    "name",
    [
        b"<img src=x onerror=alert(1)>.png",
        b'" onclick="alert(1)" x=".png',
        b"'&amp;<script>.png",
        b"a b%20c#d?e.png",
        b"caf\xe9.png",
        "写真 é.png".encode(),
        "\u202egnp.exe.png".encode(),
        b"two\nlines.png",
    ],
)
def test_any_name_is_shown_as_text_and_linked_exactly(
    command: Command, photos: Path, tmp_path: Path, tiny_checkpoint: Path, name: bytes
) -> None:
    write_photo(os.fsencode(photos) + b"/" + name, "red")
    command("index", photos, "--model", tiny_checkpoint)
    assert command("search", "red", "--html", tmp_path / "out.html").code == 0
    shown = read((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert {tag.name for tag in shown.tags} == {
        *("html", "head", "meta", "title", "style", "body", "header", "h1", "p", "main", "ol", "li"),
        *("a", "img", "div", "span", "footer"),
    }
    allowed = {"class", "href", "tabindex", "src", "width", "height", "alt", "style", "title", "lang"}
    assert all(tag.attributes.keys() <= allowed for tag in shown.tags if tag.name != "meta")
    (link,) = {str(tag.attributes["href"]) for tag in shown.all("a")}
    assert link.isascii()
    assert unquote_to_bytes(link.removeprefix("file://")) == os.fsencode(photos) + b"/" + name
    (text,) = [tag.text for tag in shown.all("a") if tag.attributes.get("class") == "name"]
    assert text.isprintable()


@given(st.text(), st.text(), st.text())
def test_any_text_comes_out_as_it_went_in(question: str, name: str, place: str) -> None:
    texts = [text.replace("\r", "").replace("\x00", "") for text in (question, name, place)]
    question, name, place = (text.encode("utf-8", "replace").decode() for text in texts)
    shown = written(entry(name=name, place=place or None), question=question, remarks=(place,))
    assert shown.all("h1")[0].text == question
    assert [tag.text for tag in shown.all("a") if tag.attributes.get("class") == "name"] == [name]
    assert shown.all("img")[0].attributes["alt"] == f"Photo {name}"
    facts = [tag.text for tag in shown.all("p") if tag.attributes.get("class") == "facts"]
    assert facts == ([place] if place else [])


def test_what_is_known_is_said() -> None:
    taken = datetime(2022, 8, 22, 20, 30, tzinfo=UTC)
    shown = written(entry(taken_at=taken, place=coordinates(-33.8568, 151.2153), notes=("2 copies", "drive away")))
    assert [tag.text for tag in shown.all("p")] == [
        "1 likely",
        "a.jpg",
        "22 August 2022, 20:30",
        "33.8568° S, 151.2153° E",
        "2 copies · drive away",
        "/photos",
    ]
    assert shown.all("time")[0].attributes["datetime"] == "2022-08-22T20:30:00+00:00"
    assert shown.all("img")[0].attributes["alt"] == "Photo a.jpg, taken 22 August 2022"
    (sure,) = [tag for tag in shown.all("span") if tag.attributes.get("class") == "sure"]
    assert sure.attributes["title"] == "confidence 61%, cosine 0.210"


def test_a_photo_that_cannot_be_read_is_a_grey_box(command: Command, indexed: Path, tmp_path: Path) -> None:
    (indexed / "red.png").unlink()
    assert command("search", "red", "--html", tmp_path / "out.html").code == 0
    shown = read((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert [tag.text for tag in shown.all("div") if tag.attributes.get("class") == "none"] == ["the file is gone"]
    assert len(shown.all("img")) == 2


def test_filters_are_said_and_an_empty_answer_is_a_page_too(command: Command, indexed: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.html"
    command("search", "--format", "png", "--min-width", 30, "--html", target)
    shown = read(target.read_text(encoding="utf-8"))
    assert shown.all("h1")[0].text == "Photos, newest first"
    assert shown.all("p")[0].text == "format png · at least 30 pixels wide"
    assert shown.all("p")[1].text.startswith("3 photos · ")
    answer = command("search", "red", "--taken", "1999", "--html", target)
    assert (answer.code, "No photos found that fit: taken 1999." in answer.err) == (0, True)
    assert read(target.read_text(encoding="utf-8")).all("li") == []


def test_our_own_page_is_written_anew_and_nothing_else_without_force(
    command: Command, indexed: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.html"
    assert command("search", "red", "--html", target).code == 0
    assert command("search", "blue", "--html", target).code == 0
    assert read(target.read_text(encoding="utf-8")).all("h1")[0].text == '"blue"'
    target.write_text("<p>my diary")
    answer = command("search", "red", "--html", target)
    assert (answer.code, answer.out, "--force" in answer.err) == (2, "", True)
    assert target.read_text() == "<p>my diary"
    assert command("search", "red", "--html", target, "--force").code == 0
    assert target.stat().st_size > 1000
    assert list(tmp_path.glob("*unfinished")) == []


@pytest.mark.parametrize("name", ["red.png", ".", "out", "new.jpg"])
def test_what_is_no_page_is_refused_even_with_force(command: Command, indexed: Path, name: str) -> None:
    before = (indexed / "red.png").read_bytes()
    answer = command("search", "red", "--html", indexed / name, "--force")
    assert (answer.code, answer.out) == (2, "")
    assert (indexed / "red.png").read_bytes() == before


def test_a_page_that_cannot_be_written_is_told(command: Command, indexed: Path, tmp_path: Path) -> None:
    answer = command("search", "red", "--html", tmp_path / "nowhere" / "out.html")
    assert (answer.code, "could not be written" in answer.err) == (1, True)
    assert len(answer.err.splitlines()) == 1


def test_a_page_goes_along_with_texts_for_programs(command: Command, indexed: Path, tmp_path: Path) -> None:
    answer = command("search", "red", "--paths", "--html", tmp_path / "out.html")
    assert (answer.code, len(answer.lines), (tmp_path / "out.html").exists()) == (0, 3, True)


@pytest.mark.parametrize(
    ("latitude", "longitude", "text"), [(48.8221, 2.3985, "48.8221° N, 2.3985° E"), (0, -0.5, "0.0000° N, 0.5000° W")]
)
def test_coordinates_are_said_in_degrees(latitude: float, longitude: float, text: str) -> None:
    assert coordinates(latitude, longitude) == text


def test_bytes_that_are_no_text_are_shown_as_lists_show_them(
    command: Command, photos: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    write_photo(photos / "red.png", "red")
    command("index", photos, "--model", tiny_checkpoint)
    target = tmp_path / "t.html"
    question, folder = os.fsdecode(b"red \xff\x1b"), os.fsdecode(b"nu/f\xe9te")
    assert command("search", question, "--html", target).code == 0
    assert r"red \udcff\x1b" in read(target.read_text("utf-8")).all("h1")[0].text
    assert command("search", "--folder", folder, "--html", target).code == 0
    assert r"in nu/f\udce9te" in [tag.text for tag in read(target.read_text("utf-8")).all("p")]
