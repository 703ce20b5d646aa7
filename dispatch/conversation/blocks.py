"""Convert content blocks of any vendor into a form that the next model's client accepts."""

from __future__ import annotations

import base64
import binascii
import json
import math
import mimetypes
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from .dialects import Dialect

__all__ = [
    "EMPTY", "Block", "CannotCarry", "Carrier", "Kind", "clean", "cleaned", "is_inline", "kind_of", "paired",
    "text_of", "with_types",
]  # fmt: skip

Block = dict[str, Any]
Kind = Literal["text", "refusal", "image", "file", "audio", "video", "thought", "call", "server", "wrapped", "unknown"]

_DATA_URL: Final = re.compile(r"data:(?P<mime>[^;,]+)(?:;[^;,]+)*;base64,(?P<data>.+)", re.DOTALL)
_PDF: Final = "application/pdf"
_SAME: Final = MappingProxyType({"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"})
_MAGIC: Final[Mapping[bytes, str]] = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"BM": "image/bmp",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"<svg": "image/svg+xml",
}
_HEIF: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"})
_TEXTS: Final = frozenset(
    {"application/json", "application/x-ndjson", "application/jsonl", "application/xml", "application/yaml",
     "application/x-yaml", "application/toml", "application/sql", "application/javascript", "application/csv"}
)  # fmt: skip
EMPTY: Final = "(empty)"
_RISKY: Final = re.compile(r"NaN|Infinity|\d[eE]\+?\d{3}")
_DEEP: Final = 200
"""The number of brackets from which a text may be nested too deeply to parse."""


def paired(text: str) -> str:
    """Replace a text's lone surrogates, which have no UTF-8, and join surrogate pairs."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean(text: str) -> str:
    """Replace the characters in a text that no vendor accepts: lone surrogates and NUL."""
    text = paired(text)
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text


def cleaned(value: Any, clean: Callable[[str], str] = clean, *, finite: bool = False) -> Any:
    """Clean every text in a JSON value; return the same object if there is nothing to change.

    Args:
        value: The JSON value.
        clean: Applied to each text.
        finite: Whether to turn NaN and the infinities into texts, since JSON has none.
    """
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return str(value) if finite and not math.isfinite(value) else value
    if isinstance(value, Mapping):
        made = {clean(str(key)): cleaned(inner, clean, finite=finite) for key, inner in value.items()}
        same = list(made) == list(value) and all(made[key] is inner for key, inner in value.items())
        return value if same else made
    if isinstance(value, list):
        items = [cleaned(inner, clean, finite=finite) for inner in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


def _is_unsendable(text: str) -> bool:
    """Return whether a text parses as JSON, but to a value that cannot be serialized again."""
    if not _RISKY.search(text) and text.count("[") + text.count("{") < _DEEP:
        return False
    try:
        value = json.loads(text)
        return cleaned(value, str, finite=True) is not value
    except ValueError:
        return False
    except RecursionError:
        return True


def with_types(content: str | Sequence[Any]) -> Any:
    """Add a MIME type to media that lack one, judging images by their bytes, since LangChain requires it.

    Args:
        content: A message's content.

    Returns:
        The content; the same object if nothing is missing.
    """
    if isinstance(content, str):
        return content
    made = [_with_type(block) for block in content]
    return content if all(new is old for new, old in zip(made, content, strict=True)) else made


def _with_type(block: Any) -> Any:
    if not isinstance(block, Mapping) or block.get("mime_type"):
        return block
    kind, data = block.get("type"), block.get("base64") or (block.get("source_type") == "base64" and block.get("data"))
    if kind not in ("image", "audio", "video", "file") or not isinstance(data, str):
        return block
    try:
        told = _type_of(data) if kind == "image" else _PDF if kind == "file" else ""
    except CannotCarry:
        told = ""
    return {**block, "mime_type": told or f"{kind}/*"}


class CannotCarry(Exception):
    """Part of the conversation has no form that the model accepts; the message says which."""


def _by_kind(**types: str) -> Mapping[str, Kind]:
    return MappingProxyType({name: kind for kind, names in types.items() for name in names.split()})  # type: ignore[misc]


# Block types of LangChain v0 and v1, Anthropic's Messages, OpenAI's Chat Completions and Responses, Gemini's parts as
# langchain-google-genai writes them, and Bedrock's Converse.
_KINDS: Final = _by_kind(
    text="text output_text input_text text-plain",
    refusal="refusal",
    image="image image_url input_image",
    file="file document input_file",
    audio="audio input_audio",
    video="video",
    thought="thinking redacted_thinking reasoning reasoning_content function_call_signature",
    call="tool_use tool_call tool_call_chunk invalid_tool_call function_call custom_tool_call input_json_delta",
    server="server_tool_use server_tool_call server_tool_call_chunk server_tool_result mcp_tool_use mcp_call "
    "mcp_list_tools web_search_call file_search_call code_interpreter_call image_generation_call executable_code "
    "code_execution_result tool_search_call tool_search_output container_upload",
    wrapped="non_standard",
)


def kind_of(block: Mapping[str, Any]) -> Kind:
    """Return the kind of a block by its type, and of Gemini's ``media`` by its MIME type."""
    name = str(block.get("type", ""))
    if name == "text" and block.get("source_type") == "text":
        return "text"
    if name in ("media", "file_data"):
        family = str(block.get("mime_type") or "").partition("/")[0]
        return family if family in ("image", "audio", "video") else "file"  # type: ignore[return-value]
    if name in _KINDS:
        return _KINDS[name]
    return "server" if name.endswith("_tool_result") else "unknown"


def text_of(block: Mapping[str, Any]) -> str | None:
    """Return the readable text of a block; None if it has none."""
    for key in ("text", "refusal"):
        if isinstance(block.get(key), str):
            return str(block[key])
    return None


@dataclass(frozen=True, slots=True)
class _Source:
    """The location of a medium's bytes: one of data (base64), url, id of an upload, or plain text."""

    mime: str = ""
    data: str = ""
    url: str = ""
    id: str = ""
    text: str = ""
    name: str = ""


class Carrier:
    """Converts content blocks for one model.

    Args:
        dialect: What its backend accepts.
        inputs: Its input modalities.
    """

    def __init__(self, dialect: Dialect, inputs: frozenset[str]) -> None:
        self._dialect = dialect
        self._inputs = inputs

    def content(self, content: str | Sequence[Any], *, text_only: bool = False) -> Any:
        """Convert the content of a user or system message; return the same object if nothing changes.

        Args:
            content: A message's content.
            text_only: Whether media are not allowed.

        Raises:
            CannotCarry: Part of it has no form that the model accepts.
        """
        if isinstance(content, str):
            return clean(content) if content.strip() else EMPTY
        carried = self._all(content)
        if text_only and any(block.get("type") != "text" for block in carried):
            raise CannotCarry("a system message holds something else than text")
        if not carried:
            return EMPTY
        return content if _unchanged(carried, content) else carried

    def result(self, content: str | Sequence[Any]) -> tuple[Any, list[Block]]:
        """Convert the content of a tool's result.

        Returns:
            Its content, and the media that had to be moved out of it.

        Raises:
            CannotCarry: Part of it has no form that the model accepts.
        """
        if isinstance(content, str):
            if self._dialect.reads_results and _is_unsendable(content):
                # In a block it stays a text.
                return [{"type": "text", "text": clean(content)}], []
            return (clean(content) if content.strip() else EMPTY), []
        carried = self._all(content)
        if not carried:
            return EMPTY, []
        stays = self._dialect.tool_media and not any("file_uri" in block for block in carried)
        moved = [] if stays else [block for block in carried if kind_of(block) not in ("text", "unknown")]
        if not moved:
            return (content if _unchanged(carried, content) else carried), []
        texts = [block["text"] for block in carried if block.get("type") == "text"]
        noun = "attachment" if len(moved) == 1 else "attachments"
        return "\n".join([*texts, f"[{len(moved)} {noun}: see the next message]"]), moved

    def kept(self, content: str | Sequence[Any]) -> Any:
        """Keep the model's own words unchanged, except for blocks that its API returns but does not accept back.

        Args:
            content: A message's content.
        """
        content = cleaned(content, finite=True)
        if isinstance(content, str):
            return content if content.strip() else ""
        kept = [block for block in content if not self._is_refused(block)]
        return content if len(kept) == len(content) else kept or ""

    def _is_refused(self, block: Any) -> bool:
        if not isinstance(block, Mapping):
            return not str(block).strip()
        if block.get("type") == "text":
            # An empty text may come with a signature.
            return not (text_of(block) or "").strip() and not block.get("extras")
        return self._dialect.signed and block.get("type") == "thinking" and not block.get("signature")

    def said(self, content: str | Sequence[Any]) -> tuple[str, list[Block]]:
        """Convert the words of another vendor's model: its text as one, and the media it made.

        Its thoughts and its calls in the vendor's own format are dropped: no other model can use the former, and the
        latter are also in the message's ``tool_calls``.

        Raises:
            CannotCarry: It holds an unknown block without a text.
        """
        if isinstance(content, str):
            return (clean(content) if content.strip() else ""), []
        text, apart = "", False
        media: list[Block] = []
        for block in map(_unwrapped, content):
            kind = kind_of(block)
            words = text_of(block) if kind in ("text", "refusal", "unknown") else None
            if words is not None:
                text = f"{text}\n\n{words}" if apart and text and words else text + words
                apart = False
            elif kind in ("image", "file", "audio", "video"):
                media.append(self._medium(block, kind))
                apart = True
            elif kind == "unknown":
                raise CannotCarry(f"an answer holds a {block.get('type')!r} block, which only its maker can read")
            else:
                apart = apart or kind != "thought"
        return (clean(text) if text.strip() else ""), media

    def _all(self, content: Sequence[Any]) -> list[Block]:
        carried = [self._carry(_unwrapped(block)) for block in content]
        return [block for block in carried if block.get("type") != "text" or block["text"].strip()]

    def _carry(self, block: Mapping[str, Any]) -> Block:
        kind = kind_of(block)
        if kind in ("image", "file", "audio", "video"):
            return self._medium(block, kind)
        if block.get("type") in self._dialect.native or block.keys() & self._dialect.native:
            return dict(block)
        text = text_of(block)
        if text is None:
            raise CannotCarry(f"a message holds a {block.get('type')!r} block, which it does not take")
        marks = {key: value for key, value in block.items() if key in self._dialect.marks}
        return {"type": "text", "text": clean(text), **marks}

    def _medium(self, block: Mapping[str, Any], kind: Kind) -> Block:
        source = _source(block)
        mime = source.mime or (_PDF if kind == "file" else "")
        native = block.get("type") in self._dialect.native
        if kind == "file" and _is_text(mime) and not native:
            text = source.text or _decoded(source.data)
            if text.strip():
                return {"type": "text", "text": clean(text)}
        if kind == "image" and not source.id:
            return self._image(block, source)
        modality = "pdf" if mime == _PDF else "text" if kind == "file" and mime.startswith("text/") else kind
        if modality not in self._inputs:
            raise CannotCarry(f"it takes no {mime if modality == 'file' else modality} input")
        if source.id and not (self._dialect.file_id and self._dialect.file_id.match(source.id)):
            raise CannotCarry(f"a {kind} is an upload that only another provider has")
        if kind == "file" and source.url and not self._dialect.file_urls:
            raise CannotCarry("it takes no file by its URL")
        if self._dialect.linked and source.url:
            return _linked(source, mime)
        if native or _is_common(block, kind) or (self._dialect.sources and "source" in block):
            return dict(block)
        return _medium_block(kind, source, mime)

    def _image(self, block: Mapping[str, Any], source: _Source) -> Block:
        """Convert an image, with the MIME type of its bytes, whatever its declared type."""
        if "image" not in self._inputs:
            raise CannotCarry("it takes no image input")
        if not source.data:
            if not source.url or source.url.startswith("data:"):
                raise CannotCarry("an image has neither data nor a URL")
            if self._dialect.linked:
                return _linked(source, source.mime)
            return dict(block) if _is_common(block, "image") else _seen(block, {"url": source.url})
        mime = _type_of(source.data) or _SAME.get(source.mime, source.mime)
        if mime not in self._dialect.images:
            raise CannotCarry(f"it takes no {mime or 'image of a type nobody told'}: give it as PNG or JPEG")
        if mime == source.mime and (_is_common(block, "image") or (self._dialect.sources and "source" in block)):
            return dict(block)
        return _seen(block, {"base64": source.data, "mime_type": mime})


def _seen(block: Mapping[str, Any], how: Block) -> Block:
    """Return an image in LangChain's format, or in OpenAI's if its block sets a ``detail`` level."""
    inner = block.get("image_url")
    detail = inner.get("detail") if isinstance(inner, Mapping) else block.get("detail")
    if detail is None:
        return {"type": "image", **how}
    url = how.get("url") or f"data:{how['mime_type']};base64,{how['base64']}"
    return {"type": "image_url", "image_url": {"url": url, "detail": detail}}


def _linked(source: _Source, mime: str) -> Block:
    """Return a medium that the provider fetches itself, in the format of Google's client."""
    mime = mime or mimetypes.guess_type(urlsplit(source.url).path)[0] or ""
    return {"type": "media", "file_uri": source.url, **({"mime_type": mime} if mime else {})}


def _type_of(data: str) -> str:
    """Return an image's MIME type by its first bytes (magic numbers of its format); empty if they match none."""
    try:
        head = base64.b64decode(re.sub(r"\s", "", data[:64])[:40], validate=True)
    except (binascii.Error, ValueError):
        raise CannotCarry("an image is not base64") from None
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return "image/heic" if head[8:11] == b"hei" else "image/heif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in _MAGIC.items() if head.startswith(magic)), "")


def _is_text(mime: str) -> bool:
    return mime.startswith("text/") or mime in _TEXTS or mime.endswith(("+json", "+xml", "+yaml"))


def _unchanged(carried: list[Block], content: Sequence[Any]) -> bool:
    return len(carried) == len(content) and all(new == old for new, old in zip(carried, content, strict=True))


def _unwrapped(block: Any) -> Mapping[str, Any]:
    if isinstance(block, str):
        return {"type": "text", "text": block}
    wraps = block.get("type") == "non_standard" and isinstance(block.get("value"), dict)
    return block["value"] if wraps else block  # type: ignore[no-any-return]  # what clients write


def _is_common(block: Mapping[str, Any], kind: Kind) -> bool:
    """Return whether a block is in LangChain's v1 format, which every client reads."""
    if block.get("type") != kind or "source_type" in block:
        return False
    if "base64" in block:
        return bool(block.get("mime_type")) and (kind != "file" or "filename" in block)
    return "url" in block or "file_id" in block


def _medium_block(kind: Kind, source: _Source, mime: str) -> Block:
    if source.data:
        block = {"type": kind, "base64": source.data, "mime_type": mime or f"{kind}/*"}
        # OpenAI requires a file to have a name.
        return {**block, "filename": source.name or "document.pdf"} if kind == "file" else block
    named = {"mime_type": mime} if mime else {}
    if source.url:
        return {"type": kind, "url": source.url, **named}
    if source.id:
        return {"type": kind, "file_id": source.id, **named}
    raise CannotCarry(f"a {kind} has neither data nor a URL")


def _source(block: Mapping[str, Any]) -> _Source:
    """Find a medium's bytes in any of the block formats in use."""
    inner: Any = block
    for key in ("source", "image_url", "input_audio", "file"):
        if isinstance(block.get(key), dict):
            inner = block[key]
    extras = block.get("extras") or block.get("metadata") or {}
    name = str(inner.get("filename") or block.get("filename") or block.get("title") or extras.get("filename") or "")
    mime = str(inner.get("media_type") or inner.get("mime_type") or "")
    if inner.get("format"):
        mime = f"audio/{inner['format']}"
    if inner.get("source_type") == "text" or inner.get("type") == "text":
        return _Source(mime or "text/plain", text=str(inner.get("text") or inner.get("data") or ""), name=name)
    identity = inner.get("file_id") or (inner.get("id") if inner.get("source_type") == "id" else None)
    address = inner.get("url") or inner.get("file_url") or inner.get("file_uri")
    if isinstance(block.get("image_url"), str):
        address = block["image_url"]
    data = inner.get("base64") or inner.get("data") or inner.get("file_data")
    if isinstance(data, bytes):
        data = base64.b64encode(data).decode()
    for value in (address, data):
        found = _DATA_URL.match(value) if isinstance(value, str) else None
        if found:
            return _Source(mime or found["mime"], data=found["data"], name=name)
    return _Source(mime, str(data or ""), str(address or ""), str(identity or ""), "", name)


def is_inline(block: Mapping[str, Any]) -> bool:
    """Return whether a medium's content is in its block, rather than fetched by the provider."""
    source = _source(block)
    return bool(source.data or source.text)


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
