"""What is searched for: words, pictures, weights and exclusions, and one vector out of them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from photoseek.errors import UsageError
from photoseek.search.results import Photo

if TYPE_CHECKING:
    from PIL import Image

PictureLike: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | Photo"
"""A picture: a path, the bytes of a file, a PIL image, or a photo of an earlier answer."""

WITHOUT_WEIGHT = 0.6
"""How strongly an excluded word is subtracted, against 1 for a wanted one."""


@dataclass(frozen=True, slots=True)
class Words:
    """Words of a query."""

    text: str
    weight: float = 1.0
    """Negative to push away."""


@dataclass(frozen=True, slots=True)
class Example:
    """A picture of a query."""

    picture: PictureLike
    weight: float = 1.0


Part: TypeAlias = Words | Example


class Query:
    """Several words, pictures and weights in one: `Query("dog") + 2 * Query(image) - Query("snow")`.

    A string means words; a picture is given as a `pathlib.Path`, bytes, a PIL image or a photo of the library.
    Immutable; every operation gives a new one.
    """

    __slots__ = ("parts",)

    def __init__(self, content: str | PictureLike) -> None:
        part: Part = Words(content) if isinstance(content, str) else Example(content)
        self.parts: tuple[Part, ...] = (part,)

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Query:
        """A query of these parts, in order; it may be empty.

        Raises:
            UsageError: a weight is no finite number, or words are no text.
        """
        for part in parts:
            if isinstance(part, Words) and not isinstance(part.text, str):
                raise UsageError(f"words to search for are text, not {part.text!r}")
        if not all(math.isfinite(part.weight) for part in parts):
            raise UsageError("a weight must be a finite number")
        query = cls.__new__(cls)
        query.parts = tuple(parts)
        return query

    def __add__(self, other: Query) -> Query:
        return Query.of(self.parts + _query(other).parts)

    def __sub__(self, other: Query) -> Query:
        return self + -1 * _query(other)

    def __radd__(self, other: object) -> Query:
        return _query(other) + self

    def __rsub__(self, other: object) -> Query:
        return _query(other) - self

    def __mul__(self, factor: float) -> Query:
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            return NotImplemented
        return Query.of([replace(part, weight=part.weight * factor) for part in self.parts])

    __rmul__ = __mul__

    def __neg__(self) -> Query:
        return self * -1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Query) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def __repr__(self) -> str:
        return f"Query.of({self.parts!r})"

    def __str__(self) -> str:
        """The query as a person would say it."""
        wanted = [_said(part) for part in self.parts if part.weight > 0]
        unwanted = [_said(part) for part in self.parts if part.weight <= 0]
        return " and ".join(wanted) + "".join(f" without {words}" for words in unwanted)


def _query(other: object) -> Query:
    """What a query is put together with.

    Raises:
        UsageError: it is no query.
    """
    if not isinstance(other, Query):
        given = repr(other) if isinstance(other, str) else "..."
        raise UsageError(
            f"a query is put together with queries, not with {type(other).__name__}", hint=f"say Query({given})"
        )
    return other


def _said(part: Part) -> str:
    if isinstance(part, Words):
        return part.text if '"' in part.text else f'"{part.text}"'
    picture = part.picture.path if isinstance(part.picture, Photo) else part.picture
    return os.fspath(picture) if isinstance(picture, str | os.PathLike) else "the example picture"


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query, encoded: a unit vector (dim,) with its weight, negative to push away."""

    label: str
    """How `Match.why` names it."""
    vector: NDArray[np.float32]
    weight: float = 1.0


def combine(terms: Sequence[Term]) -> NDArray[np.float32]:
    """The unit vector in the direction of the weighted sum of the terms: float32 (dim,).

    Raises:
        UsageError: nothing to search for, or terms that cancel out.
    """
    if not terms:
        raise UsageError("nothing to search for", hint='give words, as in search("a red car"), or a picture with like=')
    largest = max(abs(term.weight) for term in terms) or 1.0  # without it, huge weights would leave float32
    total = np.sum([term.weight / largest * term.vector for term in terms], axis=0, dtype=np.float32)
    length = float(np.linalg.norm(total))
    if length < 1e-6:
        raise UsageError("the parts of this query cancel each other out", hint="change the words or the weights")
    return np.asarray(total / length, dtype=np.float32)
