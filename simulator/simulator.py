"""The simulator as a context manager and as a blocking call."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ..configs.errors import ConfigError
from .engine import Engine
from .log import Log
from .scenario import Scenario
from .server import Listener


class Simulator:
    """A provider on loopback, running in its own thread.

    Use it as `with Simulator(scenario) as sim:` or `async with`; point an SDK at `sim.url("anthropic")`.

    Args:
        scenario: What to play; only the default brain if None.
        host: Address to bind; loopback by default.
        port: Port to bind, 0 for a free one.
    """

    def __init__(self, scenario: Scenario | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.log = Log()
        self._scenario = scenario or Scenario()
        self._host, self._port = host, port
        self._base = ""
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._listener: Listener | None = None
        self._error: Exception | None = None

    @property
    def base_url(self) -> str:
        """Scheme, host and port, without a trailing slash.

        Raises:
            ConfigError: The simulator is not running.
        """
        if not self._base:
            raise ConfigError("the simulator is not running: use it in a with block")
        return self._base

    def url(self, vendor: str) -> str:
        """Return the base URL for a vendor's SDK, which ends in `/v1` for all but anthropic and google.

        Args:
            vendor: `anthropic`, `google`, or any name for a vendor that uses OpenAI's format.
        """
        return f"{self.base_url}/{vendor}" if vendor in ("anthropic", "google") else f"{self.base_url}/{vendor}/v1"

    @property
    def scenario(self) -> Scenario:
        """The scenario being played; setting it takes effect with the next request and resets the counts."""
        return self._listener.server.engine.scenario if self._listener else self._scenario

    @scenario.setter
    def scenario(self, scenario: Scenario) -> None:
        self._scenario = scenario
        if self._listener is not None:
            self._listener.server.engine = Engine(scenario)

    def start(self) -> Self:
        """Start the server and wait until it listens.

        Raises:
            ConfigError: The address cannot be bound, or the simulator is running.
        """
        if self._thread is not None:
            raise ConfigError("the simulator is running: make one more for a second server")
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="pointsman-simulator", daemon=True)
        self._thread.start()
        ready.wait()
        if self._error is not None:
            self._thread.join()
            error, self._error = self._error, None
            raise error
        return self

    def stop(self) -> None:
        """Stop the server, releasing hanging requests, and wait for its thread."""
        if self._thread is None:
            return
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread, self._loop, self._listener, self._base = None, None, None, ""

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._main(ready))
        except Exception as error:  # noqa: BLE001  # handed to the thread that called start()
            self._error = error
        finally:
            ready.set()

    async def _main(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        listener = Listener(self._scenario, self.log, self._host, self._port)
        self._base = await listener.start()
        self._listener = listener
        ready.set()
        await self._stop.wait()
        await listener.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def serve(
    scenario: Scenario | None = None,
    host: str = "127.0.0.1",
    port: int = 8790,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        scenario: What to play; only the default brain if None.
        host: Address to bind; loopback by default.
        port: Port to bind, 0 for a free one.
        ready: Called with the base URL once the server listens.

    Raises:
        ConfigError: The address cannot be bound.
    """
    asyncio.run(_serve(scenario or Scenario(), host, port, ready))


async def _serve(scenario: Scenario, host: str, port: int, ready: Callable[[str], None] | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    listener = Listener(scenario, Log(), host, port)
    url = await listener.start()
    try:
        if ready is not None:
            ready(url)
        await stop.wait()
    finally:
        await listener.stop()
