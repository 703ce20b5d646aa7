"""A clean environment for every test: no keys, no configuration of the user's, a folder and a clock of its own."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar
from weakref import WeakSet

import hypothesis
import pytest

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile(
    "pointsman", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("pointsman")

T = TypeVar("T")

BOUND_SECONDS = 240.0
"""Far above what anything here takes on a busy machine: only what would never end takes longer."""

KEYS = ("_API_KEY", "AWS_", "GOOGLE_", "POINTSMAN_", "LANGSMITH_", "LANGCHAIN_")


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.endswith(KEYS[0]) or name.startswith(KEYS[1:]):
            monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))


class Leap:
    """`time.monotonic` and the clock of every event loop, set forward by a test instead of waiting for a time limit.

    Limits can then be so long that no busy machine reaches them by itself. Clients that are not asynchronous wait in
    the operating system and are not moved.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._clock = time.monotonic

    def now(self) -> float:
        """The time in seconds, from any beginning."""
        return self._clock() + self._ahead

    def of_loop(self, loop: asyncio.AbstractEventLoop) -> float:
        """What the loop takes for the time, which is woken from now on when the time is set forward."""
        self._loops.add(loop)
        return self.now()

    def forward(self, seconds: float) -> None:
        """Let that much time be over, in every loop at once."""
        self._ahead += seconds
        for loop in list(self._loops):
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(lambda: None)

    async def through(self, work: Awaitable[T], step: float) -> T:
        """Await work while that much time goes by every hundredth of a second."""
        task = asyncio.ensure_future(work)
        while not task.done():
            self.forward(step)
            await asyncio.sleep(0.01)
        return await task

    @contextmanager
    def when(self, happened: Callable[[], bool], seconds: float) -> Iterator[None]:
        """Go forward as soon as something has happened that the body waits behind."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.005):
                if happened():
                    self.forward(seconds)
                    return

        watcher = threading.Thread(target=watch, name="leap")
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


@pytest.fixture
def leap(monkeypatch: pytest.MonkeyPatch) -> Leap:
    """A clock that is set forward."""
    clock = Leap()
    monkeypatch.setattr(time, "monotonic", clock.now)
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda loop: clock.of_loop(loop))
    return clock


@pytest.fixture
def ends() -> Callable[[Callable[[], T]], T]:
    """Run a function in a thread and give what it returned or raised; fail, showing every thread, if it never ends."""

    def run(work: Callable[[], T]) -> T:
        results: list[T] = []
        errors: list[BaseException] = []

        def thread() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)

        worker = threading.Thread(target=thread, daemon=True)
        worker.start()
        worker.join(BOUND_SECONDS)
        if worker.is_alive():
            faulthandler.dump_traceback(all_threads=True)
            pytest.fail(f"no end after {BOUND_SECONDS:.0f} seconds")
        if errors:
            raise errors[0]
        return results[0]

    return run


FAKE_SECRETS = {
    "openai": ("sk-proj-Ab3dEf6hIj9kLmN0pQrStUvWxYz12345", None),
    "anthropic": ("sk-ant-api03-Zx9_wQ7-rT5yUi3oPa1sDf", None),
    "google": ("AIzaSyD3m0Key1234567890abcdefghijklmnop", None),
    "aws id": ("AKIAZ7EXAMPLE4Q2RT6U", None),
    "aws": ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYz"),
    "github": ("ghp_Ab3dEf6hIj9kLmN0pQrStUvWxYz123456789", None),
    "slack": ("xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx", None),
    "stripe": ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", None),
    "jwt": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", None),
    "pem": (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7tFaKe\nq9Zt4mN7yR2wX5vL9k\n-----END RSA PRIVATE KEY-----",
        "MIIEpAIBAAKCAQEA7tFaKe",
    ),
    "url": ("postgresql://app:p4ssW0rd!x@db.internal:5432/shop", "p4ssW0rd!x"),
    "bearer": ("Authorization: Bearer q8Zt-4mN_7yR2wX5vL9k", "q8Zt-4mN_7yR2wX5vL9k"),
    "basic": ("Authorization: Basic dXNlcjpodW50ZXIycGFzcw==", "dXNlcjpodW50ZXIycGFzcw"),
    "generic": ("service_token=Zq7mR2vX9tL4wN8pK3sD6fG1", "Zq7mR2vX9tL4wN8pK3sD6fG1"),
    "env": ("DB_PASSWORD=c0rrect-h0rse-staple\nSESSION_SECRET='n0t.so/secret+value'", "c0rrect-h0rse-staple"),
    "prose": ("the admin password is Tr0ub4dor&3x", "Tr0ub4dor&3x"),
    "card": ("4242 4242 4242 4242", None),
}
"""Kind -> a text with a secret of that kind, and the secret in it, None where all of it is."""


@pytest.fixture(params=FAKE_SECRETS)
def fake_secret(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A text that holds a secret, and the secret."""
    text, secret = FAKE_SECRETS[request.param]
    return text, secret or text


@pytest.fixture
def fake_secrets() -> dict[str, tuple[str, str]]:
    """Kind -> a text that holds a secret of that kind, and the secret."""
    return {kind: (text, secret or text) for kind, (text, secret) in FAKE_SECRETS.items()}
