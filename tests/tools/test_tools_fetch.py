"""A URL leads to public addresses only, at every hop, and to no more than fits."""

from __future__ import annotations

import asyncio
import encodings.aliases
import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.words import Effect, Trust
from pointsman.tools import ToolFailed, call_facts, declaration_of, effect_of, fetch_tools
from pointsman.tools.addresses import refusal
from pointsman.tools.fetch import _codec, fetch

HERE = ("127.0.0.1/32",)
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1",
        "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "fe80::1", "fe80::1%eth0",
        "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "::ffff:0a00:0001", "64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "2002:7f00:1::",
        "2001::1", "2001:db8::1", "3fff::1", "2001:10::1", "100::1", "no address", "",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert refusal(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_a_public_address_is_reached(address: str) -> None:
    assert refusal(address) is None


@given(st.integers(0, 2**128 - 1) | st.integers(0x2000 << 112, 0x4000 << 112))
def test_what_python_does_not_call_global_is_refused(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    if (
        refusal(str(address)) is None
        and address.ipv4_mapped is None
        and address not in ipaddress.ip_network("64:ff9b::/96")
    ):
        assert address.is_global


@given(st.ip_addresses(v=4))
def test_no_form_of_an_ipv4_address_is_reached_that_the_plain_one_is_not(address: ipaddress.IPv4Address) -> None:
    forms = [f"::ffff:{address}", f"64:ff9b::{address}"]
    assert [bool(refusal(form)) for form in forms] == [bool(refusal(str(address)))] * 2
    if refusal(str(address)) is None:
        assert address.is_global


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
    ],
)
async def test_no_spelling_of_this_machine_is_reached(host: str, serve: Callable[..., str]) -> None:
    asked: list[str] = []
    url = serve(lambda request: (asked.append(request.path), (200, {"content-type": "text/plain"}, b"inside"))[1])
    with pytest.raises(
        ToolFailed, match=r"is not reached: .* is not a public address|has no address|Invalid IPv4 address"
    ):
        await fetch(url.replace("127.0.0.1", host))
    assert asked == []


@pytest.mark.slow
async def test_every_redirect_is_checked_anew(serve: Callable[..., str]) -> None:
    inside: list[str] = []
    secret = serve(lambda request: (inside.append(request.path), (200, {}, b"secret"))[1])
    for there in (
        secret.replace("127.0.0.1", "127.0.0.2"),
        "http://169.254.169.254/latest",
        "http://[::ffff:10.0.0.1]/",
    ):
        start = serve(lambda _, there=there: (302, {"location": there}, b""))
        with pytest.raises(ToolFailed, match="is not a public address"):
            await fetch(start, allowed=HERE)
    for there in ("file:///etc/passwd", "gopher://127.0.0.1/"):
        start = serve(lambda _, there=there: (302, {"location": there}, b""))
        with pytest.raises(ToolFailed, match="must begin with https:// or http://"):
            await fetch(start, allowed=HERE)
    assert inside == []


async def test_a_name_is_resolved_once_a_hop_and_connected_to_at_that_address(serve: Callable[..., str]) -> None:
    hosts: list[str] = []

    def answer(request: Any) -> Any:
        hosts.append(request.headers["host"])
        return 200, {"content-type": "text/plain; charset=latin-1"}, b"caf\xe9"

    port = serve(answer).rpartition(":")[2]
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    found = await fetch(f"http://rebind.example:{port}/page", allowed=HERE, resolve=rebinding)
    assert (found.content, found.charset, found.url) == (b"caf\xe9", "latin-1", f"http://rebind.example:{port}/page")
    assert (asked, hosts) == (["rebind.example"], [f"rebind.example:{port}"])
    with pytest.raises(ToolFailed, match=r"'rebind.example' is not reached: 169.254.169.254 is not a public address"):
        await fetch(f"http://rebind.example:{port}/page", allowed=HERE, resolve=rebinding)


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    async def both(host: str, port: int) -> Sequence[str]:
        return ["1.1.1.1", "10.0.0.1"]

    with pytest.raises(ToolFailed, match=r"10\.0\.0\.1 is not a public address"):
        await fetch("http://both.example/", resolve=both)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {}, (b"x" * 1_000_000 for _ in range(40))), "the answer is larger than 10,000,000 bytes"),
        ((200, {"content-encoding": "gzip"}, b"\x1f\x8b"), "compressed"),
        ((404, {}, b"gone"), "the server answered 404"),
        ((302, {"location": "/"}, b""), "over more than 5 redirects"),
    ],
)
async def test_an_answer_is_bounded(answer: Any, said: str, serve: Callable[..., str]) -> None:
    with pytest.raises(ToolFailed, match=said):
        await fetch(serve(lambda _: answer), allowed=HERE)


async def test_a_server_that_is_silent_is_given_up(serve: Callable[..., str]) -> None:
    import threading

    never = threading.Event()

    def silent(_: Any) -> Any:
        never.wait(60)
        return 200, {}, b""

    with pytest.raises(ToolFailed, match=r"took longer than 0\.1 s"):
        await fetch(serve(silent), allowed=HERE, seconds=0.1)
    never.set()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.example",
        "//x.example",
        "http://",
        "http://a:b@x.example",
        "http://x.example/" + "a" * 3_000,
        "http://[::1",
        "x",
    ],
)
async def test_what_is_no_url_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(ToolFailed):
        await fetch(url)


@pytest.mark.parametrize(
    ("kind", "body", "heard"),
    [
        ("text/html; charset=utf-16", "<p>hé".encode("utf-16"), "<p>hé"),
        ("text/plain; charset=zlib", b"plain", "plain"),
        ("text/plain; charset=punycode", b"plain-text", "plain-text"),
        ("text/plain; charset=undefined", b"plain", "plain"),
        ("text/plain; charset=unicode_escape", b"\\ud800", "\\ud800"),
        ("application/json", b'{"a": 1}', '{"a": 1}'),
        (
            "image/png",
            PNG[:16] + b"\x00\x00\xff\xff" * 2,
            "the image has 65535 x 65535 pixels; the limit is 20,000,000",
        ),
        ("image/svg+xml", b"<!DOCTYPE x [<!ENTITY a 'b'>]><svg/>", "the image is SVG, which can hold scripts"),
        ("application/zip", b"PK", "it is of the type 'application/zip', and neither a text nor an image"),
    ],
)
def test_the_tool_gives_texts_and_images_that_are_small_enough(
    kind: str, body: bytes, heard: str, serve: Callable[..., str]
) -> None:
    (tool,) = fetch_tools(allowed=HERE)
    url = serve(lambda _: (200, {"content-type": kind}, body))
    assert asyncio.run(tool.ainvoke({"url": url})).startswith(heard)


@pytest.mark.parametrize(
    "charset", sorted({*encodings.aliases.aliases.values(), "idna", "undefined", "unicode_escape"})
)
@given(content=st.binary(max_size=40))
def test_whatever_charset_a_server_names_its_text_can_be_written_down(charset: str, content: bytes) -> None:
    for one in (content, b"\\ud800 +2AA-", content + b"\x00\xd8\x00\x00"):
        one.decode(_codec(charset), "replace").encode("utf-8")


def test_the_tool_leaves_the_machine_to_read_and_its_answer_is_untrusted(serve: Callable[..., str]) -> None:
    (tool,) = fetch_tools(allowed=HERE)
    declared = declaration_of(tool)
    assert declared is not None
    assert (effect_of(tool), declared.only_reads, declared.trust) == (Effect.EXTERNAL, True, Trust.UNTRUSTED)
    assert call_facts(tool, {"url": "https://x.example"}).targets == {"url": "https://x.example"}
    (seen,) = tool.invoke({"url": serve(lambda _: (200, {"content-type": "image/png"}, PNG))})
    assert (seen["type"], seen["mime_type"]) == ("image", "image/png")
