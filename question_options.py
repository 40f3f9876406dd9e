"""The command line's question: words, pictures, exclusions and weights out of the options of `search`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from photoseek.errors import UsageError
from photoseek.show import one_line

if TYPE_CHECKING:
    from photoseek.search.query import Query


def _one_query(_context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> str | None:
    if len(words) > 1:
        whole = one_line(" ".join(words))
        raise click.UsageError(f'put the words in quotes, as one: "{whole}"')
    return words[0] if words else None


class FiniteRange(click.FloatRange):
    """A range of numbers, to which "nan" and "inf" do not belong."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


_OPTIONS = (
    click.argument("query", nargs=-1, metavar="[QUERY]", callback=_one_query),
    click.option("--query", "queries", multiple=True, metavar="WORDS", help="More words, with a weight of their own."),
    click.option("--like", multiple=True, type=click.Path(), metavar="PHOTO", help="Find photos like this one."),
    click.option("--without", multiple=True, metavar="WORDS", help="Push photos of this down."),
    click.option(
        "--weight",
        "weights",
        multiple=True,
        type=FiniteRange(0, min_open=True),
        metavar="W",
        help="How much each counts: QUERY, each --query, --like and --without, in this order.",
    ),
)
NAMES = ("query", "queries", "like", "without", "weights")


def question_options(command: Callable[..., None]) -> Callable[..., None]:
    """All parts of a question; they combine."""
    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), command)


def query_of(values: dict[str, Any]) -> Query:
    """The query that the options ask for; without parts, where none names one.

    Raises:
        UsageError: not one finite weight for each part.
    """
    from photoseek.search.query import WITHOUT_WEIGHT, Example, Part, Query, Words

    texts = [text for text in (values["query"], *values["queries"]) if text is not None and text.strip()]
    parts: list[Part] = [Words(text) for text in texts]
    parts += [Example(Path(path), 1 / len(values["like"])) for path in values["like"]]
    parts += [Words(text, -WITHOUT_WEIGHT) for text in values["without"]]
    weights = values["weights"]
    if weights and len(weights) != len(parts):
        raise UsageError(
            f"{len(weights)} weights were given for {len(parts)} parts of the query",
            hint="one --weight for each: the words, then each --query, --like and --without, in this order",
        )
    if weights:
        parts = [
            replace(part, weight=math.copysign(weight, part.weight))
            for part, weight in zip(parts, weights, strict=True)
        ]
    return Query.of(parts)
