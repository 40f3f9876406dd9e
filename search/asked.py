"""A query with its quoted words taken out: what photos are ranked by, and what must hold for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

from photoseek import conditions
from photoseek.conditions import Condition
from photoseek.search.phrases import parse_query
from photoseek.search.query import Example, Part, Query, Words


@dataclass(frozen=True, slots=True)
class Asked:
    """What a query asks for."""

    parts: tuple[Part, ...]
    """Words without quotes, and pictures: what photos are ranked by. Without any, the newest come first."""
    wanted: tuple[str, ...] = ()
    """Words that must stand in or about a photo, as they are."""
    unwanted: tuple[str, ...] = ()
    """Words that must not: quoted ones of parts with a negative weight."""

    @classmethod
    def of(cls, query: Query) -> Asked:
        """Take the quoted words out of each part that is words; a part of which nothing is left goes."""
        parts: list[Part] = []
        wanted: dict[str, None] = {}
        unwanted: dict[str, None] = {}
        for part in query.parts:
            if isinstance(part, Example):
                parts.append(part)
                continue
            parsed = parse_query(part.text)
            (wanted if part.weight > 0 else unwanted).update(dict.fromkeys(parsed.phrases))
            if parsed.text:
                parts.append(replace(part, text=parsed.text))
        return cls(tuple(parts), tuple(wanted), tuple(unwanted))

    @property
    def texts(self) -> list[str]:
        """What the text tower has to read, in order."""
        return [part.text for part in self.parts if isinstance(part, Words)]

    def condition(self, where: Condition | None) -> Condition | None:
        """What must hold for a photo: `where` and the quoted words."""
        given: Sequence[Condition] = [where] if where is not None else []
        with_words = [conditions.Words(phrase) for phrase in self.wanted]
        without_words = [~conditions.Words(phrase) for phrase in self.unwanted]
        every = [*given, *with_words, *without_words]
        return reduce(lambda left, right: left & right, every) if every else None
