"""`Connection`: the client side of a served memory."""

from __future__ import annotations

import threading
from typing import Any

import httpx2

from ...configs.errors import ConfigError
from ...configs.process.forks import reset_in_children
from ...configs.schema import safe_url
from .wire import ERRORS, PATH, dumped, loaded

__all__ = ["Connection"]

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 600.0
"""Forgetting a lot, or the first query after a large memory restarts, takes minutes at most."""


class Connection:
    """Call methods of a memory on the server that has it open.

    When a method returns, its effect is stored on the server and visible to every client's next call. All methods are
    idempotent; a call is retried once if the connection breaks before the reply.

    Args:
        url: Address on which ``pointsman memory serve`` listens.
        token: The server's token.
        tenant: The tenant whose memory the token must open.

    Raises:
        ConfigError: If the address is neither https nor on this machine, nothing answers there, the server refuses the
            token, or the token opens another tenant's memory.
    """

    def __init__(self, url: str, token: str, tenant: str) -> None:
        try:
            self._url = safe_url(url).rstrip("/")
        except ValueError as error:
            raise ConfigError(f"memory at {url!r}: the address {error}") from error
        if not token.isascii() or not token.strip():
            raise ConfigError(f"memory at {self._url} needs a token: the one that 'pointsman memory serve' was given")
        self._token = token
        self._lock = threading.Lock()
        self._client = self._connected()
        reset_in_children(self)
        try:
            whose = self.call("tenant", {})
            if whose != tenant:
                raise ConfigError(f"the token opens the memory of tenant {whose!r} at {self._url}, not {tenant!r}")
        except BaseException:
            self._client.close()
            raise

    def call(self, method: str, arguments: dict[str, Any]) -> Any:
        """Call a method on the server.

        Args:
            method: Its name.
            arguments: Its arguments by name.

        Returns:
            What it returned.

        Raises:
            ConfigError: If the server cannot be reached, refuses the token, or fails.
            ValueError: If the method raised it; TypeError and ConfigError are passed on likewise.
        """
        response = self._sent(method, dumped(arguments))
        if response.status_code == 401:
            raise ConfigError(f"memory at {self._url} refuses the token: give the one its server was started with")
        try:
            answer = loaded(response.content)
            if response.status_code == 200:
                return answer["result"]
            error, said = ERRORS[answer["error"]], str(answer["message"])
        except (ValueError, KeyError, TypeError) as unreadable:
            raise ConfigError(
                f"memory at {self._url} answered {response.status_code}, which is not an answer of 'pointsman memory "
                "serve' of this version: check the address, and what it logged"
            ) from unreadable
        raise error(said)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def reset_after_fork(self) -> None:
        """Open new connections in a forked child; its parent keeps using the old ones."""
        self._inherited, self._client = self._client, self._connected()

    def _connected(self) -> httpx2.Client:
        return httpx2.Client(
            trust_env=False,
            headers={"authorization": f"Bearer {self._token}", "content-type": "application/json"},
            timeout=httpx2.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=None),
        )

    def _sent(self, method: str, body: bytes) -> httpx2.Response:
        url = f"{self._url}{PATH}{method}"
        try:
            try:
                return self._client.post(url, content=body)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                # The server was restarted, or the connection was idle for too long.
                return self._client.post(url, content=body)
        except httpx2.HTTPError as error:
            raise ConfigError(
                f"memory at {self._url} cannot be reached: {str(error) or type(error).__name__}; check that 'pointsman "
                "memory serve' runs there"
            ) from error
