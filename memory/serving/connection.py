"""`Connection`: a client's side of a served memory."""

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
"""Forgetting much, or the first question after a restart of a large memory, takes minutes at most."""


class Connection:
    """Have methods of a memory carried out by the server that has it open.

    What a method returned is kept there, and everybody's next question finds it. Each method can be asked twice with
    the same effect, and is where a connection breaks off before its answer.

    Args:
        url: Where ``pointsman memory serve`` listens.
        token: What it asks for.
        tenant: Whose memory the token must open.

    Raises:
        ConfigError: The address is not one that nobody else can read, nothing answers there, the token is not the
            server's, or it opens another tenant's memory.
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
        """Have a method carried out.

        Args:
            method: Its name.
            arguments: Its arguments by their names.

        Returns:
            What it returned.

        Raises:
            ConfigError: The server cannot be reached, refuses the token, or failed.
            ValueError: What the method raised, and so do TypeError and ConfigError.
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
        """Let go of the connections."""
        self._client.close()

    def reset_after_fork(self) -> None:
        """Reset in a forked child, whose parent goes on with the connections."""
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
                # A server that was started again, or a connection that stood idle for too long.
                return self._client.post(url, content=body)
        except httpx2.HTTPError as error:
            raise ConfigError(
                f"memory at {self._url} cannot be reached: {str(error) or type(error).__name__}; check that 'pointsman "
                "memory serve' runs there"
            ) from error
