"""Read the codes, status, message and delay of a client's exception, and reduce the message to one clean line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Final

from ...configs.plain import message_of, plain
from ...configs.redact import MARK, redact

__all__ = ["codes_in", "delay_in", "one_line", "said", "secrets_in", "status_in", "told", "words_of"]

_LONGEST: Final = 300
_DEPTH: Final = 5
# Shorter values are not secrets, and redacting them would remove letters from ordinary words.
_SHORTEST_SECRET: Final = 8
# Keys under which servers put their message; the first that has any text counts.
_SAYING: Final = ("message", "Message", "msg", "detail", "error", "Error", "errors", "error_message", "error_msg",
                  "status_msg", "base_resp")  # fmt: skip
_TITLE: Final = re.compile(r"(?is)<(title|h1)[^>]*>(.*?)</\1>")


def one_line(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Trim a message to one line of at most 300 characters, without anything that looks like a key.

    Args:
        text: The vendor's message.
        secrets: Exact values to redact as well.
    """
    text = plain(text)
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, MARK)
    # Redact before cutting, because half a secret would not be recognized.
    text = " ".join(redact(text).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def words_of(error: BaseException) -> str:
    """Return an exception's message; for a failed validation without the input values, which can be private."""
    with suppress(Exception):
        found: Any = error.errors(include_input=False, include_url=False)  # type: ignore[attr-defined]  # pydantic's
        places = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found[:3])
        return f"{type(error).__name__}: {'; '.join(places)}"
    text = message_of(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def told(links: Iterable[BaseException]) -> str:
    """Return the message of the first exception that has one.

    Args:
        links: The exceptions, innermost first.
    """
    links = list(links)
    for link in links:
        text = said(_whole(link)) or getattr(link, "message", None)
        if isinstance(text, str) and text.strip():
            return _no_reply(text)
    return _no_reply(
        next((text for link in reversed(links) if (text := message_of(link).strip())), type(links[0]).__name__)
    )


def _no_reply(text: str) -> str:
    # The model's reply must not appear in an error message.
    return text.partition(" Raw response:")[0]


def said(value: Any, depth: int = _DEPTH) -> str:
    """Return the message in an error's body, unwrapping up to ``depth`` layers added by routers and proxies."""
    if not depth:
        return ""
    if isinstance(value, str):
        return _text(value.strip(), depth)
    if isinstance(value, list):
        return next((text for entry in value if (text := said(entry, depth - 1))), "")
    if not isinstance(value, Mapping):
        return ""
    text = next((text for name in _SAYING if (text := said(value.get(name), depth - 1))), "")
    # The router's message says that the provider behind it failed, and the raw metadata says why.
    metadata = value.get("metadata")
    behind = said(metadata.get("raw"), depth - 1) if isinstance(metadata, Mapping) else ""
    return ": ".join(part for part in (text, behind) if part)


def _text(text: str, depth: int) -> str:
    if text[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            return said(json.loads(text), depth - 1) or text
    if text[:9].lower().startswith(("<!doctype", "<html", "<head", "<?xml")):
        title = _TITLE.search(text)
        return "a web page instead of an answer" + (f": {title[2].strip()}" if title else "")
    return text


def _whole(link: BaseException) -> Any:
    """Return the body of an error as received, a string if it is not JSON."""
    for name in ("body", "details", "response"):
        body = getattr(link, name, None)
        if isinstance(body, Mapping | list | str) and body:
            return body
    return None


def _body(link: BaseException) -> Mapping[str, Any]:
    for name in ("body", "details", "response"):
        body = getattr(link, name, None)
        if isinstance(body, Mapping):
            inner = body.get("error", body.get("Error", body))
            return inner if isinstance(inner, Mapping) else body
    return {}


def codes_in(link: BaseException) -> Iterator[str]:
    """Yield the vendor's own codes, the most specific first."""
    # `error_code` names the cause where `type` names only its kind.
    body = _body(link)
    for name in ("error_code", "code", "type", "status"):
        for value in (getattr(link, name, None), body.get(name), body.get(name.title())):
            if isinstance(value, str):
                yield value


def status_in(link: BaseException) -> int | None:
    """Return the HTTP status, or None if there is none."""
    # `code` comes last because aiohttp warns when it is read.
    for name in ("status_code", "status", "code"):
        value = getattr(link, name, None)
        if isinstance(value, int) and 300 <= value < 600:
            return value
    body = _body(link)
    code = str(body.get("code", ""))
    if code.isdigit() and 400 <= int(code) < 600:
        return int(code)
    response = getattr(link, "response", None)
    if isinstance(response, Mapping):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status if isinstance(status, int) else None
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) and status >= 300 else None


def _headers(link: BaseException) -> Mapping[str, Any]:
    response = getattr(link, "response", None)
    if isinstance(response, Mapping):
        headers = response.get("ResponseMetadata", {}).get("HTTPHeaders")
    else:
        headers = getattr(response if response is not None else link, "headers", None)
    return headers if isinstance(headers, Mapping) else {}


def delay_in(links: Iterable[BaseException]) -> float | None:
    """Return the seconds the provider asked to wait, or None if it did not."""
    for link in links:
        headers = _headers(link)
        seconds = _number(headers.get("retry-after-ms"), scale=1000) or _delay(headers.get("retry-after"))
        if seconds is not None:
            return seconds
        details = _body(link).get("details")
        for detail in details if isinstance(details, list) else ():
            # google.rpc.RetryInfo: a duration in seconds such as "13.5s".
            delay = detail.get("retryDelay") if isinstance(detail, Mapping) else None
            if isinstance(delay, str) and (seconds := _number(delay.removesuffix("s"))) is not None:
                return seconds
    return None


def _number(text: Any, *, scale: float = 1) -> float | None:
    try:
        seconds = float(text) / scale
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _delay(text: Any) -> float | None:
    # RFC 9110, section 10.2.3: seconds or a date.
    seconds = _number(text)
    if seconds is None and isinstance(text, str):
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time())
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds


_KEY_HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")


def secrets_in(link: BaseException) -> Iterator[str]:
    """Yield the API keys that the request was sent with."""
    for holder in (link, getattr(link, "response", None)):
        try:
            headers = getattr(getattr(holder, "request", None) or getattr(holder, "request_info", None), "headers", {})
        except RuntimeError:
            # httpx raises this if no request was attached.
            continue
        for name in _KEY_HEADERS:
            value = headers.get(name) if isinstance(headers, Mapping) else None
            if isinstance(value, str) and value:
                yield value.rpartition(" ")[2]
