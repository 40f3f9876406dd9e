"""What a query asks for: its quoted words are conditions, the rest is what photos are ranked by."""

from __future__ import annotations

from pathlib import Path

from photoseek import where
from photoseek.conditions import And, Not
from photoseek.conditions import Words as Exact
from photoseek.search.asked import Asked
from photoseek.search.query import Example, Query, Words


def test_quoted_words_leave_the_parts() -> None:
    query = Query('a beach "IMG_2041"') + 2 * Query('"Nikon" "IMG_2041"') + Query(Path("a.jpg")) - Query('snow "Canon"')
    asked = Asked.of(query)
    assert asked.parts == (Words("a beach"), Example(Path("a.jpg")), Words("snow", -1.0))
    assert (asked.wanted, asked.unwanted) == (("IMG_2041", "Nikon"), ("Canon",))
    assert asked.texts == ["a beach", "snow"]


def test_all_of_them_must_hold_together_with_the_filter() -> None:
    rated = where.rating >= 4
    assert Asked.of(Query("a beach")).condition(None) is None
    assert Asked.of(Query("a beach")).condition(rated) == rated
    assert Asked.of(Query('"a" "b"')).condition(None) == And((Exact("a"), Exact("b")))
    assert Asked.of(Query('"a"') - Query('"b"')).condition(rated) == And((rated, Exact("a"), Not(Exact("b"))))
