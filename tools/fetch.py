"""Reading a URL: each hop resolved, checked, and connected to at the checked address; the answer bounded."""

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
"""Encodings of pages (encoding.spec.whatwg.org), by the names that Python gives them."""
_TEXTS: Final = ("text/", "application/json", "application/xml", "application/yaml", "application/javascript")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What stood at a URL.

    Attributes:
        url: Where it stood, after redirects.
        media_type: What it is, as the server says, in lower case.
        charset: The encoding of a text, as the server says; ``utf-8`` where it does not.
        content: The bytes.
    """

    url: str
    media_type: str
    charset: str
    content: bytes


def fetch_tools(*, allowed: Allowed = ()) -> list[BaseTool]:
    """Return ``fetch_url``, which reads a web page, a text or an image; what it returns is untrusted.

    Args:
        allowed: Networks that may be reached although they are not public, such as ``10.1.0.0/16``.
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
    """Read a URL, with no header but the usual and no cookie.

    A host is resolved once a hop, and only an address that was checked is connected to, so that neither a redirect nor
    a name that changes its address leads inside. No proxy of the environment is used.

    Args:
        url: ``https://`` or ``http://``.
        seconds: The time for all hops together.
        allowed: Networks that may be reached although they are not public.
        resolve: Gives the addresses of a host.

    Raises:
        ToolFailed: It may not be reached, cannot be, answers with an error, or with too much.
    """
    import httpx2

    try:
        # The certificate is checked for the name in the URL, whatever the address.
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
    """What stands there, or where it leads."""
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
    """The first answer that one of the checked addresses gives."""
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
    # A small answer can unpack to gigabytes.
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ToolFailed("the server sent a compressed answer, which was not asked for")
    content = bytearray()
    async for piece in response.aiter_raw():
        content += piece
        if len(content) > _BYTES:
            raise ToolFailed(f"the answer is larger than {_BYTES:,} bytes")
        # A fast server must not keep the event loop from other work.
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
    # Others of Python's codecs unpack, take hours for a page (punycode), fail whatever they are told, or make halves of
    # surrogates, which nothing can write down again.
    return name if _CHARSET.fullmatch(name) else "utf-8"
