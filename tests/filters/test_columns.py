"""A generation's columns, and what changed since, answer every filter as SQL does over the catalog."""

from __future__ import annotations

import functools
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photoseek.conditions import Condition, OfFiles
from photoseek.contracts import CameraFacts, Outcome, PhotoRead, PhotoRow, WorkItem
from photoseek.search.filters import where
from photoseek.storage.column_files import KnownFiles
from photoseek.storage.generations import IndexSettings
from photoseek.storage.spaces import Space
from photoseek.storage.store import Store, View

DIM = 8
FOLDERS = [b"", b"a", b"a/b", b"a!", b"ab", b"\xff"]
MOMENTS = ["2019", "2019-12", "2020-01-01", "2021-06-15T12:30:00"]

texts = st.text(alphabet="aAzÉé%_ß\\ \0'", max_size=4) | st.sampled_from(["Canon", "canon EOS", "iPhone 100%"])
camera_facts = st.builds(
    functools.partial(CameraFacts),  # of the class itself Hypothesis would make up the other fields, too
    taken_at=st.none() | st.sampled_from(["2019-12-31T23:59:59", "2020-01-01T00:00:00", "2021-06-15T12:30:00"]),
    camera_make=st.none() | texts,
    camera_model=st.none() | texts,
    lens=st.none() | texts,
    latitude=st.none() | st.sampled_from([0.0, 45.44, -89.9, 90.0]) | st.floats(-90, 90, allow_nan=False),
    longitude=st.none() | st.sampled_from([0.0, 12.33, 180.0, -180.0]) | st.floats(-180, 180, allow_nan=False),
    rating=st.none() | st.integers(0, 5),
    title=st.none() | texts,
    keywords=st.lists(texts, max_size=2).map(tuple),
)
places = st.tuples(st.sampled_from(FOLDERS), st.integers(0, 5))
contents = st.tuples(st.integers(0, 5), st.integers(1, 3), st.integers(1, 3), camera_facts)
"""A content, known by its number: width and height, and what the camera wrote."""

changes = st.one_of(
    st.tuples(st.just("record"), places, contents),
    st.tuples(st.sampled_from(["missing", "returned", "excluded", "forget"]), places, st.none()),
    st.tuples(st.just("rewrite"), st.integers(0, 5), camera_facts),
    st.tuples(st.just("build"), st.none(), st.none()),
)

simple_conditions: st.SearchStrategy[Condition] = st.one_of(
    st.tuples(st.none() | st.sampled_from(MOMENTS), st.none() | st.sampled_from(MOMENTS))
    .filter(lambda ends: None in ends or MOMENTS.index(ends[0]) <= MOMENTS.index(ends[1]))
    .map(lambda ends: where.taken.between(*ends)),
    st.tuples(st.sampled_from([where.camera, where.lens, where.title, where.keywords]), texts).map(
        lambda asked: asked[0].contains(asked[1].replace("\0", "").strip() or "a")
    ),
    st.integers(-1, 6).flatmap(
        lambda number: st.sampled_from(
            [where.rating >= number, where.rating != number, where.rating == number, where.width < number]
        )
    ),
    st.sampled_from([where.landscape(), where.portrait(), where.square(), where.format("jpg"), where.format("png")]),
    st.sampled_from(["/", "/photos", "/photos/a", "/photos/a/b", "/photo", "/photos/ab", "/photos/\udcff"]).map(
        where.under
    ),
    st.tuples(st.floats(-90, 90), st.floats(-180, 180), st.sampled_from([1.0, 500.0, 12_000.0, 20_100.0])).map(
        lambda place: where.near(*place)
    ),
    st.lists(st.integers(-1, 12), max_size=4).map(lambda ids: OfFiles(tuple(ids))),
)
conditions = st.recursive(
    simple_conditions,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
        inner.map(lambda one: ~one),
    ),
    max_leaves=4,
)


class Shelf:
    """A library of made-up photos in which anything may change."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        folder.mkdir()
        self.store.create()
        vectors = np.eye(DIM, dtype=np.float32)
        self.space: Space = self.store.spaces.create(
            model="made up",
            checkpoint_digest="c",
            preprocessing="p",
            probe=vectors[:2],
            texts=["a"],
            text_vectors=vectors[:1],
            state="active",
        )
        self.root = self.store.catalog.add_root(b"/photos")

    def change(self, kind: str, subject: Any, value: Any) -> None:
        files = self.store.files(self.space)
        if kind == "record":
            self._record(subject, value)
        elif kind == "build":
            self.store.generations.build(self.space, IndexSettings(ivf_min_rows=10**6))
        elif kind == "rewrite":
            self._rewrite(subject, value)
        else:
            ids = self._file_ids(subject)
            if kind == "forget":
                self.store.catalog.forget_files(ids)
            else:
                scan: dict[str, list[int]] = {"missing": [], "returned": [], "excluded": []}
                files.apply_scan(self.root.id, **{**scan, kind: ids})

    def _record(self, place: tuple[bytes, int], content: tuple[int, int, int, CameraFacts]) -> None:
        number, width, height, camera = content
        digest = bytes([number]) * 32
        picture = bytes([number // 2]) * 32  # two contents may show one picture
        format = ["jpeg", "png"][number % 2]
        pixels = np.zeros((1, 1, 3), np.uint8)
        photo = PhotoRead(digest, 10, 1, format, width, height, camera, pixels, picture)
        item = WorkItem(
            self.root.id, place[0], b"%d.jpg" % place[1], 10, 1, file_id=next(iter(self._file_ids(place)), None)
        )
        self.store.files(self.space).record([Outcome(item, photo, np.eye(DIM, dtype=np.float32)[number // 2])])

    def _rewrite(self, number: int, camera: CameraFacts) -> None:
        """As a photoseek would that reads more from the same files: whoever writes, the change is seen."""
        with self.store.catalog.database.writing() as connection:
            connection.exec_driver_sql(
                "UPDATE contents SET taken_at = ?, rating = ?, lens = ? WHERE digest = ?",
                (camera.taken_at, camera.rating, camera.lens, bytes([number]) * 32),
            )

    def _file_ids(self, place: tuple[bytes, int]) -> list[int]:
        known = self.store.files(self.space).known_files(self.root.id, place[0])
        name = b"%d.jpg" % place[1]
        return [known[name][1]] if name in known else []

    def check(self, condition: Condition) -> None:
        """Columns and SQL say the same."""
        view = self.store.view()
        assert view is not None
        facts = view.snapshot.facts(self.store.catalog)
        assert facts is not None
        rows = self.store.rows(self.space)
        in_view = set(view.snapshot.ids().tolist())
        for include_missing in (False, True):
            found = facts.allowed(condition, include_missing=include_missing)
            assert found is not None
            expected = rows.embeddings_where(condition, include_missing=include_missing)
            assert found.ids().tolist() == expected
            assert len(found) == len(expected)
            assert set(expected) <= in_view
        assert facts.newest_first(condition, 100) == rows.newest_first(condition, 100, 0)
        assert facts.newest_first(condition, 2) == rows.newest_first(condition, 2, 0)
        assert facts.count_undated() == rows.count_undated()

    def check_rows(self, view: View) -> None:
        """A view's photos are those of the catalog as it is now, whatever the columns say."""
        ids = view.snapshot.ids().tolist()
        for include_missing in (False, True):
            expected = self.store.rows(self.space).of_embeddings(ids, include_missing=include_missing)
            assert sorted(view.rows(ids, include_missing=include_missing)) == sorted(expected)
            for id in ids:
                own = [row for row in expected if row.embedding_id == id]
                assert sorted(view.rows([id], include_missing=include_missing)) == sorted(own)

    def known_rows(self, view: View) -> list[PhotoRow]:
        """The photos of a view by its columns alone."""
        known = view.snapshot.known_files(view.snapshot.ids().tolist())
        return self.store.rows(self.space).of_known_files(known) if known is not None else []


@contextmanager
def shelf() -> Iterator[Shelf]:
    with tempfile.TemporaryDirectory() as folder:
        made = Shelf(Path(folder) / "library")
        yield made
        made.store.close()


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    first=st.lists(st.tuples(places, contents), min_size=1, max_size=8),
    steps=st.lists(changes, max_size=8),
    asked=st.lists(conditions, min_size=1, max_size=4),
)
def test_columns_answer_as_the_catalog_does_whatever_changes(
    first: list[tuple[Any, Any]], steps: list[tuple[str, Any, Any]], asked: list[Condition]
) -> None:
    with shelf() as library:
        for place, content in first:
            library.change("record", place, content)
        library.change("build", None, None)
        library.check(asked[0])
        before = library.store.view()
        assert before is not None
        for step in steps:
            library.change(*step)
        library.check_rows(before)
        after = library.store.view()
        assert after is not None
        library.check_rows(after)
        for condition in asked:
            library.check(condition)


@pytest.mark.parametrize(
    "change",
    [
        ("record", (b"b", 9), (0, 1, 1, CameraFacts())),  # another file with the first picture
        ("record", (b"a", 0), (4, 1, 1, CameraFacts())),  # another picture in the first file
        ("missing", (b"a", 0), None),
        ("forget", (b"a", 0), None),
        ("rewrite", 0, CameraFacts(rating=5)),
    ],
)
def test_columns_name_the_files_of_a_page_until_something_changes(change: tuple[str, Any, Any]) -> None:
    with shelf() as library:
        for place, number in [(b"a", 0), (b"a", 1), (b"b", 2), (b"b", 3)]:
            library.change("record", (place, number), (number, 1, 1, CameraFacts()))
        library.change("missing", (b"b", 3), None)
        library.change("build", None, None)
        view = library.store.view()
        assert view is not None
        assert [row.path for row in sorted(library.known_rows(view))] == [
            b"/photos/a/0.jpg",
            b"/photos/a/1.jpg",  # shows the same picture
            b"/photos/b/2.jpg",
        ]
        library.check_rows(view)
        library.change(*change)
        assert library.known_rows(view) == []
        library.check_rows(view)
        now = library.store.view()
        assert now is not None
        library.check_rows(now)


def test_a_picture_with_more_files_than_a_statement_takes_is_shown() -> None:
    with shelf() as library:
        library.change("record", (b"a", 0), (0, 1, 1, CameraFacts()))
        library.change("build", None, None)
        view = library.store.view()
        assert view is not None
        [row] = library.known_rows(view)
        known = view.snapshot.known_files([row.embedding_id])
        assert known is not None
        many = KnownFiles(dict.fromkeys(range(1, 33_000), row.embedding_id), known.header)
        with library.store.catalog.database.mapped() as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)  # SQLite's own; distributions raise it
        assert library.store.rows(view.space).of_known_files(many) == []
