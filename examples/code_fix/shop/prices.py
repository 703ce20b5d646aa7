"""Prices of a shop."""


def total(prices: list[float], discount: float = 0.0) -> float:
    """Add prices up, and take a discount in percent off."""
    return round(sum(prices) * (1 - discount), 2)
