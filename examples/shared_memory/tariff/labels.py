"""Labels: what is printed on a parcel."""


def label(name: str, country: str, kilos: float) -> str:
    """Return the label of a parcel, one line each."""
    return f"{name}\n{country}\n{kilos:.1f} kg"
