"""Servers to speak with: a raw one of the 2025 era over stdio, and the SDK's own of both eras over HTTP."""

from __future__ import annotations

import asyncio
import json
import runpy
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pointsman.configs.agents import McpServer
from pointsman.configs.loading.loader import environment
from pointsman.configs.loading.trust import TrustStore
from pointsman.tools import McpServers

OLD = str(Path(__file__).with_name("old_server.py"))
SDK = str(Path(__file__).with_name("sdk_server.py"))
EFFECTS: dict[str, Any] = {"echo": "read", "wipe": "read", "note": "read"}


class Old:
    """Makes `McpServers` with one server, ``old``, and reads what the server noted."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "notes"
        self.file.touch()
        self.made: list[McpServers] = []

    def __call__(self, how: str = "", **options: Any) -> McpServers:
        effects = {} if how in ("listed", "many tools") else EFFECTS
        entry = {"command": sys.executable, "args": ("-IS", OLD, str(self.file), how), "effects": effects, **options}
        self.made.append(McpServers({"old": McpServer(**entry)}, trust=TrustStore(environment())))
        return self.made[-1]

    def noted(self, what: str) -> int:
        """How often it noted a line that begins so."""
        return sum(line.startswith(what) for line in self.file.read_text(encoding="utf-8").splitlines())

    def lists(self, *tools: dict[str, Any]) -> None:
        """Have it list these where it is told to be ``listed``."""
        self.file.with_name("notes.tools").write_text(json.dumps(tools), encoding="utf-8")

    def pids(self) -> list[int]:
        lines = self.file.read_text(encoding="utf-8").splitlines()
        return [int(line.split()[1]) for line in lines if line.startswith("started")]


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Old]:
    made = Old(tmp_path)
    yield made
    for servers in made.made:
        servers.close()


def silent_at_the_end(app: Any, asked: list[str]) -> Any:
    """The same app, which never answers to the end of a session."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("method") == "DELETE":
            asked.append("DELETE")
            await asyncio.sleep(3_600)
        await app(scope, receive, send)

    return wrapped


def old_only(app: Any) -> Any:
    """The same app as one that knows nothing of the stateless protocol."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if headers.get(b"mcp-protocol-version", b"").startswith(b"2026"):
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b"unsupported protocol version"})
            return
        await app(scope, receive, send)

    return wrapped


@pytest.fixture(scope="module")
def sdk_calls() -> list[str]:
    """What the SDK's servers over HTTP were asked."""
    return []


@pytest.fixture(scope="module")
def sdk_urls(listening: Callable[[Any], str], sdk_calls: list[str]) -> dict[str, str]:
    """Era -> the address of a server of the SDK's that speaks it."""
    made = runpy.run_path(SDK)["made"]
    return {
        "2026": listening(made(sdk_calls).streamable_http_app(stateless_http=True)),
        "2025": listening(old_only(made(sdk_calls).streamable_http_app())),
        "silent": listening(old_only(silent_at_the_end(made(sdk_calls).streamable_http_app(), sdk_calls))),
    }


@pytest.fixture(scope="module")
def listening() -> Iterator[Callable[[Any], str]]:
    """Serve an ASGI app on loopback; gives its address."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: Any) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(30)
