"""Filters choose what the condition says, and nothing that they let through is lost to a better-placed photo."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoseek.conditions import Condition
from photoseek.contracts import CameraFacts, Outcome, PhotoRead, WorkItem
from photoseek.errors import UsageError
from photoseek.filter_options import NAMES, condition_of
from photoseek.search.filters import where
from photoseek.search.ranking import PageOptions, Question, rank
from photoseek.storage.distance import distance_km
from photoseek.storage.generations import IndexSettings
from photoseek.storage.store import Store

DIM = 16
NUMBER = 300


def facts(index: int) -> CameraFacts:
    """Different facts for each photo; some are unknown."""
    random = np.random.default_rng(index)
    if index % 7 == 0:
        return CameraFacts()
    return CameraFacts(
        taken_at=f"20{random.integers(10, 25)}-{random.integers(1, 13):02}-{random.integers(1, 29):02}T12:30:00",
        taken_source="DateTimeOriginal",
        camera_make=["Canon", "NIKON", "Apple"][index % 3],
        camera_model=["EOS 6D", "D5300", "iPhone 100%"][index % 3],
        lens="50mm" if index % 2 else None,
        latitude=float(random.uniform(-89, 89)),
        longitude=float(random.uniform(-180, 180)),
        rating=int(random.integers(0, 6)),
    )


class Shelf:
    """A stored library of made-up photos, and the same photos as plain values."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        folder.mkdir()
        self.store.create()
        rng = np.random.default_rng(0)
        vectors = rng.standard_normal((NUMBER, DIM)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self.vectors = vectors.astype(np.float16).astype(np.float32)
        space = self.store.spaces.create(
            model="made up",
            checkpoint_digest="c",
            preprocessing="p",
            probe=vectors[:2],
            texts=[str(number) for number in range(60)],
            text_vectors=vectors[:60],
            state="active",
        )
        root = self.store.catalog.add_root(b"/photos")
        self.photos = []
        outcomes = []
        for index in range(NUMBER):
            digest = hashlib.sha256(b"%d" % index).digest()
            photo = PhotoRead(
                digest,
                100,
                1,
                ["jpeg", "heic"][index % 2],
                10 + index,
                160,
                facts(index),
                np.zeros((1, 1, 3), np.uint8),
                digest,
            )
            item = WorkItem(root.id, [b"", b"a", b"a/b", b"ab"][index % 4], b"%03d.jpg" % index, 100, 1)
            self.photos.append((item.folder, photo))
            outcomes.append(Outcome(item, photo, vectors[index]))
        self.store.files(space).record(outcomes)
        settings = IndexSettings(ivf_min_rows=100, generation_min_rows=100)
        self.store.generations.build(space, settings)

    def chosen(self, condition: Condition) -> set[int]:
        view = self.store.view()
        assert view is not None
        allowed = view.allowed(condition, include_missing=False)
        assert allowed is not None
        return {int(id) - 1 for id in allowed.ids()}

    def expected(self, holds: Callable[[bytes, PhotoRead], bool]) -> set[int]:
        return {index for index, (folder, photo) in enumerate(self.photos) if holds(folder, photo)}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf") / "library")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (where.taken.between("2012", "2014-06"), lambda _, p: "2012" <= (p.camera.taken_at or "") < "2014-07"),
        (where.taken.on(date(2015, 3, 4)), lambda _, p: (p.camera.taken_at or "").startswith("2015-03-04")),
        (where.taken.since(2020), lambda _, p: (p.camera.taken_at or "") >= "2020"),
        (~where.taken.since(2020), lambda _, p: p.camera.taken_at is not None and p.camera.taken_at < "2020"),
        (
            where.taken.until(datetime(2020, 1, 1)),
            lambda _, p: p.camera.taken_at is not None and p.camera.taken_at < "2020",
        ),
        (where.taken.known(), lambda _, p: p.camera.taken_at is not None),
        (where.camera.contains("canon eos"), lambda _, p: p.camera.camera_make == "Canon"),
        (~where.camera.contains("canon"), lambda _, p: p.camera.camera_make in ("NIKON", "Apple")),
        (where.camera.contains("100%"), lambda _, p: p.camera.camera_make == "Apple"),
        (where.lens.contains("50"), lambda _, p: p.camera.lens is not None),
        (where.rating >= 4, lambda _, p: p.camera.rating is not None and p.camera.rating >= 4),
        (where.rating != 3, lambda _, p: p.camera.rating is not None and p.camera.rating != 3),
        (where.width < 50, lambda _, p: p.width < 50),
        (where.landscape(), lambda _, p: p.width > p.height),
        (where.portrait() | where.square(), lambda _, p: p.width <= p.height),
        (where.format("HEIC", ".jpg"), lambda _, p: True),
        (where.format("heif") & (where.width > 200), lambda _, p: p.format == "heic" and p.width > 200),
        (where.under("/photos"), lambda _, p: True),
        (where.under("/"), lambda _, p: True),
        (where.under("/photos/a"), lambda f, _: f in (b"a", b"a/b")),
        (where.under("/photos/a/b", "/photos/ab"), lambda f, _: f in (b"a/b", b"ab")),
        (where.under("/elsewhere"), lambda _, p: False),
    ],
)
def test_a_condition_holds_for_exactly_the_photos_it_says(
    shelf: Shelf, condition: Condition, holds: Callable[[bytes, PhotoRead], bool]
) -> None:
    assert shelf.chosen(condition) == shelf.expected(holds)


@given(
    latitude=st.floats(-90, 90, allow_nan=False),
    longitude=st.floats(-180, 180, allow_nan=False),
    km=st.floats(1, 25_000, allow_nan=False),
)
def test_near_is_the_great_circle_also_at_the_poles_and_the_date_line(
    shelf: Shelf, latitude: float, longitude: float, km: float
) -> None:
    def holds(_folder: bytes, photo: PhotoRead) -> bool:
        distance = distance_km(photo.camera.latitude, photo.camera.longitude, latitude, longitude)
        return distance is not None and distance <= km

    assert shelf.chosen(where.near(latitude, longitude, km)) == shelf.expected(holds)


def test_a_known_distance() -> None:
    assert distance_km(45.44, 12.33, 48.85, 2.35) == pytest.approx(845, abs=5)  # Venice to Paris
    assert distance_km(None, 0.0, 0.0, 0.0) is None


def test_a_search_under_a_filter_gives_the_true_best_where_they_are_the_least_alike(shelf: Shelf) -> None:
    """Anti-correlated: everything that the filter lets through lies behind everything that it does not."""
    view = shelf.store.view()
    assert view is not None
    chosen = sorted(shelf.chosen(where.rating >= 4))
    query = -shelf.vectors[chosen].sum(axis=0)
    query /= np.linalg.norm(query)
    allowed = view.allowed(where.rating >= 4, include_missing=False)
    results = rank(view, Question(query.astype(np.float32)), PageOptions(limit=10), allowed=allowed)
    scores = shelf.vectors[chosen] @ query
    best = [f"/photos/{index:03}" for index in np.array(chosen)[np.argsort(-scores)[:10]]]
    assert results.exact
    assert len(results) == 10
    assert [Path(match.path or "").stem for match in results] == [Path(path).stem for path in best]


def test_conditions_refuse_words_that_would_ignore_half_of_them() -> None:
    with pytest.raises(TypeError, match="combine with &"):
        bool(where.rating >= 4)


@pytest.mark.parametrize("wrong", ["2024-13", "2024-02-30", "yesterday", "", "24", "2024-6"])
def test_a_wrong_date_is_answered_with_an_example(wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        where.taken.on(wrong)
    assert "2024-06" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("first", "last"), [("2024", "2020"), ("2024-06", "2024-05"), ("2024-06-02", "2024-06-01T23:59"), (2024, 2023)]
)
def test_a_range_that_ends_before_it_begins_is_refused(first: str | int, last: str | int) -> None:
    with pytest.raises(UsageError, match=rf"{first} is later than {last}"):
        where.taken.between(first, last)


@pytest.mark.parametrize(("first", "last"), [("2024-06-15", "2024"), ("2024", "2024-06-15"), ("2024-06", "2024-06")])
def test_a_range_may_end_in_what_it_begins_in(first: str, last: str) -> None:
    where.taken.between(first, last)


@pytest.mark.parametrize("name", ["foo", "heic,png", "", "\ud800"])
def test_a_format_that_is_none_is_answered_with_those_that_are(name: str) -> None:
    with pytest.raises(UsageError, match="no format of photos") as caught:
        where.format("png", name)
    assert "jpeg, png" in (caught.value.hint or "")


NO_OPTIONS = dict.fromkeys(NAMES)


@pytest.mark.parametrize(
    ("option", "value", "condition"),
    [
        ("taken", "2024-06..2024-08", where.taken.between("2024-06", "2024-08")),
        ("taken", "..2019", where.taken.until("2019")),
        ("taken", "2024", where.taken.on("2024")),
        ("taken", "..", where.taken.known()),
        ("rating", "4", where.rating == 4),
        ("rating", "4+", where.rating >= 4),
        ("rating", "2..3", (where.rating >= 2) & (where.rating <= 3)),
        ("near", "45.44, 12.33, 10km", where.near(45.44, 12.33, 10)),
        ("near", "-33.5,25.8,0.5", where.near(-33.5, 25.8, 0.5)),
        ("min_width", 800, where.width >= 800),
        ("camera", "canon", where.camera.contains("canon")),
        ("shape", "portrait", where.portrait()),
    ],
)
def test_an_option_is_the_condition_it_stands_for(option: str, value: object, condition: Condition) -> None:
    built = condition_of({**NO_OPTIONS, option: value})
    assert repr(built) == repr(condition)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("rating", "6"),
        ("rating", "good"),
        ("rating", "4..2"),
        ("near", "1,2"),
        ("near", "1.2.3,4,5"),
        ("near", "91,0,5"),
        ("taken", "June"),
    ],
)
def test_a_wrong_option_names_itself_and_a_right_one(option: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        condition_of({**NO_OPTIONS, option: value})
    assert value.split(",")[0] in str(caught.value)
    assert "as in" in (caught.value.hint or "")


def test_photos_without_a_query_come_newest_first_and_undated_ones_last(shelf: Shelf) -> None:
    view = shelf.store.view()
    assert view is not None
    dates = [shelf.photos[id - 1][1].camera.taken_at for id in view.newest_first(None, NUMBER, 0)]
    known = [taken for taken in dates if taken is not None]
    assert known == sorted(known, reverse=True)
    assert dates == known + [None] * (NUMBER - len(known))
    assert view.count_undated() == NUMBER - len(known)
    assert view.newest_first(None, 5, 10) == view.newest_first(None, 15, 0)[10:]
