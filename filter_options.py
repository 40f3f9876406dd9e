"""The command line's filters: options of `search`, and what a wrong value is answered with."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from photoseek.conditions import Condition
from photoseek.errors import UsageError
from photoseek.paths import absolute_path
from photoseek.search.filters import where
from photoseek.search.places import find_city

if TYPE_CHECKING:
    from photoseek.status import RootStatus

_RATING = re.compile(r"([0-5])(\+|\.\.([0-5]))?")
_PLACE = re.compile(r"\s*(-?[\d.]+)\s*,\s*(-?[\d.]+)\s*,\s*([\d.]+)\s*(km)?\s*")
_CITY = re.compile(r"(.*\S)\s*,\s*(\d+(?:\.\d+)?)\s*km\s*")

_OPTIONS = (
    click.option("--taken", metavar="WHEN", help="2024, 2024-06, 2024-06-01, 2024-06..2024-08, 2024.., ..2019."),
    click.option("--camera", metavar="TEXT", help="Part of the camera's maker or model."),
    click.option("--lens", metavar="TEXT", help="Part of the lens's name."),
    click.option("--rating", metavar="STARS", help="4, 4+ or 2..3."),
    click.option("--folder", "folders", multiple=True, type=click.Path(), help="In this folder or below."),
    click.option("--near", metavar="LAT,LON,KM", help="As in 45.44,12.33,10km."),
    click.option("--place", metavar="CITY", help="Within 15 km of a city: Venice, 'Paris, US', Venice,30km."),
    click.option("--format", "formats", multiple=True, metavar="NAME", help="jpeg, png, heic, raw ..."),
    click.option("--shape", type=click.Choice(["landscape", "portrait", "square"]), help="Wider than high, or not."),
    click.option("--min-width", type=click.IntRange(1), metavar="PIXELS", help="At least this wide."),
)
NAMES = ("taken", "camera", "lens", "rating", "folders", "near", "place", "formats", "shape", "min_width")

_SHAPES = {"landscape": where.landscape, "portrait": where.portrait, "square": where.square}
_SAID = {
    "folders": "in {}",
    "near": "near {}",
    "formats": "format {}",
    "shape": "{}",
    "min_width": "at least {} pixels wide",
}


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """All filter options; they combine, and a photo must satisfy each."""
    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), command)


def filters_said(values: dict[str, Any]) -> str:
    """The filters as a person would read them: `taken 2022..2023 · around Venice, IT`; empty without any."""
    said = []
    for name in NAMES:
        value = values[name]
        for one in value if isinstance(value, tuple) else () if value is None else (value,):
            said.append(_said(name, one))
    return " · ".join(said)


def _said(name: str, value: Any) -> str:
    if name == "place":
        city = find_city(_city_and_km(value)[0])
        return f"around {city.name}, {city.country}"
    return _SAID.get(name, f"{name} {{}}").format(value)


def condition_of(values: dict[str, Any]) -> Condition | None:
    """The condition that the options ask for; None without any.

    Raises:
        UsageError: a value that is none, with an example of a right one.
    """
    conditions = [_built(name, values[name]) for name in NAMES if values[name]]
    return reduce(lambda left, right: left & right, conditions) if conditions else None


def folders_elsewhere(folders: Sequence[str], roots: Sequence[RootStatus]) -> list[Path]:
    """Those of these folders that lie in no indexed folder, and hold none."""
    places = [absolute_path(folder) for folder in folders]
    known = [root.path for root in roots]
    return [
        place for place in places if not any(place.is_relative_to(root) or root.is_relative_to(place) for root in known)
    ]


def _built(name: str, value: Any) -> Condition:
    """One option's condition; what is wrong with its value is said of the option."""
    try:
        return _CONDITIONS[name](value)
    except UsageError as error:
        option = name.removesuffix("s").replace("_", "-")
        given = " ".join(value) if isinstance(value, tuple) else value
        raise UsageError(f"--{option} {given}: {error}", hint=error.hint) from error


def _taken(value: str) -> Condition:
    first, dots, last = value.partition("..")
    if not dots:
        return where.taken.on(value)
    if not first and not last:
        return where.taken.known()
    return where.taken.between(first or None, last or None)


def _rating(value: str) -> Condition:
    match = _RATING.fullmatch(value.strip())
    if match is None:
        raise UsageError("this is no number of stars", hint="as in --rating 4, 4+ or 2..3")
    low, range_, high = int(match[1]), match[2], match[3]
    if high is not None and int(high) < low:
        raise UsageError(f"{low} is more than {high}", hint="as in --rating 2..3")
    if not range_:
        return where.rating == low
    return where.rating >= low if range_ == "+" else (where.rating >= low) & (where.rating <= int(high))


def _city_and_km(value: str) -> tuple[str] | tuple[str, float]:
    match = _CITY.fullmatch(value)
    return (match[1], float(match[2])) if match is not None else (value,)


def _near(value: str) -> Condition:
    match = _PLACE.fullmatch(value)
    try:
        if match is not None:
            return where.near(float(match[1]), float(match[2]), float(match[3]))
    except ValueError:
        pass  # 1.2.3 has the form of a number and is none
    raise UsageError("this is no place with a radius", hint="as in --near 45.44,12.33,10km")


_CONDITIONS: dict[str, Callable[[Any], Condition]] = {
    "taken": _taken,
    "camera": where.camera.contains,
    "lens": where.lens.contains,
    "rating": _rating,
    "folders": lambda folders: where.under(*folders),
    "near": _near,
    "place": lambda place: where.place(*_city_and_km(place)),
    "formats": lambda formats: where.format(*formats),
    "shape": lambda shape: _SHAPES[shape](),
    "min_width": where.width.__ge__,
}
