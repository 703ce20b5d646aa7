"""What a server's tool answered, prepared for a model: bounded, without invisible characters, nothing fetched."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from ..base import ToolFailed
from ..fitting import LONGEST, fitted
from ..images import mime_type_of
from .offered import visible

if TYPE_CHECKING:
    from mcp_types import CallToolResult

__all__ = ["told"]


def told(result: CallToolResult) -> str | list[dict[str, Any]]:
    """Return what a model reads: a text, or content blocks if there are pictures.

    Structured content is used only if the server sent no text; a link to a resource is named, not followed.

    Args:
        result: The server's answer.

    Raises:
        ToolFailed: The server says that the call failed.
    """
    blocks = [_block(block) for block in result.content]
    texts = [block["text"] for block in blocks if "text" in block]
    if not texts and result.structured_content is not None:
        texts = [visible(json.dumps(result.structured_content, ensure_ascii=False))]
        blocks = [{"type": "text", "text": texts[0]}, *blocks]
    if result.is_error:
        raise ToolFailed(fitted("\n".join(texts), LONGEST) or "the tool failed and does not say why")
    if len(texts) == len(blocks):
        return fitted("\n".join(texts), LONGEST)
    return blocks


def _block(block: Any) -> dict[str, Any]:
    match block.type:
        case "text":
            return _text(block.text)
        case "image":
            return _image(block.data, block.mime_type)
        case "audio":
            return _text(f"(sound of the type {block.mime_type}, {len(block.data) * 3 // 4:,} bytes, not shown)")
        case "resource_link":
            return _text(f"(link to the resource {block.name}: {block.uri}{_typed(block.mime_type)}, not followed)")
        case "resource" if hasattr(block.resource, "text"):
            return _text(f"(resource {block.resource.uri})\n{block.resource.text}")
        case "resource":
            size = len(block.resource.blob) * 3 // 4
            return _text(
                f"(resource {block.resource.uri}{_typed(block.resource.mime_type)}, {size:,} bytes, not shown)"
            )
        case _:
            return _text(f"(content of the type {block.type}, not shown)")


def _typed(mime_type: str | None) -> str:
    return f", {mime_type}" if mime_type else ""


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": visible(fitted(text, LONGEST))}


def _image(data: str, said: str) -> dict[str, Any]:
    try:
        content = base64.b64decode(data, validate=True)
        mime_type = mime_type_of("the picture", content)
    except (binascii.Error, ValueError):
        return _text(f"(a picture of the type {said} that is no base64, not shown)")
    except ToolFailed as failure:
        return _text(f"({failure}; not shown)")
    return {"type": "image", "base64": data, "mime_type": mime_type}
