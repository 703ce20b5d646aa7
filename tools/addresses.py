"""Which addresses untrusted text may lead to: public ones, each checked before a connection is made to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from .base import ToolFailed

__all__ = ["Allowed", "Resolve", "checked", "refusal", "resolved"]

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host."""
Allowed: TypeAlias = Sequence[str]
"""Networks that may be reached even though they are not public, such as ``10.1.0.0/16``."""

# The IANA special-purpose registries (iana.org/assignments/iana-ipv4-special-registry), multicast, and cloud metadata
# services that have a public address.
_PRIVATE: Final = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3", "168.63.129.16/32",
    )
)  # fmt: skip
# Only IPv6 addresses that are assigned to networks may be reached
# (iana.org/assignments/ipv6-unicast-address-assignments), except those that lead to an IPv4 address (Teredo, 6to4) and
# those reserved for documentation and protocols.
_GIVEN_OUT: Final = ip_network("2000::/3")
_HELD_BACK: Final = tuple(
    map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
_NAT64: Final = ip_network("64:ff9b::/96")


def refusal(address: str, allowed: Allowed = ()) -> str | None:
    """Return why an address may not be reached, or None if it may.

    Args:
        address: An IPv4 or IPv6 address. One that embeds an IPv4 address (IPv4-mapped, NAT64) is judged by that.
        allowed: Networks that may be reached even though they are not public.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return "is no address"
    inner = _inner(found)
    if any(one in ip_network(network) for one in (found, inner) for network in allowed):
        return None
    if isinstance(inner, IPv4Address):
        return "is not a public address" if any(inner in network for network in _PRIVATE) else None
    given_out = inner in _GIVEN_OUT and not any(inner in network for network in _HELD_BACK)
    return None if given_out and inner.scope_id is None else "is not a public address"


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if isinstance(_NAT64, IPv6Network) and address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


async def resolved(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host from the system's resolver.

    Raises:
        OSError: If it has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


async def checked(host: str, port: int, *, allowed: Allowed = (), resolve: Resolve = resolved) -> Sequence[str]:
    """Resolve a host once and return the addresses to connect to; resolving again could return different ones.

    Args:
        host: A name or an address.
        port: The port.
        allowed: As in `refusal`.
        resolve: Returns the addresses of a host.

    Raises:
        ToolFailed: If it has no address, or one of its addresses may not be reached.
    """
    try:
        addresses = await resolve(host, port)
    except (OSError, UnicodeError) as error:
        raise ToolFailed(f"the host {host!r} has no address") from error
    for address in addresses:
        if why := refusal(address, allowed):
            raise ToolFailed(f"the host {host!r} is not reached: {address} {why}")
    if not addresses:
        raise ToolFailed(f"the host {host!r} has no address")
    return addresses
