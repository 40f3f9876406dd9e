"""Quotes mean exact words; everything else is what the photo should show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoseek.search.phrases import ParsedQuery, parse_query

PLAIN = st.text(st.characters(codec="utf-8", exclude_characters='"“”„‟«»'), max_size=20)
PAIRS = st.sampled_from([('"', '"'), ("“", "”"), ("„", "“"), ("”", "”"), ("«", "»"), ("»", "«"), ('"', "”")])


@pytest.mark.parametrize(
    ("query", "text", "phrases"),
    [
        ("a red car", "a red car", ()),
        ('"IMG_2041"', "", ("IMG_2041",)),
        ('a beach "IMG_2041" "Nikon"', "a beach", ("IMG_2041", "Nikon")),
        ('a "Nikon" beach', "a beach", ("Nikon",)),
        ("„Düne“ am Meer", "am Meer", ("Düne",)),
        ("« Nikon  D750 »", "", ("Nikon D750",)),
        ('("Nikon")', "( )", ("Nikon",)),
        ('an unclosed "beach', 'an unclosed "beach', ()),
        ('"Nikon" and "beach', 'and "beach', ("Nikon",)),
        ('a "" beach "?!"', "a beach", ()),
        ('"Nikon" "Nikon"', "", ("Nikon",)),
        ("the dog's 'toy'", "the dog's 'toy'", ()),
        ('a 5" and a 6" screen', 'a 5" and a 6" screen', ()),
        ('"it\'s Mary"', "", ("it's Mary",)),
        ("", "", ()),
    ],
)
def test_queries_are_taken_apart(query: str, text: str, phrases: tuple[str, ...]) -> None:
    assert parse_query(query) == ParsedQuery(text, phrases)


CURVED, POINTED = '"“”„‟', "«»"


def read_plainly(query: str) -> tuple[str, list[str]]:
    """The same, one character after the other: the text, and what stood in quotes."""
    text, phrases, at = "", [], 0
    while at < len(query):
        family = next((family for family in (CURVED, POINTED) if query[at] in family), "")
        closing = next((end for end in range(at + 1, len(query)) if query[end] in family), None)
        follows_a_word = at > 0 and (query[at - 1].isalnum() or query[at - 1] == "_")
        if closing is None or follows_a_word:
            text += query[at]
            at += 1
        else:
            phrases.append(query[at + 1 : closing])
            text += " "
            at = closing + 1
    return text, phrases


@given(st.text() | st.text(st.sampled_from("ab_ \n" + CURVED + POINTED), max_size=30))
def test_any_text_is_taken_apart_as_its_characters_say(query: str) -> None:
    text, phrases = read_plainly(query)
    named = [" ".join(phrase.split()) for phrase in phrases if any(map(str.isalnum, phrase))]
    assert parse_query(query) == ParsedQuery(" ".join(text.split()), tuple(dict.fromkeys(named)))


@given(PLAIN)
def test_text_without_quotes_stays_what_it_is(text: str) -> None:
    assert parse_query(text) == ParsedQuery(" ".join(text.split()))


@given(st.lists(st.tuples(PLAIN, PLAIN, PAIRS)), PLAIN)
def test_quoted_parts_are_the_phrases_and_the_rest_is_the_text(
    parts: list[tuple[str, str, tuple[str, str]]], end: str
) -> None:
    query = "".join(f"{text} {opening}{phrase}{closing} " for text, phrase, (opening, closing) in parts) + end
    phrases = [" ".join(phrase.split()) for _text, phrase, _pair in parts]
    parsed = parse_query(query)
    assert parsed.text.split() == " ".join([*(text for text, _phrase, _pair in parts), end]).split()
    assert parsed.phrases == tuple(dict.fromkeys(phrase for phrase in phrases if any(map(str.isalnum, phrase))))
