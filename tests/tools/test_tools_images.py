"""Images for a model that sees: by their own bytes, bounded, in LangChain's block."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import ToolMessage
from pointsman.tools import ToolFailed, Workspace, image_tools, images


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def _gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0;"


def _jpeg(width: int, height: int) -> bytes:
    app0 = b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0" + bytes(9)
    frame = b"\xff\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1) + bytes(3)
    return b"\xff\xd8" + app0 + b"\xff\xc4\x00\x05\0\0\0" + frame + b"\xff\xda"


def _webp(chunk: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + chunk + struct.pack("<I", len(body)) + body


def _webp_lossy(width: int, height: int) -> bytes:
    return _webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height))


def _webp_lossless(width: int, height: int) -> bytes:
    return _webp(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14))


def _webp_extended(width: int, height: int) -> bytes:
    return _webp(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


KINDS = [
    (_png, "image/png"),
    (_gif, "image/gif"),
    (_jpeg, "image/jpeg"),
    (_webp_lossy, "image/webp"),
    (_webp_lossless, "image/webp"),
    (_webp_extended, "image/webp"),
]


def _read(folder: Path, content: bytes, name: str = "image") -> Any:
    (folder / name).write_bytes(content)
    (tool,) = image_tools(Workspace(folder))
    return tool.invoke({"type": "tool_call", "id": "1", "name": tool.name, "args": {"path": name}})


@pytest.mark.parametrize(("make", "mime_type"), KINDS)
def test_an_image_becomes_a_block_whatever_its_name_says(tmp_path: Path, make: Any, mime_type: str) -> None:
    content = make(640, 480)
    message = _read(tmp_path, content, "notes.txt")
    assert isinstance(message, ToolMessage)
    assert message.content == [{"type": "image", "base64": base64.b64encode(content).decode(), "mime_type": mime_type}]
    assert message.content_blocks[0]["type"] == "image"


@pytest.mark.parametrize(("make", "mime_type"), KINDS)
def test_an_image_with_too_many_pixels_is_refused_by_its_header(tmp_path: Path, make: Any, mime_type: str) -> None:
    assert _read(tmp_path, make(5_000, 4_000)).status == "success"
    message = _read(tmp_path, make(5_001, 4_000))
    assert message.status == "error"
    assert "has 5001 x 4000 pixels; the limit is 20,000,000" in message.content


@pytest.mark.parametrize(("make", "mime_type"), KINDS)
def test_an_image_cut_short_is_refused_or_has_the_same_type(make: Any, mime_type: str) -> None:
    content = make(640, 480)
    answers = set()
    for length in range(len(content)):
        try:
            answers.add(images.mime_type_of("'x'", content[:length]))
        except ToolFailed as refused:
            answers.add(str(refused))
    assert answers <= {
        mime_type,
        "'x' is not a PNG, JPEG, GIF or WebP image",
        f"'x' is a damaged {mime_type} file: its size cannot be read",
    }
    assert any("damaged" in answer for answer in answers)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<?xml version='1.0'?><SVG xmlns='http://www.w3.org/2000/svg'/>", "is SVG"),
        (b"plain text", "is not a PNG"),
        (b"", "is not a PNG"),
        (b"%PDF-1.7", "is not a PNG"),
        (_png(0, 5), "is an empty image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "is a damaged image/png"),
        (b"\xff\xd8\xff\xd9", "is a damaged image/jpeg"),
        (_png(1, 1) + bytes(10_000_000), "is larger than 10,000,000 bytes"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    message = _read(tmp_path, content, "x.png")
    assert message.status == "error"
    assert reason in message.content


@settings(max_examples=300)
@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF1234WEBP"]), st.binary(max_size=80))
def test_no_bytes_make_the_header_reader_fail_otherwise(magic: bytes, rest: bytes) -> None:
    try:
        answer = images.mime_type_of("'x'", magic + rest)
    except ToolFailed as refused:
        answer = str(refused)
    assert answer.startswith(("image/", "'x' "))
