"""Translate exceptions of a vendor's client into a `BackendError`, by tables of exception classes and vendor codes.

The tables hold names, not classes, so that reading them does not import any SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ...configs.words import FailureKind
from ..base import BackendError
from .told import codes_in, delay_in, one_line, said, secrets_in, status_in, told, words_of
from .wordings import BROKE, WORDINGS, meant

__all__ = ["SHARED", "STATUS", "ErrorTable", "one_line", "translate"]

Kinds = Mapping[str, FailureKind | None]

STATUS: Mapping[int, FailureKind] = MappingProxyType(
    {
        400: FailureKind.BAD_REQUEST,
        401: FailureKind.AUTH,
        402: FailureKind.QUOTA,
        # The key is valid but not for this model or region; a missing model is treated the same way.
        403: FailureKind.UNAVAILABLE,
        404: FailureKind.UNAVAILABLE,
        405: FailureKind.UNAVAILABLE,
        407: FailureKind.CONNECTION,
        408: FailureKind.TIMEOUT,
        409: FailureKind.OVERLOADED,
        410: FailureKind.UNAVAILABLE,
        413: FailureKind.CONTEXT_LENGTH,
        424: FailureKind.OVERLOADED,
        429: FailureKind.RATE_LIMIT,
        451: FailureKind.UNAVAILABLE,
        499: FailureKind.TIMEOUT,
        501: FailureKind.UNAVAILABLE,
        504: FailureKind.TIMEOUT,
    }
)
"""Kind of a status with no more specific cause; other 4xx are ``bad_request``, other 5xx ``overloaded``."""


def _http_client(package: str) -> dict[str, FailureKind | None]:
    """Return the exceptions of httpx, or of the fork that the SDKs have moved to."""
    timeouts = ("ConnectTimeout", "PoolTimeout", "ReadTimeout", "TimeoutException", "WriteTimeout")
    transport = (
        "CloseError", "ConnectError", "LocalProtocolError", "NetworkError", "ProtocolError", "ProxyError", "ReadError",
        "RemoteProtocolError", "RequestError", "HTTPError", "TransportError", "WriteError",
    )  # fmt: skip
    # The address is wrong, or the body was read twice or too late: another provider can still answer.
    unusable = ("InvalidURL", "UnsupportedProtocol", "TooManyRedirects")
    unreadable = ("CookieConflict", "DecodingError", "RequestNotRead", "ResponseNotRead", "SSEError", "StreamClosed",
                  "StreamConsumed", "StreamError")  # fmt: skip
    return {
        f"{package}.HTTPStatusError": None,
        **{f"{package}.{name}": FailureKind.TIMEOUT for name in timeouts},
        **{f"{package}.{name}": FailureKind.CONNECTION for name in transport},
        **{f"{package}.{name}": FailureKind.UNAVAILABLE for name in unusable},
        **{f"{package}.{name}": FailureKind.MALFORMED for name in unreadable},
    }


SHARED: Kinds = MappingProxyType(
    {
        **_http_client("httpx"),
        **_http_client("httpx2"),
        "aiohttp.client_exceptions.ServerTimeoutError": FailureKind.TIMEOUT,
        "aiohttp.client_exceptions.ClientConnectionError": FailureKind.CONNECTION,
        "aiohttp.client_exceptions.ClientPayloadError": FailureKind.CONNECTION,
        "aiohttp.client_exceptions.ClientResponseError": None,
        "aiohttp.client_exceptions.InvalidURL": FailureKind.UNAVAILABLE,
        "aiohttp.client_exceptions.ClientError": FailureKind.CONNECTION,
        "aiohttp.http_exceptions.HttpProcessingError": FailureKind.CONNECTION,
        "builtins.ConnectionError": FailureKind.CONNECTION,
        "builtins.TimeoutError": FailureKind.TIMEOUT,
        "builtins.UnicodeDecodeError": FailureKind.MALFORMED,
        "json.decoder.JSONDecodeError": FailureKind.MALFORMED,
        "requests.exceptions.ConnectionError": FailureKind.CONNECTION,
        "requests.exceptions.HTTPError": None,
        "requests.exceptions.InvalidURL": FailureKind.UNAVAILABLE,
        "requests.exceptions.JSONDecodeError": FailureKind.MALFORMED,
        "requests.exceptions.MissingSchema": FailureKind.UNAVAILABLE,
        "requests.exceptions.RequestException": FailureKind.CONNECTION,
        "requests.exceptions.Timeout": FailureKind.TIMEOUT,
        "langchain_core.exceptions.ContextOverflowError": FailureKind.CONTEXT_LENGTH,
        "langchain_core.exceptions.ModelAPIError": FailureKind.OVERLOADED,
        "langchain_core.exceptions.ModelAuthenticationError": FailureKind.AUTH,
        "langchain_core.exceptions.ModelConnectionError": FailureKind.CONNECTION,
        "langchain_core.exceptions.ModelError": FailureKind.OVERLOADED,
        "langchain_core.exceptions.ModelInvalidRequestError": FailureKind.BAD_REQUEST,
        "langchain_core.exceptions.ModelNotFoundError": FailureKind.UNAVAILABLE,
        "langchain_core.exceptions.ModelPermissionDeniedError": FailureKind.UNAVAILABLE,
        "langchain_core.exceptions.ModelRateLimitError": FailureKind.RATE_LIMIT,
        "langchain_core.exceptions.ModelRefusalError": FailureKind.REFUSAL,
        "langchain_core.exceptions.ModelTimeoutError": FailureKind.TIMEOUT,
    }
)
"""Exceptions that any backend can meet: HTTP clients, LangChain's own family, broken JSON."""

# Packages below the SDKs: HTTP clients, what they are built on, and the one google-auth requests tokens with.
_TRANSPORTS = frozenset(
    {"aiohttp", "anyio", "h11", "h2", "httpcore", "httpcore2", "httpx", "httpx2", "requests", "socket", "ssl",
     "urllib3", "websockets"}
)  # fmt: skip
# Many packages share one namespace: only the second part of the name tells them apart.
_NAMESPACES = frozenset({"google"})

_FAMILY = "langchain_core.exceptions.ModelError"
_NO_CONNECTION = frozenset(
    {
        *(
            f"{package}.{name}"
            for package in ("httpx", "httpx2")
            for name in ("ConnectError", "ConnectTimeout", "InvalidURL", "PoolTimeout", "UnsupportedProtocol")
        ),
        "aiohttp.client_exceptions.ClientConnectorError",
        "aiohttp.client_exceptions.ConnectionTimeoutError",
        "aiohttp.client_exceptions.InvalidURL",
        "botocore.exceptions.ConnectTimeoutError",
        "botocore.exceptions.EndpointConnectionError",
        "builtins.ConnectionRefusedError",
    }
)
"""Exceptions raised before a connection is made, so that no request can have been sent."""

_NO_HTTP = "aiohttp.http_exceptions.HttpProcessingError"
"""The response was not HTTP or ended too early. aiohttp gives it a status, but that does not come from the provider,
which may have processed and billed the request."""

_OVERFLOW = "langchain_core.exceptions.ContextOverflowError"
_DEPTH = 6
# Kinds derived from the status alone, which the wording of the message may refine.
_OPEN = frozenset({FailureKind.BAD_REQUEST, FailureKind.UNAVAILABLE, FailureKind.OVERLOADED})


def _no_codes(_: BaseException) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """How to translate one backend's errors.

    Attributes:
        classes: Full name of an exception class -> its kind; None if status and code decide. An unlisted subclass uses
            the entry of its nearest listed base.
        codes: The vendor's own error code or type -> its kind; takes precedence over class and status.
        phrases: Wordings used by this vendor alone, in the form of `wordings.WORDINGS` and searched before it.
        readers: Full names of the functions that read a reply: an exception raised inside them means a malformed reply.
        codes_of: Finds further codes in an exception.
    """

    classes: Kinds
    codes: Mapping[str, FailureKind] = field(default_factory=dict)
    phrases: Mapping[str, FailureKind] = field(default_factory=dict)
    readers: frozenset[str] = frozenset()
    codes_of: Callable[[BaseException], Iterable[str]] = _no_codes

    def entry(self, kind: type[BaseException]) -> str | None:
        """Return the name under which a class is listed, its own or its nearest base's; None if none is listed."""
        return next((name for name in _names(kind) if name in self.classes or name in SHARED), None)

    def unmapped(self, kind: type[BaseException]) -> FailureKind | None:
        """Return the kind of an unlisted class of the SDK or of the HTTP client below it; None for any other class.

        It is not known whether the provider processed such a request, as with an unreadable reply.
        """
        packages = {_package(name) for name in _names(kind)}
        if packages & _TRANSPORTS:
            return FailureKind.CONNECTION
        sdks = {_package(name) for name in (*self.classes, *self.readers)}
        return FailureKind.MALFORMED if packages & sdks else None


def translate(error: BaseException, table: ErrorTable) -> BackendError | None:
    """Translate an exception raised by a client.

    The cause is read before the exception that wraps it, since the SDK's error holds more detail than LangChain's.

    Args:
        error: The exception the client raised.
        table: The backend's table.

    Returns:
        The failure, or None if the error is not the provider's fault.
    """
    own = next((link for link in _chain(error) if isinstance(link, BackendError)), None)
    if own is not None:
        # Our own code raised it inside the client, which then wrapped it.
        return own
    if not _theirs(error, table):
        return _unreadable(error, table)
    links = [link for link in _chain(error) if _theirs(link, table)]
    links.reverse()
    codes = [code for link in links if not _of_transport(link) for code in (*codes_in(link), *table.codes_of(link))]
    told_status = not any(_NO_HTTP in _names(type(link)) for link in links)
    status = next((found for link in links if (found := status_in(link)) is not None), None) if told_status else None
    message = told(links)
    kind = _kind(links, codes, status, message, table)
    text = one_line(message, secrets=[secret for link in links for secret in secrets_in(link)])
    sent = _NO_CONNECTION.isdisjoint(name for link in _chain(error) for name in _names(type(link)))
    return BackendError(kind, text, status=status, retry_after=delay_in(links), sent=sent)


def _of_transport(error: BaseException) -> bool:
    """Return whether the exception's class belongs to the HTTP client, and so carries no vendor's codes."""
    return _package(next(_names(type(error)))) in _TRANSPORTS


def _theirs(error: BaseException, table: ErrorTable) -> bool:
    kind = type(error)
    return isinstance(error, Exception) and (table.entry(kind) is not None or table.unmapped(kind) is not None)


def _kind(
    links: list[BaseException], codes: list[str], status: int | None, message: str, table: ErrorTable
) -> FailureKind:
    if any(_OVERFLOW in _names(type(link)) for link in links):
        return FailureKind.CONTEXT_LENGTH
    for code in codes:
        if code in table.codes:
            return table.codes[code]
    kind = _by_class(links, table) or (_unmapped(links, table) if status is None else None) or _by_status(status)
    if kind is FailureKind.RATE_LIMIT:
        return meant(message, BROKE) or kind
    if kind is FailureKind.BAD_REQUEST and _newer(links[0], table):
        # An unknown, newer class means some specific cause that the status does not show, not a bad request.
        kind = FailureKind.UNAVAILABLE
    return (meant(message, table.phrases, WORDINGS) or kind) if kind in _OPEN else kind


def _by_class(links: list[BaseException], table: ErrorTable) -> FailureKind | None:
    for link in links:
        name = table.entry(type(link))
        if name is not None:
            kind = table.classes[name] if name in table.classes else SHARED[name]
            # The innermost listed class decides; if it defers to the status, its wrappers do too.
            if kind is not None or status_in(link) is not None:
                return kind
    return None


def _newer(link: BaseException, table: ErrorTable) -> bool:
    # LangChain's exception family wraps the SDK's classes and adds no information.
    names = list(_names(type(link)))
    return table.entry(type(link)) != names[0] and _FAMILY not in names


def _unmapped(links: list[BaseException], table: ErrorTable) -> FailureKind | None:
    if any(table.entry(type(link)) is not None for link in links):
        return None
    return next((kind for link in links if (kind := table.unmapped(type(link))) is not None), None)


def _by_status(status: int | None) -> FailureKind:
    if status is None or status < 300:
        # An error reported in the middle of a stream, with an unknown code.
        return FailureKind.OVERLOADED
    if status in STATUS:
        return STATUS[status]
    if status < 400:
        return FailureKind.UNAVAILABLE
    return FailureKind.BAD_REQUEST if status < 500 else FailureKind.OVERLOADED


def _unreadable(error: BaseException, table: ErrorTable) -> BackendError | None:
    if not isinstance(error, Exception):
        return None
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}" in table.readers:
            return _unreadable_reply(error, table)
        traceback = traceback.tb_next
    return None


def _unreadable_reply(error: Exception, table: ErrorTable) -> BackendError:
    # Some servers send an error in a reply with status 200, and the reader raises its body unchanged.
    body = error.args[0] if error.args and isinstance(error.args[0], Mapping | str) else {}
    codes = (
        [str(body[key]) for key in ("code", "type") if body.get(key) is not None] if isinstance(body, Mapping) else []
    )
    codes.append(str(error).partition(":")[0])
    status = next((int(code) for code in codes if code.isdigit() and 400 <= int(code) < 600), None)
    kind = next((table.codes[code] for code in codes if code in table.codes), None)
    text = said(body) or words_of(error)
    if kind is None:
        kind = (meant(text, table.phrases, WORDINGS) if body else None) or (
            FailureKind.MALFORMED if status is None else _by_status(status)
        )
    return BackendError(kind, one_line(text), status=status)


def _names(kind: type[BaseException]) -> Iterator[str]:
    return (f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__)


def _package(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] in _NAMESPACES else 1])


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(_DEPTH):
        if link is None:
            return
        yield link
        link = link.__cause__
