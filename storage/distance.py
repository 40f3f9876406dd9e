"""Distances on the earth, for conditions on places: SQLite calls this as `photoseek_km`."""

from __future__ import annotations

import math

EARTH_RADIUS_KM = 6371.0


def distance_km(
    latitude: float | None, longitude: float | None, other_latitude: float, other_longitude: float
) -> float | None:
    """Great-circle distance of two places in degrees (haversine formula); None where one is unknown."""
    if latitude is None or longitude is None:
        return None
    phi, other_phi = math.radians(latitude), math.radians(other_latitude)
    half = math.sin((phi - other_phi) / 2) ** 2
    half += math.cos(phi) * math.cos(other_phi) * math.sin(math.radians(longitude - other_longitude) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(half)))
