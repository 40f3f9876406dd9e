"""Conditions compiled to SQL over `files`, `contents` and `roots`; every value is bound, none becomes text."""

from __future__ import annotations

import json
import math
import operator
import os

import sqlalchemy as sa

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
    Words,
)
from photoseek.contracts import Root
from photoseek.storage import schema, words
from photoseek.storage.catalog import below

KM_PER_DEGREE = 111.0
"""Of latitude, rounded down, so that the box around a circle is never too small."""
AFTER_ANY_DIGIT = "~"
"""Sorts after every character of an ISO date, so that `2024-06~` ends June."""

_CONTENTS = schema.contents.c
_OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXTS = {
    "camera": sa.func.nullif(
        sa.func.coalesce(_CONTENTS.camera_make, "") + " " + sa.func.coalesce(_CONTENTS.camera_model, ""), " "
    ),
    "lens": _CONTENTS.lens,
    "title": _CONTENTS.title,
    "keywords": _CONTENTS.keywords,
}


def compile_condition(condition: Condition, roots: list[Root]) -> sa.ColumnElement[bool]:
    """A condition as SQL's WHERE; `roots` turn absolute folders into places of the catalog."""
    match condition:
        case And(parts):
            return sa.and_(*(compile_condition(part, roots) for part in parts))
        case Or(parts):
            return sa.or_(*(compile_condition(part, roots) for part in parts))
        case Not(inner):
            return sa.not_(compile_condition(inner, roots))
        case Compare(field, symbol, value):
            compared: sa.ColumnElement[bool] = _OPERATORS[symbol](_CONTENTS[field], value)
            return compared
        case Contains(field, text):
            return _TEXTS[field].icontains(text, autoescape=True)
        case Words(phrase):
            return schema.files.c.id.in_(words.files_with(phrase))
        case Taken(first, last):
            return _taken(first, last)
        case Shape(shape):
            compare = {"landscape": operator.gt, "portrait": operator.lt, "square": operator.eq}[shape]
            shaped: sa.ColumnElement[bool] = compare(_CONTENTS.width, _CONTENTS.height)
            return shaped
        case Under(folder):
            return _under(folder, roots)
        case Near(latitude, longitude, km):
            return _near(latitude, longitude, km)
        case AddedSince(moment):
            return schema.files.c.added_at >= moment
        case OfFiles(file_ids):
            # As one value: SQLite takes no more than 32,766.
            numbers = sa.func.json_each(json.dumps(file_ids)).table_valued("value")
            return schema.files.c.id.in_(sa.select(numbers.c.value))
    raise TypeError(f"{type(condition).__name__} is no condition on photos")


def _taken(first: str | None, last: str | None) -> sa.ColumnElement[bool]:
    parts: list[sa.ColumnElement[bool]] = []
    if first is not None:
        parts.append(_CONTENTS.taken_at >= first)
    if last is not None:
        parts.append(_CONTENTS.taken_at < last + AFTER_ANY_DIGIT)
    # Comparing with NULL is neither true nor false, so the opposite of a range holds for no undated photo.
    return sa.and_(*parts) if parts else _CONTENTS.taken_at.is_not(None)


def _under(folder: bytes, roots: list[Root]) -> sa.ColumnElement[bool]:
    files = schema.files.c
    inside: list[sa.ColumnElement[bool]] = [sa.false()]
    for root in roots:
        if root.kind != "folder":
            continue
        if root.path == folder or root.path.startswith(folder.rstrip(b"/") + b"/"):
            inside.append(files.root_id == root.id)
        elif folder.startswith(root.path.rstrip(b"/") + b"/"):
            relative = os.path.relpath(folder, root.path)
            inside.append((files.root_id == root.id) & ((files.folder == relative) | below(relative)))
    return sa.or_(*inside)


def near_box(latitude: float, longitude: float, km: float) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """Degrees (south, north) and (west, east) around a circle; no sides where the box would meet the date line."""
    degrees = km / KM_PER_DEGREE
    wide = degrees / max(math.cos(math.radians(min(90.0, abs(latitude) + degrees))), 1e-6)
    whole = wide < 180 and longitude - wide >= -180 and longitude + wide <= 180
    return (latitude - degrees, latitude + degrees), (longitude - wide, longitude + wide) if whole else None


def _near(latitude: float, longitude: float, km: float) -> sa.ColumnElement[bool]:
    """A box that indexes and comparisons make cheap, then the true distance (`distance.distance_km`)."""
    (south, north), sides = near_box(latitude, longitude, km)
    box = [_CONTENTS.latitude.between(south, north)]
    if sides is not None:
        box.append(_CONTENTS.longitude.between(*sides))
    distance = sa.func.photoseek_km(_CONTENTS.latitude, _CONTENTS.longitude, latitude, longitude)
    return sa.and_(*box, distance <= km)
