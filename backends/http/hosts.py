"""Which host a request really goes to: the provider's own, whatever it answers and whatever proxies there are."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["NO_REDIRECTS", "base_of", "is_here", "stay", "unused_client"]

NO_REDIRECTS: Final = {"allow_redirects": False, "follow_redirects": False}
"""No redirect is followed: arguments of aiohttp's requests and of httpx's clients, for an SDK that takes no hook."""

_METHOD_KEPT: Final = (307, 308)
_REDIRECTED: Final = "pointsman.redirected"


async def stay(response: Any) -> None:
    """Take the way out of a redirect that is not to be followed, so that the client reports a failure.

    Followed is one redirect of a request, on the same host, not out of TLS, and with its method kept. Elsewhere the
    client would send the request again: the prompt always, and the key in any header but ``Authorization``. Of a POST
    that is answered by 301, 302 or 303 it would make a GET, which no model answers.

    Args:
        response: A redirect, of httpx or its fork, before it is followed.
    """
    request = response.request
    here, there = request.url, request.url.join(response.headers["location"])
    elsewhere = there.host != here.host or (here.scheme == "https" and there.scheme != "https")
    changed = request.method == "POST" and response.status_code not in _METHOD_KEPT
    # The client copies the extensions to the request that follows.
    if elsewhere or changed or request.extensions.get(_REDIRECTED):
        del response.headers["location"]
    else:
        request.extensions[_REDIRECTED] = True


def is_here(url: str | None) -> bool:
    """Whether an address is on this machine, which no proxy of the environment can reach and none is to see."""
    host = urlsplit(url or "").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def base_of(url: str, *ends: str) -> str:
    """A base address as a client wants it, however it was copied.

    Args:
        url: With or without a slash at its end.
        ends: What the client puts behind it by itself, the longest first.
    """
    base = url.strip().rstrip("/")
    end = next((end for end in ends if base.endswith(end)), "")
    return base.removesuffix(end).rstrip("/")


@cache
def unused_client() -> Any:
    """A synchronous client for a model that wants one but is only ever awaited; it looks at no proxy."""
    from openai import DefaultHttpxClient

    return DefaultHttpxClient(trust_env=False)
