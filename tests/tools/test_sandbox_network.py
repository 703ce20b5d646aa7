"""The network of a confined command: nothing, or a few domains over HTTP and HTTPS, at public addresses alone."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from pointsman.configs.words import Effect
from pointsman.tools import Sandbox, Workspace, effect_of, probe, shell_tool
from pointsman.tools.sandbox.confined import Confined
from pointsman.tools.sandbox.network import Proxy, is_public
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True), ("2606:2800:21f:cb07::1", True), ("::ffff:93.184.215.14", True),
        ("64:ff9b::5db8:d70e", True), ("127.0.0.1", False), ("127.9.9.9", False), ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False), ("192.168.1.1", False), ("169.254.169.254", False), ("100.100.100.200", False),
        ("192.0.2.1", False), ("198.18.0.1", False), ("224.0.0.1", False), ("255.255.255.255", False), ("::", False),
        ("::1", False), ("fe80::1%eth0", False), ("fd00:ec2::254", False), ("ff02::1", False), ("2001:db8::1", False),
        ("::ffff:169.254.169.254", False), ("::127.0.0.1", False), ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("64:ff9b:1::1", False), ("localhost", False), ("", False),
    ],
)  # fmt: skip
def test_only_addresses_of_the_public_internet_may_be_connected_to(address: str, public: bool) -> None:
    assert is_public(address) is public


class _Hello(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(f"{self.headers['Host']} {self.path} {self.headers.get('Proxy-Authorization')}")
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://elsewhere.example/secret")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def site() -> Iterator[int]:
    """The port of a site on this machine."""
    _Hello.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hello) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


async def _said(ask: bytes, *, domains: tuple[str, ...], names: dict[str, list[str]], permits: object = None) -> str:
    """What a proxy says to a request, in which names lead to addresses as given."""

    async def resolve(host: str, port: int) -> list[tuple[str, int]]:
        return [(address, port) for address in names.get(host, [])]

    proxy = Proxy(
        domains, resolve=resolve, permits=(lambda address: address == "127.0.0.1") if permits is None else is_public
    )
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.setblocking(False)
    await proxy.serve(listener)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ask)
        async with asyncio.timeout(240):
            said = (await reader.read()).decode()
        writer.close()
        return said
    finally:
        await proxy.close()


async def test_an_allowed_domain_is_reached_at_its_address_and_its_name(site: int) -> None:
    domains = (f"shop.example:{site}", f"*.maps.example:{site}")
    names = {name: ["127.0.0.1"] for name in ("shop.example", "a.maps.example")}
    ask = f"GET http://shop.example:{site}/a?b=c HTTP/1.1\r\nHost: other.example\r\nProxy-Authorization: x\r\n\r\n"
    assert (await _said(ask.encode(), domains=domains, names=names)).endswith("hello")
    assert _Hello.asked == [f"shop.example:{site} /a?b=c None"]
    tunnel = f"CONNECT A.maps.example.:{site} HTTP/1.1\r\n\r\nGET /b HTTP/1.0\r\n\r\n"
    said = await _said(tunnel.encode(), domains=domains, names=names)
    assert said.startswith("HTTP/1.1 200 Connection established")
    assert said.endswith("hello")


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example:{0}/", "http://shop.example/", "http://evilshop.example:{0}/", "http://maps.example:{0}/",
        "http://127.0.0.1:{0}/", "http://[::1]:{0}/", "http://2130706433:{0}/", "http://shop.example:{0}@evil.example/",
        "https://shop.example:{0}/", "ftp://shop.example:{0}/", "file:///etc/passwd", "/", "http://", "http://shop.example:99999/",
        "http://evil.example\0.maps.example:{0}/", "http://evil example.maps.example:{0}/", "http://%61.maps.example:{0}/",
        "http://" + "a" * 64 + ".maps.example:{0}/",
    ],
)  # fmt: skip
async def test_everything_else_is_refused_before_any_name_is_asked_about(site: int, url: str) -> None:
    domains = (f"shop.example:{site}", f"*.maps.example:{site}")
    said = await _said(f"GET {url.format(site)} HTTP/1.1\r\n\r\n".encode(), domains=domains, names={})
    assert said.split()[1] in ("400", "403")
    assert "leads to an address" not in said
    assert _Hello.asked == []


@pytest.mark.parametrize(
    "field",
    [
        "Host : evil.example",
        " Host: evil.example",
        "A: b\nHost: evil.example",
        "A: b\rHost: evil.example",
        "A: b\0",
        "A",
    ],
)
async def test_no_second_host_is_smuggled_past_the_one_that_was_looked_at(site: int, field: str) -> None:
    ask = f"GET http://shop.example:{site}/ HTTP/1.1\r\nB: c\r\n{field}\r\n\r\n".encode()
    said = await _said(ask, domains=(f"shop.example:{site}",), names={"shop.example": ["127.0.0.1"]})
    assert said.startswith("HTTP/1.1 400")
    ask = f"GET\nHost:evil.example http://shop.example:{site}/ HTTP/1.1\r\n\r\n".encode()
    assert (await _said(ask, domains=(f"shop.example:{site}",), names={})).startswith("HTTP/1.1 400")
    assert _Hello.asked == []


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["169.254.169.254"], ["93.184.215.14", "10.0.0.1"], []])
async def test_a_name_that_leads_into_a_network_of_ones_own_is_refused_whatever_else_it_leads_to(
    site: int, addresses: list[str]
) -> None:
    ask = f"CONNECT shop.example:{site} HTTP/1.1\r\n\r\n".encode()
    said = await _said(ask, domains=(f"shop.example:{site}",), names={"shop.example": addresses}, permits=is_public)
    assert said.startswith("HTTP/1.1 403")
    assert "not a public one" in said


@pytest.mark.parametrize(
    "domain", ["http://example.org", "*", "*.*", "a b.org", "example.org:x", "-x.org", "*example.org"]
)
def test_what_is_no_domain_is_told(domain: str) -> None:
    with pytest.raises(ValidationError, match="is not a domain"):
        Sandbox(domains=(domain,))


FETCH = """
import sys, urllib.request, urllib.error
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=60).read().decode())
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode().strip())
"""


async def _fetched(run: Callable[[str, dict[str, str]], Awaitable[object]], *urls: str) -> str:
    command = f"env -u no_proxy -u NO_PROXY {sys.executable} -S - {' '.join(urls)} <<'END'\n{FETCH}\nEND"
    return str(await run(command, {"PATH": os.environ["PATH"]}))


@pytest.mark.skipif(not probe().working, reason=str(probe()))
async def test_from_inside_a_domain_is_reached_and_where_it_sends_one_is_not(site: int, tmp_path: Path) -> None:
    sandbox = Sandbox(domains=(f"localhost:{site}",), timeout=600)
    assert effect_of(shell_tool(Workspace(tmp_path), sandbox)) is Effect.EXTERNAL
    bash = str(shutil.which("bash"))

    def confined(permits: Callable[[str], bool]) -> Confined:
        return Confined(Workspace(tmp_path), sandbox, bash=bash, kept=10_000, permits=permits)

    said = await _fetched(confined(lambda _: True).run, f"http://LOCALHOST:{site}/in", f"http://localhost:{site}/away")
    assert "hello" in said
    assert "403 elsewhere.example:80 is not among the domains that this run may reach" in said
    assert [line.split()[1] for line in _Hello.asked] == ["/in", "/away"]
    assert "network: elsewhere.example:80 is not among" in said
    said = await _fetched(confined(is_public).run, f"http://localhost:{site}/again")
    assert "403 localhost leads to an address that is not a public one" in said
    assert len(_Hello.asked) == 2
    # What opened the way is not there for the command: no socket is inherited, and none of another kind can be made.
    seen = "ls -l /proc/self/fd /proc/1/fd | grep -c socket; env | grep -c _PROXY=http"
    assert "stdout:\n0\n3" in str(await confined(is_public).run(seen, {"PATH": os.environ["PATH"]}))
