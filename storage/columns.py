"""Facts that filters ask for, as columns: one row for each file that shows a picture of a space.

Beside a generation they lie as npy files that are mapped, and its first rows are its vectors in their order; the
facts of files that are newer, or changed since, are read from the catalog into columns of the same form. Numbers are
of the smallest type that holds them, the type's least number is unknown; texts are codes into their sorted different
values, -1 is unknown, so that a condition on a text looks at each value once and a range of dates at two numbers.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FACTS = """
    e.id, f.id, f.missing, c.rating, c.width, c.height, c.size, c.latitude, c.longitude,
    f.root_id, f.folder, f.added_at, c.taken_at, c.format,
    nullif(coalesce(c.camera_make, '') || ' ' || coalesce(c.camera_model, ''), ' '), c.lens, c.title, c.keywords
"""
"""What SQL selects for a row, in the order that `ColumnsBuilder.add` takes."""

INTEGERS = ("embedding_id", "file_id", "missing", "rating", "width", "height", "size")
DEGREES = ("latitude", "longitude")
POINT = ("x", "y", "z")
"""Of the place on a sphere of radius 1, float32: half a metre on the earth."""
COMPARED_TEXTS = ("folder", "added_at", "taken_at", "format")
SEARCHED_TEXTS = ("camera", "lens", "title", "keywords")
"""Kept in lower case, as SQLite's `lower` makes it: only the letters of ASCII."""
ROW_FILES = (*INTEGERS[1:], *DEGREES, *POINT, *COMPARED_TEXTS, *SEARCHED_TEXTS)
"""The arrays of a generation's columns that have an entry for each row."""
FILES = (*ROW_FILES, *(f"{name}.{part}" for name in COMPARED_TEXTS + SEARCHED_TEXTS for part in ("values", "ends")))
"""All of its arrays, as `ColumnsBuilder.arrays` names them."""

NO_FILE = 2
"""In `missing` (0 or 1 otherwise): a vector that no file shows."""


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts."""

    codes: NDArray[np.signedinteger[Any]]
    """(rows,): each row's value, -1 where it is unknown."""
    values: NDArray[np.uint8]
    """The different values as UTF-8, ascending, each with a zero byte at its end."""
    ends: NDArray[np.int64]
    """(values,): where each value's zero byte stands."""

    def __len__(self) -> int:
        return len(self.ends)

    def value(self, code: int) -> bytes:
        start = int(self.ends[code - 1]) + 1 if code else 0
        return self.values[start : int(self.ends[code])].tobytes()

    def first_from(self, bound: bytes) -> int:
        """The first code whose value is `bound` or sorts after it."""
        return bisect.bisect_left(range(len(self)), bound, key=self.value)

    def containing(self, text: bytes) -> NDArray[np.bool_]:
        """(values + 1,): which values hold `text` (without a zero byte); the last is False, for the unknown."""
        found = np.zeros(len(self) + 1, dtype=np.bool_)
        if not text:
            found[:-1] = True
            return found
        starts = [match.start() for match in re.finditer(re.escape(text), self.values.data)]
        found[np.searchsorted(self.ends, starts)] = True
        return found


class Columns:
    """Facts of `rows` files, by the arrays that `FILES` names; threads may share it."""

    def __init__(self, rows: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.rows = rows
        self._arrays = arrays

    def numbers(self, name: str) -> NDArray[Any]:
        """(rows,): integers, or degrees as float64 with NaN for unknown."""
        return self._arrays[name]

    def texts(self, name: str) -> Texts:
        return Texts(self.numbers(name), self.numbers(f"{name}.values"), self.numbers(f"{name}.ends"))

    @cached_property
    def last_file_id(self) -> int:
        return int(self.numbers("file_id").max(initial=0))


class ColumnsBuilder:
    """Collects rows of `FACTS`; each part in the smallest types, since there may be millions of rows."""

    def __init__(self) -> None:
        self._integers: dict[str, list[NDArray[Any]]] = {name: [] for name in INTEGERS}
        self._degrees: dict[str, list[NDArray[np.float64]]] = {name: [] for name in DEGREES}
        texts = COMPARED_TEXTS + SEARCHED_TEXTS
        self._codes: dict[str, list[NDArray[np.unsignedinteger[Any]]]] = {name: [] for name in texts}
        self._values: dict[str, dict[Any, int]] = {name: {} for name in self._codes}

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Take some rows; the folder and its root become one text."""
        if not rows:
            return
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for name, column in zip(INTEGERS, columns[:7], strict=True):
            self._integers[name].append(_packed(_with_unknown(column)))
        for name, column in zip(DEGREES, columns[7:9], strict=True):
            self._degrees[name].append(np.array(column, dtype=np.float64))  # None becomes NaN
        places = list(zip(columns[9], columns[10], strict=True))
        for name, column in zip(COMPARED_TEXTS + SEARCHED_TEXTS, [places, *columns[11:]], strict=True):
            codes = self._values[name]
            found = np.array([codes.setdefault(value, len(codes)) for value in column])
            self._codes[name].append(found.astype(np.min_scalar_type(found.max())))

    def add_empty(self) -> None:
        """A row for vectors that no file shows."""
        self.add([(0, 0, NO_FILE, None, None, None, None, None, None, 0, b"", *[None] * 7)])

    @property
    def embedding_ids(self) -> NDArray[np.int64]:
        return _unpacked(self._integers["embedding_id"])

    def arrays(self, order: NDArray[np.int64] | slice) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every array of the columns by name, its rows put into an order; embedding ids are the caller's business."""
        for name in INTEGERS[1:]:
            yield name, _packed(_unpacked(self._integers[name])[order])
        degrees = [_joined(self._degrees[name], np.float64)[order] for name in DEGREES]
        yield from zip(DEGREES, degrees, strict=True)
        for name, coordinates in zip(POINT, points(*degrees), strict=True):
            yield name, coordinates.astype(np.float32)
        for name, parts in self._codes.items():
            codes, values = _sorted_values(name, self._values[name])
            yield name, _packed(codes[_joined(parts, np.uint8)[order]])
            joined = b"".join(value + b"\0" for value in values)
            yield f"{name}.values", np.frombuffer(joined, dtype=np.uint8)
            yield f"{name}.ends", np.cumsum([len(value) + 1 for value in values], dtype=np.int64) - 1

    def columns(self) -> Columns:
        """What was collected, in the order in which it came."""
        return Columns(len(self.embedding_ids), dict(self.arrays(slice(None))))


def points(
    latitudes: NDArray[np.float64], longitudes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Places in degrees as coordinates on a sphere of radius 1; NaN where one of the two is unknown."""
    phi, theta = np.radians(latitudes), np.radians(longitudes)
    return np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi) + 0 * theta


def place_key(root_id: int, folder: bytes) -> bytes:
    """A folder of a root as the text of the column `folder`: all below `12/a` begin with `12/a/`."""
    return b"%d/%b" % (root_id, folder)


def unknown_of(numbers: NDArray[Any]) -> int:
    """The number that stands for unknown in a column of integers."""
    return int(np.iinfo(numbers.dtype).min)


def _with_unknown(column: Iterable[int | None]) -> NDArray[np.int64]:
    least = int(np.iinfo(np.int64).min)
    return np.array([least if number is None else number for number in column], dtype=np.int64)


def _joined(parts: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype=dtype)


def _packed(numbers: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """The same numbers in the smallest type whose least number is free for unknown."""
    least = np.iinfo(np.int64).min
    known = numbers[numbers != least]
    low, high = (int(known.min()), int(known.max())) if len(known) else (0, 0)
    for dtype in (np.int8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min < low and high <= limits.max:
            return np.where(numbers == least, limits.min, numbers).astype(dtype)
    return numbers.astype(np.int64)


def _unpacked(parts: list[NDArray[Any]]) -> NDArray[np.int64]:
    """Parts that `_packed` made, as one column in which the least number of int64 is unknown."""
    least = np.int64(np.iinfo(np.int64).min)
    return _joined([np.where(part == unknown_of(part), least, part) for part in parts], np.int64)


def _sorted_values(name: str, found: dict[Any, int]) -> tuple[NDArray[np.int64], list[bytes]]:
    """Codes into the sorted values by the codes in which they were found, and the values."""
    as_bytes = [_stored(name, value) for value in found]
    values = sorted({value for value in as_bytes if value is not None})
    code_of = {value: code for code, value in enumerate(values)}
    return np.array([-1 if value is None else code_of[value] for value in as_bytes], dtype=np.int64), values


def _stored(name: str, value: Any) -> bytes | None:
    if value is None:
        return None
    if name == "folder":
        return place_key(*value)
    text: bytes = value.encode().partition(b"\0")[0]  # where SQLite's LIKE stops, too
    return text.lower() if name in SEARCHED_TEXTS else text
