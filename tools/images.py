"""Read an image of a workspace for a model with vision."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Annotated, Any

from langchain_core.tools import BaseTool
from pydantic import Field

from .base import ToolFailed
from .decorator import tool
from .files.workspace import Workspace, shown

__all__ = ["image_tools", "mime_type_of"]

_BYTES = 10_000_000
_PIXELS = 20_000_000
# A small file can decompress to gigabytes, so the size is read from the header and nothing is decompressed.

Size = tuple[int, int]


def image_tools(workspace: Workspace) -> list[BaseTool]:
    """Return ``read_image``, bound to a workspace: PNG, JPEG, GIF or WebP as an image block."""

    def read_image(
        path: Annotated[str, Field(description="Path relative to the workspace.")],
    ) -> list[dict[str, Any]]:
        """Look at an image: PNG, JPEG, GIF or WebP, at most 10 MB and 20 megapixels."""
        with workspace.reading(path) as file:
            content = file.read(_BYTES + 1)
        mime_type = mime_type_of(shown(path), content)
        return [{"type": "image", "base64": base64.b64encode(content).decode("ascii"), "mime_type": mime_type}]

    return [tool(read_image, effect="read", target="path")]


def mime_type_of(name: str, content: bytes) -> str:
    """Return an image's MIME type from its first bytes, whatever its name, after checking that it is small enough.

    Args:
        name: How to name it in messages.
        content: The image; it is not decompressed.

    Raises:
        ToolFailed: If it is too large, damaged, or not in a format that models accept.
    """
    if len(content) > _BYTES:
        raise ToolFailed(f"{name} is larger than {_BYTES:,} bytes")
    for mime_type, is_this, size_of in _KINDS:
        if not is_this(content):
            continue
        try:
            width, height = size_of(content)
        except (struct.error, IndexError, ValueError):
            raise ToolFailed(f"{name} is a damaged {mime_type} file: its size cannot be read") from None
        if not width or not height:
            raise ToolFailed(f"{name} is an empty image ({width} x {height})")
        if width * height > _PIXELS:
            raise ToolFailed(f"{name} has {width} x {height} pixels; the limit is {_PIXELS:,}")
        return mime_type
    if b"<svg" in content[:4096].lower():
        raise ToolFailed(f"{name} is SVG, which can hold scripts and links: read it as text")
    raise ToolFailed(f"{name} is not a PNG, JPEG, GIF or WebP image")


def _png(content: bytes) -> Size:
    # PNG (ISO 15948), 11.2.2: IHDR comes first and begins with width and height.
    if content[12:16] != b"IHDR":
        raise ValueError("no IHDR")
    width, height = struct.unpack_from(">II", content, 16)
    return width, height


def _gif(content: bytes) -> Size:
    # GIF89a, section 18: the logical screen's size follows the signature.
    width, height = struct.unpack_from("<HH", content, 6)
    return width, height


def _jpeg(content: bytes) -> Size:
    # ITU-T T.81, B.1.1 and B.2.2: segments until a frame header (SOF0..SOF15 without DHT, JPG and DAC).
    at = 2
    while True:
        if content[at] != 0xFF:
            raise ValueError("no marker")
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        elif marker == 0x01 or marker in range(0xD0, 0xD8):  # markers without a segment
            at += 2
        elif marker in (0xD9, 0xDA):
            raise ValueError("no frame header before the image data")
        else:
            at += 2 + max(2, struct.unpack_from(">H", content, at + 2)[0])


def _webp(content: bytes) -> Size:
    # RFC 9649, sections 2.5 (VP8), 2.6 (VP8L) and 2.7 (VP8X).
    kind = content[12:16]
    if kind == b"VP8 ":
        if content[23:26] != b"\x9d\x01\x2a":
            raise ValueError("no key frame")
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        if content[20] != 0x2F:
            raise ValueError("no VP8L signature")
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (24, 27))
        if len(content) < 30:
            raise ValueError("cut short")
        return width, height
    raise ValueError("no image chunk")


_KINDS: tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], Size]], ...] = (
    ("image/png", lambda content: content.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    ("image/jpeg", lambda content: content.startswith(b"\xff\xd8\xff"), _jpeg),
    ("image/gif", lambda content: content.startswith((b"GIF87a", b"GIF89a")), _gif),
    ("image/webp", lambda content: content.startswith(b"RIFF") and content[8:12] == b"WEBP", _webp),
)
