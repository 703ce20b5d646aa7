"""Zones of the tariff: how far a parcel goes."""

ZONES = {"home": 1, "near": 2, "far": 3}
COUNTRIES = {"FR": "near", "DE": "near", "PT": "far", "NO": "far"}


def zone(country: str) -> int:
    """Return the zone of a country, 1 at home."""
    return ZONES[COUNTRIES.get(country, "home")]
