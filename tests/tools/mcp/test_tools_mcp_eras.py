"""Servers of each era of the protocol, over stdio and HTTP, as the SDK speaks with them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.agents import McpServer
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Effect, Trust
from pointsman.tools import McpServers, declaration_of, effect_of
from pydantic import SecretStr

SDK = str(Path(__file__).with_name("sdk_server.py"))


@pytest.fixture(scope="module", params=["2026 http", "2025 http", "2026 stdio"])
def sdk(request: pytest.FixtureRequest, sdk_urls: dict[str, str]) -> Iterator[tuple[str, McpServers]]:
    """The era, and servers with the SDK's as ``sdk``."""
    era, _, transport = request.param.partition(" ")
    where: dict[str, Any] = {"url": sdk_urls[era]}
    if transport == "stdio":
        where = {"command": sys.executable, "args": ("-I", SDK)}
    with_effects = {"add": "read", "picture": "read"}
    servers = McpServers({"sdk": McpServer(**where, effects=with_effects)})
    yield era, servers
    servers.close()


@pytest.mark.slow
async def test_a_server_of_the_sdk_is_spoken_with_in_its_own_era(sdk: tuple[str, McpServers]) -> None:
    era, servers = sdk
    await servers.connect(["mcp__sdk__add", "read_file"])
    (server,) = servers
    assert server.protocol.startswith(era)
    add = servers.get("mcp__sdk__add")
    assert add.args["a"]["type"] == "integer"
    assert await add.ainvoke({"a": 2, "b": 40}) == "42"
    assert add.invoke({"a": 1, "b": 1}) == "2"


@pytest.mark.slow
async def test_what_a_tool_answers_is_read_and_never_fetched(sdk: tuple[str, McpServers]) -> None:
    _, servers = sdk
    drawn = await servers.get("mcp__sdk__picture").ainvoke({})
    assert [(block["type"], block["mime_type"]) for block in drawn] == [("image", "image/png")]
    assert await servers.get("mcp__sdk__bomb").ainvoke({}) == (
        "(the picture has 65535 x 65535 pixels; the limit is 20,000,000; not shown)"
    )
    link = "(link to the resource x: http://169.254.169.254/latest, text/plain, not followed)"
    assert await servers.get("mcp__sdk__links").ainvoke({}) == f"see\n{link}"
    assert "no such order" in await servers.get("mcp__sdk__broken").ainvoke({})


def test_a_tool_counts_as_destructive_until_the_user_declares_it_and_what_it_says_is_untrusted(
    sdk: tuple[str, McpServers],
) -> None:
    _, servers = sdk
    effects = {name: effect_of(servers.get(f"mcp__sdk__{name}")) for name in ("add", "picture", "links")}
    assert effects == {"add": Effect.READ, "picture": Effect.READ, "links": Effect.DESTRUCTIVE}
    declared = declaration_of(servers.get("mcp__sdk__add"))
    assert declared is not None
    assert declared.trust is Trust.UNTRUSTED


def test_each_call_reaches_the_server_once(sdk_urls: dict[str, str], sdk_calls: list[str]) -> None:
    sdk_calls.clear()
    for era in ("2026", "2025"):
        servers = McpServers({"sdk": McpServer(url=sdk_urls[era])})
        assert servers.get("mcp__sdk__add").invoke({"a": 1, "b": int(era)}) == str(1 + int(era))
        servers.close()
    assert sdk_calls == ["add 1 2026", "add 1 2025"]


def test_a_host_that_never_answers_to_the_end_of_a_session_is_left(
    sdk_urls: dict[str, str], sdk_calls: list[str], leap: Any, ends: Callable[..., Any]
) -> None:
    sdk_calls.clear()
    servers = McpServers({"sdk": McpServer(url=sdk_urls["silent"])})
    servers.get("mcp__sdk__add")
    with leap.when(lambda: "DELETE" in sdk_calls, 8):
        ends(servers.close)
    assert sdk_calls == ["DELETE"]


def test_headers_go_to_the_configured_host_alone(serve: Callable[..., str]) -> None:
    elsewhere: list[dict[str, str]] = []
    here: list[dict[str, str]] = []
    other = serve(lambda request: (elsewhere.append(request.headers), (200, {}, b"{}"))[1])

    def moved(request: Any) -> tuple[int, dict[str, str], bytes]:
        here.append(request.headers)
        return 307, {"location": f"{other}/mcp"}, b""

    entry = McpServer(url=f"{serve(moved)}/mcp", headers={"x-team": "blue"}, secrets={"Authorization": "TOKEN"})
    servers = McpServers({"away": entry}, secrets={"TOKEN": SecretStr("s3cr3t-value")})
    with pytest.raises(ConfigError, match="the MCP server 'away' cannot be used") as refused:
        servers.get("mcp__away__add")
    servers.close()
    assert (here[0]["authorization"], here[0]["x-team"]) == ("Bearer s3cr3t-value", "blue")
    assert elsewhere == []
    assert "s3cr3t" not in f"{refused.value} {entry!r} {servers!r}"


@pytest.mark.parametrize("flaw", ["large", "packed", "empty"])
def test_an_http_answer_is_bounded(flaw: str, serve: Callable[..., str]) -> None:
    def answer(request: Any) -> Any:
        if flaw == "large":
            return 200, {"content-type": "application/json"}, (b"x" * 1_000_000 for _ in range(40))
        return (
            200,
            {"content-type": "application/json", **({"content-encoding": "gzip"} if flaw == "packed" else {})},
            b"",
        )

    servers = McpServers({"bad": McpServer(url=serve(answer), start_timeout=20)})
    with pytest.raises(ConfigError, match="the MCP server 'bad' cannot be used"):
        servers.get("mcp__bad__x")
    servers.close()


def test_offline_no_server_beyond_this_machine_is_reached(sdk_urls: dict[str, str]) -> None:
    entries = {"away": McpServer(url="https://mcp.example.com"), "here": McpServer(url=sdk_urls["2026"])}
    servers = McpServers(entries, offline=True)
    with pytest.raises(ConfigError, match="'away' is not on this machine, and offline nothing leaves it"):
        servers.get("mcp__away__x")
    assert servers.get("mcp__here__add").invoke({"a": 1, "b": 2}) == "3"
    servers.close()


def _answering(calls: list[str]) -> Any:
    """An app that speaks the 2025 protocol, whose answers to calls are what they ask for."""
    tool = {"name": "echo", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}}
    server = {"protocolVersion": "2025-06-18", "serverInfo": {"name": "raw", "version": "1"}}
    results = {"initialize": {**server, "capabilities": {"tools": {}}}, "tools/list": {"tools": [tool]}}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads((await receive()).get("body") or b"{}")
        method, status, kind = asked.get("method"), 200, b"application/json"
        body = json.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "result": results.get(method)}).encode()
        if method == "tools/call":
            text = asked["params"]["arguments"]["text"]
            calls.append(text)
            said = b'"content": [{"type": "text", "text": "\\ud83d \xff"}]'
            body = b'{"jsonrpc": "2.0", "id": %d, "result": {%s}}' % (asked["id"], said if text != "none" else b"}")
            if text == "stream":
                body, kind = b"event: message\ndata: " + body + b"\n\n", b"text/event-stream"
            status = 500 if text == "fail" else 200
        elif method not in results:
            body = json.dumps(
                {"jsonrpc": "2.0", "id": asked.get("id"), "error": {"code": -32601, "message": "no"}}
            ).encode()
            status = 202 if "id" not in asked else 200
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("whole", "\ufffd \ufffd"),
        ("stream", "\ufffd \ufffd"),
        ("none", "the call may or may not have been carried out"),
        ("fail", "the call may or may not have been carried out"),
    ],
)
async def test_of_an_answer_over_http_is_read_what_can_be_and_nothing_called_refused_that_may_have_happened(
    text: str, told: str, listening: Callable[[Any], str]
) -> None:
    calls: list[str] = []
    servers = McpServers({"raw": McpServer(url=listening(_answering(calls)), effects={"echo": "read"})})
    await servers.connect()
    said = await servers.get("mcp__raw__echo").ainvoke({"text": text})
    servers.close()
    assert (calls, told in said, "refused" in said) == ([text], True, False)


_LIES: dict[str, tuple[bytes, bytes]] = {
    "text": (b"this is no JSON", b"application/json"),
    "cut": (b'{"jsonrpc": "2.0", "id": %d, "result": {', b"application/json"),
    "page": (b"<html>", b"text/html"),
    "another's": (b'{"jsonrpc": "2.0", "id": 4711, "result": {"content": []}}', b"application/json"),
    "nobody's": (b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "what?"}}', b"application/json"),
    "news": (b'{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}', b"application/json"),
    "stream": (b"event: message\ndata: {\n\n", b"text/event-stream"),
}


def _lying(lie: str, era: str, when: str) -> Any:
    """An app of either era that answers one method, or all, with a lie."""
    about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "raw", "version": "1"}}
    more = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"} if era == "2026" else {}
    tool = {"name": "echo", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}}
    results = {
        "2025": {"initialize": {**about, "protocolVersion": "2025-06-18"}},
        "2026": {"server/discover": {**about, **more, "supportedVersions": ["2026-07-28"]}},
    }[era] | {"tools/list": {**more, "tools": [tool]}}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads((await receive()).get("body") or b"{}")
        method, number = asked.get("method"), asked.get("id")
        body, kind = json.dumps({"jsonrpc": "2.0", "id": number, "result": results.get(method)}).encode(), b""
        if number is not None and when in (method, "all"):
            body, kind = _LIES[lie]
            body = body % number if b"%d" in body else body
        elif method not in results:
            failure = {"code": -32601, "message": "no"}
            body = json.dumps({"jsonrpc": "2.0", "id": number, "error": failure}).encode()
        headers = [(b"content-type", kind or b"application/json")]
        await send({"type": "http.response.start", "status": 200 if number is not None else 202, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.mark.parametrize("era", ["2025", "2026"])
@pytest.mark.parametrize("lie", _LIES)
async def test_an_http_answer_that_is_none_fails_at_once_in_one_line_that_names_the_server(
    lie: str, era: str, listening: Callable[[Any], str]
) -> None:
    url = listening(_lying(lie, era, "tools/call"))
    servers = McpServers({"raw": McpServer(url=url, effects={"echo": "read"}, timeout=5_000)})
    await servers.connect()
    assert next(iter(servers)).protocol.startswith(era)
    said = await servers.get("mcp__raw__echo").ainvoke({"text": "x"})
    servers.close()
    assert said.startswith("the MCP server 'raw': ")
    assert said.endswith("the call may or may not have been carried out")
    assert "\n" not in said

    servers = McpServers({"raw": McpServer(url=listening(_lying(lie, era, "all")), start_timeout=5_000)})
    with pytest.raises(ConfigError, match=r"^the MCP server 'raw' cannot be used: [^\n]*$"):
        await servers.connect()
    servers.close()
