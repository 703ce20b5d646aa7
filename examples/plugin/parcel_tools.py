"""Tools about parcels; what a parcel service would be asked for stands in a table here."""

from __future__ import annotations

from pointsman import tool
from pointsman.tools import ToolFailed

PARCELS = {"P-7": "with the carrier since Monday", "P-8": "delivered on Tuesday"}


@tool(effect="read")
def parcel_status(parcel: str) -> str:
    """Look up where a parcel is.

    Args:
        parcel: Its number, such as P-7.
    """
    if parcel not in PARCELS:
        raise ToolFailed(f"there is no parcel {parcel!r}; there are {', '.join(PARCELS)}")
    return f"{parcel} is {PARCELS[parcel]}"


@tool(effect="destructive", target="parcel")
def parcel_return(parcel: str) -> str:
    """Have the carrier bring a parcel back, which cannot be stopped once it is asked for.

    Args:
        parcel: Its number.
    """
    return f"{parcel} comes back"
