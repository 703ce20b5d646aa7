"""Read a URL: each hop is resolved, checked, and connected to at the checked address; the response size is limited."""

from __future__ import annotations

import asyncio
import base64
import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Annotated, Any, Final

from langchain_core.tools import BaseTool
from pydantic import Field

from ..configs.words import Trust
from .addresses import Allowed, Resolve, checked, resolved
from .base import ToolFailed
from .decorator import tool
from .images import mime_type_of
from .limits import within

if TYPE_CHECKING:
    import httpx2

__all__ = ["Fetched", "fetch", "fetch_tools"]

_BYTES: Final = 10_000_000
_HOPS: Final = 5
_SECONDS: Final = 30.0
_URL: Final = 2_000
_CHARSET: Final = re.compile(
    r"ascii|utf-8(?:-sig)?|utf-(?:16|32)(?:-[bl]e)?|iso8859-\d+|cp\d+|koi8-\w|mac-\w+|gb2312|gbk|gb18030|big5(?:hkscs)?"
    r"|euc_(?:jp|kr)|shift_jis|iso2022_(?:jp|kr)|johab|tis-620"
)
"""Encodings of web pages (encoding.spec.whatwg.org), by their Python names."""
_TEXTS: Final = ("text/", "application/json", "application/xml", "application/yaml", "application/javascript")


@dataclass(frozen=True, slots=True)
class Fetched:
    """The content of a URL.

    Attributes:
        url: The final URL, after redirects.
        media_type: Its media type according to the server, in lower case.
        charset: The encoding of a text according to the server; ``utf-8`` if it does not say.
        content: The bytes.
    """

    url: str
    media_type: str
    charset: str
    content: bytes


def fetch_tools(*, allowed: Allowed = ()) -> list[BaseTool]:
    """Return the tool ``fetch_url``, which reads a web page, a text or an image; its results are untrusted.

    Args:
        allowed: Networks that may be reached even though they are not public, such as ``10.1.0.0/16``.
    """

    async def fetch_url(
        url: Annotated[str, Field(description="The address, beginning with https:// or http://.")],
    ) -> Any:
        """Read what stands at a URL: a text, or an image of PNG, JPEG, GIF or WebP."""
        found = await fetch(url, allowed=allowed)
        if found.media_type.startswith("image/"):
            mime_type = mime_type_of("the image", found.content)
            data = base64.b64encode(found.content).decode("ascii")
            return [{"type": "image", "base64": data, "mime_type": mime_type}]
        if not found.media_type.startswith(_TEXTS) and not found.media_type.endswith(("+json", "+xml")):
            raise ToolFailed(f"it is of the type {found.media_type!r}, and neither a text nor an image")
        return found.content.decode(_codec(found.charset), "replace")

    return [tool(fetch_url, effect="external", only_reads=True, target_args="url", trust=Trust.UNTRUSTED)]


async def fetch(url: str, *, seconds: float = _SECONDS, allowed: Allowed = (), resolve: Resolve = resolved) -> Fetched:
    """Read a URL, with only the usual headers and no cookies.

    Each host is resolved once per hop, and only checked addresses are connected to, so neither a redirect nor a name
    that changes its address can lead to an internal host. Proxies from the environment are not used.

    Args:
        url: ``https://`` or ``http://``.
        seconds: Time limit for all hops together.
        allowed: Networks that may be reached even though they are not public.
        resolve: Returns the addresses of a host.

    Raises:
        ToolFailed: If it may not or cannot be reached, or responds with an error or with too much data.
    """
    import httpx2

    try:
        # The certificate is checked against the host name in the URL, not the address.
        async with (
            within("fetch_url", seconds),
            httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=seconds) as client,
        ):
            for _ in range(_HOPS + 1):
                found = await _hop(client, url, allowed, resolve)
                if isinstance(found, Fetched):
                    return found
                url = found
    except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
        raise ToolFailed(f"the URL cannot be read: {str(error) or type(error).__name__}") from error
    raise ToolFailed(f"the URL leads over more than {_HOPS} redirects")


async def _hop(client: httpx2.AsyncClient, url: str, allowed: Allowed, resolve: Resolve) -> Fetched | str:
    """Return the content of a URL, or the URL it redirects to."""
    import httpx2

    if len(url) > _URL:
        raise ToolFailed(f"the URL is longer than {_URL:,} characters")
    asked = httpx2.URL(url)
    if asked.scheme not in ("http", "https") or not asked.host:
        raise ToolFailed(f"a URL must begin with https:// or http://, not {asked.scheme[:20]!r}")
    if asked.userinfo:
        raise ToolFailed("a URL must hold no user name or password")
    port = asked.port or (443 if asked.scheme == "https" else 80)
    addresses = await checked(asked.host, port, allowed=allowed, resolve=resolve)
    response = await _sent(client, asked, addresses)
    try:
        location = response.headers.get("location")
        if response.status_code in (301, 302, 303, 307, 308) and location:
            return str(asked.join(location))
        if response.status_code != 200:
            raise ToolFailed(f"the server answered {response.status_code}")
        return Fetched(str(asked), *_typed(response.headers.get("content-type", "")), await _body(response))
    finally:
        await response.aclose()


async def _sent(client: httpx2.AsyncClient, url: httpx2.URL, addresses: Sequence[str]) -> httpx2.Response:
    """Return the response of the first of the checked addresses that accepts a connection."""
    import httpx2

    host = url.netloc.decode("ascii")
    headers = {"host": host, "accept-encoding": "identity", "accept": "*/*"}
    extensions = {"sni_hostname": url.raw_host.decode("ascii")}
    lost: Exception | None = None
    for address in addresses:
        bracketed = f"[{address}]" if isinstance(ip_address(address), IPv6Address) else address
        there = url.copy_with(host=bracketed)
        request = client.build_request("GET", there, headers=headers, extensions=extensions)
        try:
            return await client.send(request, stream=True)
        except httpx2.ConnectError as error:
            lost = error
    raise ToolFailed(f"the server cannot be reached: {lost}") from lost


async def _body(response: httpx2.Response) -> bytes:
    # A small compressed response can unpack to gigabytes.
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ToolFailed("the server sent a compressed answer, which was not asked for")
    content = bytearray()
    async for piece in response.aiter_raw():
        content += piece
        if len(content) > _BYTES:
            raise ToolFailed(f"the answer is larger than {_BYTES:,} bytes")
        # A fast server must not block the event loop.
        await asyncio.sleep(0)
    return bytes(content)


def _typed(said: str) -> tuple[str, str]:
    media_type, *parameters = (part.strip().lower() for part in said.split(";"))
    charset = next((one.removeprefix("charset=").strip("\"'") for one in parameters if one.startswith("charset=")), "")
    return media_type or "application/octet-stream", charset or "utf-8"


def _codec(charset: str) -> str:
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return "utf-8"
    # Other Python codecs decompress, take hours for a page (punycode), fail even with "replace", or produce lone
    # surrogates, which cannot be encoded again.
    return name if _CHARSET.fullmatch(name) else "utf-8"
