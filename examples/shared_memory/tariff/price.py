"""What a parcel costs, in pounds."""

import math

from zones import zone

BASE = 2.40
PER_KILO = 1.60


def price(kilos: float, country: str = "GB") -> float:
    """Return the price: a base, and so much for each kilogram begun and each zone."""
    return round(BASE + PER_KILO * math.ceil(kilos) * zone(country), 2)
