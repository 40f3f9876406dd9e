"""Exact words: what is found by them, kept right through every change, and the same as plain reading finds."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photoseek.contracts import CameraFacts, Outcome, PhotoRead, ReadFailure, Trouble, WorkItem
from photoseek.errors import LibraryError, UsageError
from photoseek.search.filters import where
from photoseek.storage import words
from photoseek.storage.spaces import Space
from photoseek.storage.store import Store
from photoseek.storage.verify import repair, verify

DIM = 4
VECTOR = np.array([1, 0, 0, 0], dtype=np.float32)

PLACES = {
    1: (b"", b"IMG_2041.JPG", CameraFacts(camera_make="NIKON CORPORATION", camera_model="NIKON D750")),
    2: (b"2019/Venice trip", b"IMG_20411.jpg", CameraFacts(lens="EF24-105mm f/4L IS USM")),
    3: (b"2019/venice", "Düne am Meer.jpg".encode(), CameraFacts(title="A red boat", captions=("low tide", "at noon"))),
    4: (b"x", b"\xff\xfe caf\xe9 IMG_7.png", CameraFacts(keywords=("red", "boat", "São Paulo"))),
    5: (b"x", unicodedata.normalize("NFD", "Übersee.jpg").encode(), CameraFacts(camera_make="Apple")),
}
"""Folder, name and facts of files by id, in the root /home/photos."""


class Shelf:
    """A stored library without pictures: rows go in as the indexer hands them over."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.store = Store(folder)
        self.store.create()
        self.space: Space = self.store.spaces.create(
            model="made up",
            checkpoint_digest="c",
            preprocessing="p",
            probe=VECTOR[None],
            texts=["words"],
            text_vectors=VECTOR[None],
            state="active",
        )
        self.root = self.store.catalog.add_root(b"/home/photos")
        self._number = 0

    def put(self, folder: bytes, name: bytes, camera: CameraFacts, *, file_id: int | None = None) -> None:
        self._number += 1
        digest = hashlib.sha256(b"%d" % self._number).digest()
        photo = PhotoRead(digest, 1, 1, "jpeg", 1, 1, camera, np.zeros((1, 1, 3), np.uint8), digest)
        item = WorkItem(self.root.id, folder, name, 1, 1, file_id)
        self.store.files(self.space).record([Outcome(item, photo, VECTOR)])

    def found(self, phrase: str) -> set[int]:
        """Ids of the files on which the condition holds."""
        rows = self.store.rows(self.space)
        found = rows.of_embeddings(rows.embeddings_where(where.words(phrase)))
        return {row.file_id for row in found}

    def file_ids(self) -> list[int]:
        return sorted(self.store.catalog.file_ids(self.root.id))

    def problems(self) -> list[str]:
        return verify(self.store.catalog, self.store.folder).problems

    def repair(self) -> list[str]:
        report = verify(self.store.catalog, self.store.folder)
        repair(self.store.catalog, self.store.folder, report)
        return report.repaired


@pytest.fixture
def new_shelf(tmp_path: Path) -> Iterator[Callable[[], Shelf]]:
    shelves: list[Shelf] = []

    def make() -> Shelf:
        shelves.append(Shelf(tmp_path / f"library {len(shelves)}"))
        return shelves[-1]

    yield make
    for shelf in shelves:
        shelf.store.close()


@pytest.fixture
def shelf(new_shelf: Callable[[], Shelf]) -> Shelf:
    """A library with the files of `PLACES`."""
    shelf = new_shelf()
    for folder, name, camera in PLACES.values():
        shelf.put(folder, name, camera)
    return shelf


@pytest.mark.parametrize(
    ("phrase", "ids"),
    [
        ("IMG_2041", {1}),
        ("img_2041.jpg", {1}),
        ("2041", {1}),
        ("IMG_204", set()),
        ("2041 img", set()),
        ("NIKON D750", {1}),
        ("nikon corporation nikon", {1}),
        ("photos", {1, 2, 3, 4, 5}),
        ("home", set()),
        ("photos/2019/Venice", {2, 3}),
        ("venice trip", {2}),
        ("105mm f/4L", {2}),
        ("24-105mm", set()),
        ("dune", {3}),
        ("DÜNE AM MEER", {3}),
        ("red boat", {3}),
        ("boat red", set()),
        ("Sao Paulo", {4}),
        ("low tide", {3}),
        ("tide at", set()),
        ("img_7", {4}),
        ("caf", {4}),
        ("café", set()),
        ("übersee", {5}),
        (unicodedata.normalize("NFD", "Übersee"), {5}),
        ("jpg", {1, 2, 3, 5}),
    ],
)
def test_whole_words_in_their_order(shelf: Shelf, phrase: str, ids: set[int]) -> None:
    assert shelf.found(phrase) == ids


@pytest.mark.parametrize(
    "phrase",
    [
        "NEAR(a b)",
        "a AND b",
        "name : img",
        "-img",
        "^img",
        "i*",
        "{name} : img",
        '"',
        "img\0",
        "\ue000",
        "\ud800",
    ],
)
def test_nothing_in_a_phrase_is_an_operator(shelf: Shelf, phrase: str) -> None:
    found = shelf.found(f"{phrase} b IMG_2041")
    assert found == set()


def test_conditions_combine_and_need_a_word(shelf: Shelf) -> None:
    rows = shelf.store.rows(shelf.space)
    both = where.words("img") & ~where.words("venice")
    assert {row.file_id for row in rows.of_embeddings(rows.embeddings_where(both))} == {1, 4}
    with pytest.raises(UsageError, match="has no word"):
        where.words(' "?" ')


def test_the_fields_in_which_a_phrase_stands(shelf: Shelf) -> None:
    rows = shelf.store.rows(shelf.space)
    assert rows.fields_with("photos", [1, 2]) == {1: ("folder",), 2: ("folder",)}
    assert rows.fields_with("nikon", [1, 2]) == {1: ("camera",)}
    assert rows.fields_with("venice", [3]) == {3: ("folder",)}
    assert rows.fields_with("noon", [1, 2, 3]) == {3: ("caption",)}
    assert rows.fields_with("red", [3, 4]) == {3: ("title",), 4: ("keywords",)}
    shelf.put(b"boat", b"boat.jpg", CameraFacts(lens="boat", title="boat", keywords=("boat",)))
    assert rows.fields_with("boat", [6]) == {6: ("file name", "folder", "lens", "title", "keywords")}
    assert rows.fields_with("boat", []) == {}


# Changes


def test_words_follow_their_files(shelf: Shelf) -> None:
    shelf.put(b"", b"IMG_2041.JPG", CameraFacts(title="written anew"), file_id=1)
    assert (shelf.found("written anew"), shelf.found("nikon")) == ({1}, set())
    item = WorkItem(shelf.root.id, b"x", b"\xff\xfe caf\xe9 IMG_7.png", 2, 2, 4)
    files = shelf.store.files(shelf.space)
    files.record([Outcome(item, ReadFailure(Trouble.FILE, "broken"))])
    assert shelf.found("sao paulo") == set()
    shelf.store.catalog.forget_files([3])
    assert shelf.found("dune") == set()
    assert shelf.problems() == []


def test_a_moved_file_has_its_new_name(shelf: Shelf) -> None:
    files = shelf.store.files(shelf.space)
    files.apply_scan(shelf.root.id, missing=[2], returned=[], excluded=[])
    assert shelf.found("venice trip") == set()  # missing, and back with its words when it is seen again
    digest = hashlib.sha256(b"2").digest()
    photo = PhotoRead(digest, 1, 1, "jpeg", 1, 1, CameraFacts(), np.zeros((1, 1, 3), np.uint8), digest)
    files.record([Outcome(WorkItem(shelf.root.id, b"new place", b"boat.jpg", 1, 1), photo)])
    assert (shelf.found("new place"), shelf.found("boat.jpg"), shelf.found("venice trip")) == ({2}, {2}, set())
    assert shelf.problems() == []


def test_a_root_at_another_path(shelf: Shelf) -> None:
    shelf.store.catalog.move_root(shelf.root.id, b"/mnt/photos")
    assert shelf.found("photos/x") == {4, 5}
    shelf.store.catalog.move_root(shelf.root.id, b"/mnt/old pictures/")
    assert (shelf.found("old pictures x"), shelf.found("photos")) == ({4, 5}, set())
    assert shelf.problems() == []


def test_verify_sees_words_that_are_not_those_of_the_files(shelf: Shelf) -> None:
    for damage in (
        "DELETE FROM words WHERE rowid = 2",
        "INSERT INTO words (rowid, name) VALUES (77, 'nobody')",
        "UPDATE words SET folder = 'elsewhere' WHERE rowid = 3",
        "DELETE FROM words_data WHERE id > 10",
        "DROP TABLE words",
    ):
        with shelf.store.catalog.database.writing() as connection:
            connection.exec_driver_sql(damage)
        assert len(shelf.problems()) == 1, damage
        assert shelf.repair() == ["the words of the photos were collected again"], damage
        assert shelf.problems() == []
        assert shelf.found("venice") == {2, 3}


def test_without_fts5_only_quoted_words_are_refused(
    new_shelf: Callable[[], Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "has_fts5", lambda: False)
    shelf = new_shelf()
    shelf.put(*PLACES[1])
    assert shelf.store.rows(shelf.space).embeddings_where(where.width >= 1) == [1]
    with pytest.raises(LibraryError, match="quoted words need FTS5"):
        shelf.found("nikon")
    assert shelf.problems() == []
    monkeypatch.undo()
    with pytest.raises(LibraryError, match="without FTS5"):
        shelf.found("nikon")
    assert shelf.problems() == ["there are no words to find the photos by, or not of all"]
    shelf.store.create()  # as every writer begins
    shelf.put(*PLACES[2])
    assert (shelf.found("nikon"), shelf.found("venice")) == ({1}, {2})
    assert shelf.problems() == []


# The same as plain reading


def plain_words(text: str) -> list[str]:
    """Letters and digits between anything else, without case and accents; for the letters used here."""
    bare = "".join(mark for mark in unicodedata.normalize("NFD", text) if not unicodedata.combining(mark))
    return re.findall(r"[a-z0-9]+", bare.lower())


def stands_in(phrase: list[str], text: str) -> bool:
    found = plain_words(text)
    return any(found[at : at + len(phrase)] == phrase for at in range(len(found)))


def reads_plainly(phrase: str, folder: str, name: str, camera: CameraFacts) -> bool:
    wanted = plain_words(phrase)
    maker = f"{camera.camera_make or ''} {camera.camera_model or ''}"
    texts = [f"photos/{folder}", name, maker, camera.lens or "", camera.title or "", *camera.captions, *camera.keywords]
    return bool(wanted) and any(stands_in(wanted, text) for text in texts)


TEXTS = st.text(st.sampled_from("abAB12éÜñ_-. \"'*:()^{}+,&|\t"), max_size=8)
SOME = st.none() | TEXTS
FACTS = st.builds(
    functools.partial(CameraFacts),  # of the class itself Hypothesis would make up the other fields, too
    camera_make=SOME,
    camera_model=SOME,
    lens=SOME,
    title=SOME,
    captions=st.lists(TEXTS, max_size=2).map(tuple),
    keywords=st.lists(TEXTS, max_size=2).map(tuple),
)
NAMES = st.text(st.sampled_from('abAB12éÜ_-. "*'), min_size=1, max_size=8).map(lambda name: name + ".jpg")
PHRASES = st.text(st.sampled_from('abAB12éÜñ_-. "*:()^NEAROT+'), max_size=6)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path_factory.mktemp("words") / "library")
    yield shelf
    shelf.store.close()


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, NAMES, FACTS), max_size=5, unique_by=lambda file: file[:2]), st.lists(PHRASES))
def test_words_find_what_plain_reading_finds(
    empty: Shelf, files: list[tuple[str, str, CameraFacts]], phrases: list[str]
) -> None:
    for place, name, camera in files:
        empty.put(os.fsencode(place), os.fsencode(name), camera)
    expected = dict(zip(empty.file_ids(), files, strict=True))
    try:
        for phrase in [*phrases, *(name for _, name, _ in files)]:
            if any(map(str.isalnum, phrase)):
                assert empty.found(phrase) == {id for id, file in expected.items() if reads_plainly(phrase, *file)}
    finally:
        empty.store.catalog.forget_files(empty.file_ids())


@given(st.text() | st.text(st.characters(categories=["Cs", "Co", "Cc", "P", "S"])))
def test_no_text_is_refused_by_sqlite(empty: Shelf, phrase: str) -> None:
    with empty.store.catalog.database.reading() as connection:
        assert list(connection.scalars(words.files_with(phrase))) == []
        assert words.fields_with(connection, phrase, [1]) == {}


def test_nothing_is_left_of_forgotten_files(shelf: Shelf) -> None:
    shelf.store.catalog.forget_files(shelf.file_ids())
    with shelf.store.catalog.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM words").scalar_one() == 0
    assert shelf.problems() == []
