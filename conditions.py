"""Conditions on photos, as plain values: `search.filters.where` builds them, `storage.filtering` compiles them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from photoseek.errors import UsageError

CONDITIONS_MAX = 500
"""SQLite takes an expression of 1,000 parts, and some conditions are several."""
NESTED_MAX = 20
""""And", "or" and "not" within each other; SQLite's parser takes about twice as many."""

Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Condition:
    """Base of all conditions; they combine with `&`, `|` and `~`.

    What is unknown about a photo satisfies no condition on it, nor the opposite of one.
    """

    def __and__(self, other: Condition) -> Condition:
        return _checked(And((*_parts(self, And), *_parts(other, And))))

    def __or__(self, other: Condition) -> Condition:
        return _checked(Or((*_parts(self, Or), *_parts(other, Or))))

    def __invert__(self) -> Condition:
        return _checked(Not(self))

    def __bool__(self) -> bool:
        raise TypeError("conditions combine with & | ~, not with and, or, not")


@dataclass(frozen=True, slots=True)
class And(Condition):
    """All hold."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or(Condition):
    """One of them holds, or several."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """It does not hold."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Compare(Condition):
    """A number or name against a value."""

    field: Literal["rating", "width", "height", "size", "format"]
    operator: Operator
    value: int | str


@dataclass(frozen=True, slots=True)
class Contains(Condition):
    """A text holds these words anywhere, in any case."""

    field: Literal["camera", "lens", "title", "keywords"]
    text: str


@dataclass(frozen=True, slots=True)
class Words(Condition):
    """These words stand, whole and in this order, in the file's name or folder, or in what was written in the photo."""

    phrase: str


@dataclass(frozen=True, slots=True)
class Taken(Condition):
    """Taken from the beginning of `first` to the end of `last`, by the camera's clock.

    Each is ISO 8601 of any precision (`2024`, `2024-06`, `2024-06-01T12:30`), or None for an open end.
    """

    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class Shape(Condition):
    """Wider than high, higher than wide, or neither."""

    shape: Literal["landscape", "portrait", "square"]


@dataclass(frozen=True, slots=True)
class Under(Condition):
    """In a folder or below it: an absolute path."""

    folder: bytes


@dataclass(frozen=True, slots=True)
class Near(Condition):
    """Taken at most `km` kilometres from a place, in degrees."""

    latitude: float
    longitude: float
    km: float


@dataclass(frozen=True, slots=True)
class AddedSince(Condition):
    """Came into the library at this time or later: ISO 8601, UTC."""

    moment: str


@dataclass(frozen=True, slots=True)
class Ids(Condition):
    """One of these photos, by the ids that apps see."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfFiles(Condition):
    """One of these rows of the catalog: what `Ids` becomes on its way to storage."""

    file_ids: tuple[int, ...]


def replace_ids(condition: Condition, file_ids: Callable[[Sequence[str]], Sequence[int]]) -> Condition:
    """The same condition in terms of storage: every `Ids` as the files that `file_ids` finds for it."""
    match condition:
        case And(parts):
            return And(tuple(replace_ids(part, file_ids) for part in parts))
        case Or(parts):
            return Or(tuple(replace_ids(part, file_ids) for part in parts))
        case Not(inner):
            return Not(replace_ids(inner, file_ids))
        case Ids(ids):
            return OfFiles(tuple(file_ids(ids)))
    return condition


def mentions_date(condition: Condition) -> bool:
    """Does the condition ask when a photo was taken?"""
    return _mentions(condition, Taken)


def mentions_words(condition: Condition) -> bool:
    """Does the condition ask for exact words?"""
    return _mentions(condition, Words)


def _mentions(condition: Condition, kind: type[Condition]) -> bool:
    if isinstance(condition, And | Or):
        return any(_mentions(part, kind) for part in condition.parts)
    if isinstance(condition, Not):
        return _mentions(condition.condition, kind)
    return isinstance(condition, kind)


def _parts(condition: Condition, kind: type[And | Or]) -> tuple[Condition, ...]:
    """What a condition of this kind combines, so that a chain of them is one and not a thousand within each other."""
    return condition.parts if isinstance(condition, kind) else (condition,)


def _checked(condition: Condition) -> Condition:
    """The condition itself.

    Raises:
        UsageError: it combines more than SQLite can take.
    """
    number, depth = _size(condition)
    if number > CONDITIONS_MAX or depth > NESTED_MAX:
        raise UsageError(
            f"a filter combines at most {CONDITIONS_MAX} conditions, nested {NESTED_MAX} deep",
            hint="where.ids([...]) takes any number of photos",
        )
    return condition


def _size(condition: Condition) -> tuple[int, int]:
    """How many conditions are combined, and how deep within each other."""
    inside = condition.parts if isinstance(condition, And | Or) else ()
    inside = (condition.condition,) if isinstance(condition, Not) else inside
    sizes = [_size(part) for part in inside]
    return sum(number for number, _ in sizes) or 1, max((depth + 1 for _, depth in sizes), default=0)
