"""Keep requests on the provider's own host, whatever redirects it sends and whatever proxies are configured."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["NO_REDIRECTS", "base_of", "is_here", "stay", "unused_client"]

NO_REDIRECTS: Final = {"allow_redirects": False, "follow_redirects": False}
"""Arguments of aiohttp's requests and httpx's clients that disable redirects, for an SDK that accepts no hook."""

_METHOD_KEPT: Final = (307, 308)
_REDIRECTED: Final = "pointsman.redirected"


async def stay(response: Any) -> None:
    """Remove the location from a redirect that must not be followed, so that the client reports a failure.

    A request may follow one redirect, on the same host, without leaving TLS and with the same method. On another host
    the client would repeat the request, always with the prompt, and with the key in any header but ``Authorization``.
    After a 301, 302 or 303 it would turn a POST into a GET, which no model answers.

    Args:
        response: A redirect response of httpx or its fork, before it is followed.
    """
    request = response.request
    here, there = request.url, request.url.join(response.headers["location"])
    elsewhere = there.host != here.host or (here.scheme == "https" and there.scheme != "https")
    changed = request.method == "POST" and response.status_code not in _METHOD_KEPT
    # The client copies the extensions to the next request.
    if elsewhere or changed or request.extensions.get(_REDIRECTED):
        del response.headers["location"]
    else:
        request.extensions[_REDIRECTED] = True


def is_here(url: str | None) -> bool:
    """Return whether a URL is on this machine, which the environment's proxies cannot reach and must not see."""
    host = urlsplit(url or "").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def base_of(url: str, *ends: str) -> str:
    """Normalize a base URL to the form a client expects.

    Args:
        url: With or without a trailing slash.
        ends: Paths that the client appends by itself, the longest first.
    """
    base = url.strip().rstrip("/")
    end = next((end for end in ends if base.endswith(end)), "")
    return base.removesuffix(end).rstrip("/")


@cache
def unused_client() -> Any:
    """Return a synchronous client for a model that requires one but is only used asynchronously; it uses no proxy."""
    from openai import DefaultHttpxClient

    return DefaultHttpxClient(trust_env=False)
