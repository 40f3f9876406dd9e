"""Pages: two of them are one long one, and nothing is repeated or lost while photos come and go."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from photoseek.contracts import CameraFacts, Candidates, Embeddings, IdSet, PhotoRow
from photoseek.errors import UsageError
from photoseek.search.cursor import Cursor
from photoseek.search.ranking import PageOptions, Question, rank

QUERY = np.array([1, 0], dtype=np.float32)
MOMENTS = np.random.default_rng(0).integers(1, 2**63, 7, dtype=np.uint64)


class Ids(list[int]):
    """An `IdSet` of everything."""

    def ids(self) -> NDArray[np.int64]:
        return np.array(self, dtype=np.int64)


class Shelf:
    """A `VectorStore` of cosines: embedding ids with their scores, in memory."""

    def __init__(self, scores: dict[int, float], exact: bool = True, listed: int | None = None) -> None:
        self.scores = dict(scores)
        self.dates: dict[int, str] = {}
        self.exact = exact
        self.listed = listed
        """How many the probed lists hold; None: all."""

    @property
    def last_id(self) -> int:
        return max(self.scores, default=0)

    def search(
        self, query: NDArray[np.float32], count: int, *, allowed: IdSet | None = None, exact: bool = False
    ) -> Candidates:
        exact = exact or self.exact
        ids = sorted(self.scores, key=lambda id: (-np.float32(self.scores[id]), id))[:count]
        if not exact:
            ids = ids[: self.listed]
        return Candidates(np.array(ids, dtype=np.int64), np.array([self.scores[id] for id in ids], np.float32), exact)

    def rows(self, embedding_ids: object, *, include_missing: bool = False) -> list[PhotoRow]:
        assert isinstance(embedding_ids, list)
        return [
            PhotoRow(
                embedding_id=id,
                file_id=id,
                root_path=b"/photos",
                root_kind="folder",
                root_online=True,
                path=b"/photos/%03d.jpg" % (id * 37 % 101),
                missing=False,
                size=1,
                mtime_ns=1,
                digest=b"",
                format="jpeg",
                width=1,
                height=1,
                camera=CameraFacts(taken_at=self.dates.get(id)),
            )
            for id in embedding_ids
            if id in self.scores
        ]

    def by_date(self, embedding_ids: object, *, include_missing: bool = False) -> list[int]:
        assert isinstance(embedding_ids, list)
        return sorted(sorted(embedding_ids), key=lambda id: self.dates.get(id, ""), reverse=True)

    def fingerprints(self, embedding_ids: object) -> NDArray[np.uint64]:
        """Photos whose ids agree in their tens are one moment."""
        assert isinstance(embedding_ids, list)
        return np.array([MOMENTS[id // 10 % 7] for id in embedding_ids], dtype=np.uint64)

    def vectors(self, embedding_ids: object) -> Embeddings:
        assert isinstance(embedding_ids, list)
        cosines = np.array([self.scores[id] for id in embedding_ids], dtype=np.float32)
        return np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)


def asked(**confident: object) -> Question:
    return Question(QUERY, digest="q", **confident)  # type: ignore[arg-type]


def ids(page: object) -> list[int]:
    return [int(match.id.removeprefix("file-")) for match in page]  # type: ignore[attr-defined]


scores_of_shelves = st.dictionaries(
    st.integers(1, 100), st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.4, 0.5]), min_size=1, max_size=60
)


@given(scores=scores_of_shelves, limit=st.integers(1, 9))
def test_pages_put_together_are_the_whole_list_also_with_ties(scores: dict[int, float], limit: int) -> None:
    shelf = Shelf(scores)
    whole = ids(rank(shelf, asked(), PageOptions(limit=1000)))
    assert sorted(whole) == sorted(scores)
    paged, after = [], None
    for _ in range(200):
        page = rank(shelf, asked(), PageOptions(limit=limit, after=after))
        assert [match.rank for match in page] == list(range(len(paged) + 1, len(paged) + len(page) + 1))
        paged += ids(page)
        after = page.next
        if after is None:
            break
        assert len(page) == limit
    assert paged == whole


@given(
    scores=scores_of_shelves,
    limit=st.integers(1, 9),
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, 200), st.sampled_from([0.1, 0.2, 0.3, 0.6])), max_size=40),
)
def test_nothing_is_repeated_or_lost_while_photos_come_and_go(
    scores: dict[int, float], limit: int, changes: list[tuple[bool, int, float]]
) -> None:
    shelf = Shelf(scores)
    left = list(changes)
    paged, after = [], None
    for _ in range(200):
        page = rank(shelf, asked(), PageOptions(limit=limit, after=after))
        paged += ids(page)
        after = page.next
        if after is None:
            break
        for comes, number, score in (left.pop() for _ in range(min(3, len(left)))):
            if comes:
                shelf.scores[1000 + len(shelf.scores) + number] = score
            elif shelf.scores:
                shelf.scores.pop(sorted(shelf.scores)[number % len(shelf.scores)], None)
        if not shelf.scores:
            break
    assert len(paged) == len(set(paged)), "a photo was shown twice"
    assert not [id for id in paged if id >= 1000], "a newer photo came in between"
    stayed = set(scores) & set(shelf.scores)
    if after is None:
        assert stayed <= set(paged), "a photo that was there from the start was lost"


@given(scores=scores_of_shelves, limit=st.integers(1, 9))
def test_collapsed_pages_are_the_collapsed_list_and_hold_every_photo_once(scores: dict[int, float], limit: int) -> None:
    shelf = Shelf(scores)
    whole = rank(shelf, asked(), PageOptions(limit=1000, collapse="similar"))
    held = [id for match in whole for id in (match.id, *match.similar)]
    assert sorted(held) == sorted(f"file-{id}" for id in scores)
    assert len({int(id.removeprefix("file-")) // 10 % 7 for id in held}) == len(whole)
    paged, after = [], None
    for _ in range(200):
        page = rank(shelf, asked(), PageOptions(limit=limit, after=after, collapse="similar"))
        paged += list(page)
        after = page.next
        if after is None:
            break
    assert [(match.id, match.similar) for match in paged] == [(match.id, match.similar) for match in whole]


def test_paging_to_the_end_shows_also_what_the_probed_lists_do_not_hold() -> None:
    shelf = Shelf({id: 1 - id / 1000 for id in range(1, 301)}, exact=False, listed=100)
    found, after = [], None
    while True:
        page = rank(shelf, asked(), PageOptions(limit=40, after=after))
        found += ids(page)
        after = page.next
        if after is None:
            break
    assert found == list(range(1, 301))


def test_a_first_page_that_was_exact_has_exact_followers() -> None:
    shelf = Shelf({id: 1 - id / 1000 for id in range(1, 301)})
    first = rank(shelf, asked(), PageOptions(limit=10))
    shelf.exact, shelf.listed = False, 15
    assert rank(shelf, asked(), PageOptions(limit=10, after=first.next)).exact


def confident(photos: Embeddings) -> NDArray[np.float32]:
    """Cosines themselves, as if they were probabilities."""
    return photos[:, 0]


def test_the_answer_ends_where_confidence_falls_under_what_was_asked_for() -> None:
    shelf = Shelf({1: 0.9, 2: 0.5, 3: 0.7, 4: 0.2})
    question = asked(confidence=confident, threshold=0.3)
    answer = rank(shelf, question, PageOptions())
    assert (ids(answer), answer.verdict, answer.total_above, answer.threshold) == ([1, 3, 2, 4], "found", 3, 0.3)
    assert [round(match.confidence or 0, 3) for match in answer] == [0.9, 0.7, 0.5, 0.2]
    strict = rank(shelf, question, PageOptions(min_confidence=0.6))
    assert (ids(strict), strict.total_above, strict.threshold) == ([1, 3], 2, 0.6)
    nothing = rank(shelf, question, PageOptions(min_confidence=0.95))
    assert (ids(nothing), nothing.verdict, nothing.total_above) == ([], "nothing", 0)


def test_a_verdict_does_not_depend_on_the_page() -> None:
    shelf = Shelf({id: 0.5 - id / 1000 for id in range(1, 101)})
    question = asked(confidence=confident, threshold=0.499)
    for options in (PageOptions(limit=1), PageOptions(limit=0), PageOptions(limit=5, offset=50)):
        assert rank(shelf, question, options).verdict == "found"


def test_the_newest_of_those_that_are_likely_come_first_and_the_undated_last() -> None:
    shelf = Shelf({1: 0.9, 2: 0.5, 3: 0.7, 4: 0.2, 5: 0.6})
    shelf.dates = {id: f"{year}-01-01T00:00:00" for id, year in ((1, 2020), (3, 2024), (4, 2025), (5, 2022))}
    question = asked(confidence=confident, threshold=0.3)
    assert ids(rank(shelf, question, PageOptions(order="newest"))) == [3, 5, 1, 2]
    first = rank(shelf, question, PageOptions(order="newest", limit=2))
    assert ids(rank(shelf, question, PageOptions(order="newest", limit=2, after=first.next))) == [1, 2]


def test_pages_without_words_or_pictures_are_by_date_and_hold() -> None:
    shelf = Shelf(dict.fromkeys(range(1, 101), 0.5))
    shelf.dates = {id: f"20{id % 50:02}-01-01T00:00:00" for id in range(1, 81)}
    question = Question(None, reasons=lambda ids: {id: {f"number {id}": 1.0} for id in ids}, digest="q")
    expected = shelf.by_date(list(range(1, 101)))
    found: list[int] = []
    page = rank(shelf, question, PageOptions(limit=30), allowed=Ids(range(1, 101)))
    while True:
        assert all(match.score == 1 and match.why == {f"number {match.id[5:]}": 1.0} for match in page)
        found += ids(page)
        if page.next is None:
            break
        newest = max(shelf.scores) + 1
        shelf.scores[newest], shelf.dates[newest] = 0.5, "2099-01-01T00:00:00"
        page = rank(shelf, question, PageOptions(limit=30, after=page.next), allowed=Ids(shelf.scores))
    assert found == expected
    assert ids(rank(shelf, question, PageOptions(limit=5, offset=3), allowed=Ids(range(1, 101)))) == expected[3:8]
    with pytest.raises(UsageError, match="has no words"):
        rank(shelf, question, PageOptions(min_confidence=0.5), allowed=Ids(range(1, 101)))


def test_without_a_calibration_nothing_is_cut_and_nothing_is_promised() -> None:
    shelf = Shelf({1: 0.9})
    answer = rank(shelf, asked(), PageOptions())
    assert (answer.verdict, answer.threshold, answer.total_above) == ("uncalibrated", None, None)
    assert answer[0].confidence is None
    for options in (PageOptions(min_confidence=0.5), PageOptions(order="newest")):
        with pytest.raises(UsageError, match="never calibrated"):
            rank(shelf, asked(), options)


cursors = st.builds(
    Cursor,
    question=st.just("q"),
    newest=st.integers(0, 2**62),
    shown=st.frozensets(st.integers(1, 2**62), max_size=50),
    exact=st.booleans(),
)


@given(cursors)
def test_a_cursor_survives_its_text(cursor: Cursor) -> None:
    text = cursor.encode()
    assert Cursor.decode(text, "q") == cursor
    assert text.isascii()
    assert not set(text) & set("+/= \n")


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
def test_any_other_text_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(UsageError):
        Cursor.decode(text, "q")


@pytest.mark.parametrize(
    "text", ["[" * 100_000 + "]" * 100_000, f'[1, "q", 1, 1, {"[" * 90 + "]" * 90}]', f'[1, "q", {10**30}, 1, []]']
)
def test_a_cursor_that_somebody_made_up_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no place to go on from"):
        Cursor.decode(base64.urlsafe_b64encode(zlib.compress(text.encode())).decode().rstrip("="), "q")


def test_a_cursor_of_another_search_is_refused() -> None:
    with pytest.raises(UsageError, match="another search"):
        Cursor.decode(Cursor("other", 1, frozenset({1}), True).encode(), "q")


@settings(max_examples=20)
@given(cursors, st.integers(0, 200))
def test_a_cursor_that_was_cut_is_refused(cursor: Cursor, length: int) -> None:
    text = cursor.encode()
    if length < len(text):
        with pytest.raises(UsageError):
            Cursor.decode(text[:length], "q")
