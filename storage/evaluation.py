"""Conditions on columns: the same answer as `filtering` gives in SQL, for a million files in a few milliseconds.

What is unknown satisfies neither a condition nor its opposite, as SQL's NULL does. So each condition is asked either
where it holds or where it surely does not hold, and "not" turns one question into the other on its way down.
"""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from photoseek.conditions import (
    AddedSince,
    And,
    Compare,
    Condition,
    Contains,
    Near,
    Not,
    OfFiles,
    Or,
    Shape,
    Taken,
    Under,
)
from photoseek.contracts import Root
from photoseek.storage.columns import POINT, Columns, Texts, place_key, points, unknown_of
from photoseek.storage.distance import EARTH_RADIUS_KM, distance_km
from photoseek.storage.filtering import AFTER_ANY_DIGIT, near_box

Mask: TypeAlias = NDArray[np.bool_]

ROUNDING = 1e-6
"""Of straight lines between points on a sphere of radius 1, as float32: six metres on the earth."""


def can_evaluate(condition: Condition) -> bool:
    """Do the columns hold what the condition asks for? Otherwise SQL answers it."""
    match condition:
        case And(parts) | Or(parts):
            return all(can_evaluate(part) for part in parts)
        case Not(inner):
            return can_evaluate(inner)
        case Compare(field, _, value):
            return isinstance(value, str) == (field == "format")
        case Contains(_, text):
            return "\0" not in text
        case Taken() | Shape() | Under() | Near() | AddedSince() | OfFiles():
            return True
    return False


def evaluate(condition: Condition, columns: Columns, roots: Sequence[Root], *, negated: bool = False) -> Mask:
    """(rows,): where the condition holds; with `negated`, where its opposite does."""
    match condition:
        case And(parts) | Or(parts):
            masks = (evaluate(part, columns, roots, negated=negated) for part in parts)
            return functools.reduce(operator.and_ if isinstance(condition, And) != negated else operator.or_, masks)
        case Not(inner):
            return evaluate(inner, columns, roots, negated=not negated)
        case Compare("format", symbol, str(value)):
            return _compare_text(columns.texts("format"), symbol, value.encode(), negated)
        case Compare(field, symbol, int(value)):
            numbers = columns.numbers(field)
            return _where_known(_compare(numbers, symbol, value), numbers != unknown_of(numbers), negated)
        case Contains(field, text):
            texts = columns.texts(field)
            found = texts.containing(text.encode("utf-8", "surrogatepass").lower())
            if negated:
                found[:-1] = ~found[:-1]
            return _mask(found[texts.codes])
        case Taken(first, last):
            return _taken(columns.texts("taken_at"), first, last, negated)
        case Shape(shape):
            sides = {"landscape": ">", "portrait": "<", "square": "=="}[shape]
            return _mask(_compare(columns.numbers("width"), sides, columns.numbers("height")) != negated)
        case Under(folder):
            return _mask(_under(columns.texts("folder"), folder, roots) != negated)
        case Near():
            return _near(columns, condition, negated)
        case AddedSince(moment):
            return _compare_text(columns.texts("added_at"), ">=", moment.encode(), negated)
        case OfFiles(file_ids):
            wanted = np.zeros(columns.last_file_id + 1, dtype=np.bool_)
            wanted[[id for id in file_ids if 0 <= id < len(wanted)]] = True
            return _mask(wanted[columns.numbers("file_id")] != negated)
    raise TypeError(f"{type(condition).__name__} is no condition on columns")


def _mask(answers: NDArray[Any]) -> Mask:
    return np.asarray(answers, dtype=np.bool_)


def _compare(numbers: NDArray[Any], symbol: str, other: int | NDArray[Any]) -> Mask:
    found: Mask = {
        "==": np.equal,
        "!=": np.not_equal,
        "<": np.less,
        "<=": np.less_equal,
        ">": np.greater,
        ">=": np.greater_equal,
    }[symbol](numbers, other)
    return found


def _where_known(holds: Mask, known: Mask, negated: bool) -> Mask:
    return known & ~holds if negated else known & holds


def _compare_text(texts: Texts, symbol: str, value: bytes, negated: bool) -> Mask:
    low, high = texts.first_from(value), texts.first_from(value + b"\0")
    first, after = {
        "==": (low, high),
        "!=": (low, high),
        "<": (0, low),
        "<=": (0, high),
        ">": (high, len(texts)),
        ">=": (low, len(texts)),
    }[symbol]
    holds = (texts.codes >= first) & (texts.codes < after)
    return _where_known(holds != (symbol == "!="), texts.codes >= 0, negated)


def _taken(texts: Texts, first: str | None, last: str | None, negated: bool) -> Mask:
    known: Mask = texts.codes >= 0
    if first is None and last is None:
        return _mask(known != negated)  # SQL's IS NOT NULL knows two answers only
    holds = known
    if first is not None:
        holds = texts.codes >= texts.first_from(first.encode())
    if last is not None:
        holds = holds & (texts.codes < texts.first_from((last + AFTER_ANY_DIGIT).encode()))
    return _where_known(holds, known, negated)


def _under(texts: Texts, folder: bytes, roots: Sequence[Root]) -> Mask:
    """In ranges of codes: the texts of a folder and all below it stand together."""
    found = np.zeros(len(texts) + 1, dtype=np.bool_)
    for root in roots:
        if root.kind != "folder":
            continue
        if root.path == folder or root.path.startswith(folder.rstrip(b"/") + b"/"):
            place = place_key(root.id, b"").rstrip(b"/")
        elif folder.startswith(root.path.rstrip(b"/") + b"/"):
            place = place_key(root.id, os.path.relpath(folder, root.path))
            found[texts.first_from(place) : texts.first_from(place + b"\0")] = True
        else:
            continue
        found[texts.first_from(place + b"/") : texts.first_from(place + b"0")] = True  # "0" is the byte after "/"
    return _mask(found[texts.codes])


def _near(columns: Columns, near: Near, negated: bool) -> Mask:
    holds = _within(columns, near)
    if not negated:
        return holds
    latitudes, longitudes = columns.numbers("latitude"), columns.numbers("longitude")
    (south, north), sides = near_box(near.latitude, near.longitude, near.km)
    no_latitude, no_longitude = np.isnan(latitudes), np.isnan(longitudes)
    fails = ~holds & ~no_latitude & ~no_longitude
    # One number alone is enough to lie outside the box.
    fails |= no_longitude & ~no_latitude & ((latitudes < south) | (latitudes > north))
    if sides is not None:
        fails |= no_latitude & ~no_longitude & ((longitudes < sides[0]) | (longitudes > sides[1]))
    return _mask(fails)


def _within(columns: Columns, near: Near) -> Mask:
    """Where `distance.distance_km` is at most `near.km`: by straight lines through a sphere of radius 1.

    Close to the edge of the circle, where rounding might decide, the distance is computed as SQL computes it.
    """
    centre = points(np.array([near.latitude]), np.array([near.longitude]))
    squares = np.zeros(columns.rows, dtype=np.float32)
    for name, coordinate in zip(POINT, centre, strict=True):
        squares += np.square(columns.numbers(name) - np.float32(coordinate[0]))
    longest = 2 * math.sin(min(near.km / EARTH_RADIUS_KM, math.pi) / 2)
    holds = _mask(squares <= longest**2)  # NaN is not
    low, high = max(0.0, longest - ROUNDING) ** 2 - ROUNDING**2, (longest + ROUNDING) ** 2
    latitudes, longitudes = columns.numbers("latitude"), columns.numbers("longitude")
    for row in np.flatnonzero((squares >= low) & (squares <= high)).tolist():
        distance = distance_km(float(latitudes[row]), float(longitudes[row]), near.latitude, near.longitude)
        holds[row] = distance is not None and distance <= near.km
    return holds
