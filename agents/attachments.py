"""Attachments: pictures, documents and other files beside a task, as LangChain content blocks."""

from __future__ import annotations

import base64
import mimetypes
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, convert_to_messages

from ..configs.errors import ConfigError, disk_errors
from ..dispatch.conversation.blocks import kind_of, with_types
from ..tools.documents.reading import is_pdf

__all__ = [
    "MAX_FILE",
    "MAX_FILES",
    "MEDIA",
    "PDF",
    "Attached",
    "Task",
    "asked",
    "attach",
    "attached",
    "messages_of",
    "name_of",
]

MAX_FILE: Final = 20_000_000
"""Bytes of one file."""
MAX_FILES: Final = 24_000_000
"""Bytes of all files of a task: as base64 they are the 32 MB that a request to Anthropic may have
(platform.claude.com/docs/en/api/errors), the least of the vendors here."""

Attached = str | Path | bytes | Mapping[str, Any]
"""A path, the bytes themselves, or a content block."""
Task = str | BaseMessage | Sequence[Any]
"""A text, a message, or a conversation whose last message asks."""

MEDIA: Final = ("image", "file", "audio", "video")
PDF: Final = "application/pdf"
_OTHERS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"%PDF-", PDF),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)


def attach(source: Attached, *, name: str | None = None) -> dict[str, Any]:
    """Make a content block of a file, for ``files=`` or for a message of your own.

    Its type is detected from its first bytes, else from its name; otherwise it must be text.

    Args:
        source: Its path, or its bytes; a content block stays as it is.
        name: What models are told it is called; the file's own name when absent.

    Raises:
        ConfigError: It cannot be read, is empty, larger than `MAX_FILE`, or of a kind that no model takes.
    """
    if isinstance(source, Mapping):
        return _checked(source)
    if isinstance(source, bytes):
        data, name = source, name or "attachment"
    elif isinstance(source, str | Path):
        path = Path(source)
        data, name = _read(path), name or path.name
    else:
        raise ConfigError(f"a file is a path, bytes or a content block, not {type(source).__name__}")
    if not data:
        raise ConfigError(f"{name} is empty: there is nothing to attach")
    if len(data) > MAX_FILE:
        raise _too_large(name)
    encoded, mime = base64.b64encode(data).decode(), _mime(data, name)
    family = mime.partition("/")[0]
    if family in ("audio", "video"):
        return {"type": family, "base64": encoded, "mime_type": mime}
    if family == "image":
        return {"type": "image", "base64": encoded, "mime_type": mime, "extras": {"filename": name}}
    return {"type": "file", "base64": encoded, "mime_type": mime, "filename": name}


def attached(files: Any) -> list[dict[str, Any]]:
    """Return the content blocks of all files of a task.

    Args:
        files: What was given for ``files=``.

    Raises:
        ConfigError: As `attach`; or it is not a list, or together they are larger than `MAX_FILES`.
    """
    if isinstance(files, str | bytes | Path | Mapping) or not isinstance(files, Iterable):
        raise ConfigError(f"files must be a list, such as files=['invoice.pdf'], not {type(files).__name__}")
    blocks = [attach(file) for file in files]
    size = sum(len(str(block.get("base64") or "")) for block in blocks) * 3 // 4
    if size > MAX_FILES:
        raise ConfigError(f"the files have {size:,} bytes together, and a task takes {MAX_FILES:,}: give fewer at once")
    return blocks


def name_of(block: Mapping[str, Any]) -> str:
    """Return the name of an attachment.

    Args:
        block: Its content block.
    """
    extras = block.get("extras") or {}
    return str(block.get("filename") or extras.get("filename") or kind_of(block))


def messages_of(input: Any) -> list[BaseMessage]:
    """Return the conversation that an agent is given.

    Args:
        input: A text, a message, a list of messages, or a graph's state with one of these as ``messages``.

    Raises:
        ConfigError: There is no message in it.
    """
    if isinstance(input, Mapping):
        input = input.get("messages", ())
    elif not isinstance(input, BaseMessage | Sequence):
        input = getattr(input, "messages", ())
    if isinstance(input, str):
        return [HumanMessage(input)]
    messages = [input] if isinstance(input, BaseMessage) else convert_to_messages(input)
    if not messages:
        raise ConfigError("there is nothing to work on: give a text, or a state with messages")
    return messages


def asked(task: Any, files: Any = ()) -> list[BaseMessage]:
    """Return what a run is asked: its conversation, with the files in its last message.

    Args:
        task: What was given.
        files: What was given for ``files=``.

    Raises:
        ConfigError: The task is empty or has the wrong type; or as `attached`.
    """
    if not isinstance(task, str | BaseMessage | list | tuple):
        raise ConfigError(f"there is nothing to do: give the task as a text or as messages, not {type(task).__name__}")
    if isinstance(task, str) and not task.strip():
        raise ConfigError("there is nothing to do: the input is empty")
    try:
        messages = messages_of(task)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ConfigError(f"the task cannot be read as messages: {str(error).splitlines()[0]}") from error
    blocks = attached(files)
    *earlier, last = messages
    if last.type != "human":
        raise ConfigError("there is nothing to do: the last message of the task must be a user's")
    if not (last.text.strip() or blocks or not isinstance(last.content, str)):
        raise ConfigError("there is nothing to do: the input is empty")
    if not blocks:
        return messages
    content = [{"type": "text", "text": last.content}] if isinstance(last.content, str) else list(last.content)
    return [*earlier, last.model_copy(update={"content": [*content, *blocks]})]


def _checked(block: Mapping[str, Any]) -> dict[str, Any]:
    if kind_of(block) not in MEDIA:
        raise ConfigError(f"a content block of type {block.get('type')!r} is no file; put texts into the task")
    (made,) = with_types([dict(block)])
    data = made.get("base64")
    if isinstance(data, str) and len(data) * 3 // 4 > MAX_FILE:
        raise _too_large(name_of(made))
    found: dict[str, Any] = made
    return found


def _too_large(name: str) -> ConfigError:
    return ConfigError(f"{name} is larger than {MAX_FILE:,} bytes: make it smaller, or give its text")


def _read(path: Path) -> bytes:
    with disk_errors("cannot be attached", file=path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError("is no file: only files can be attached", file=path)
        with path.open("rb") as file:
            return file.read(MAX_FILE + 1)


def _mime(data: bytes, name: str) -> str:
    head = base64.b64encode(data[:48]).decode()
    (seen,) = with_types([{"type": "image", "base64": head}])
    if (told := str(seen["mime_type"])) != "image/*":
        return told
    if magic := next((mime for start, mime in _OTHERS if data.startswith(start)), None):
        return magic
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "audio/wav"
    guessed = mimetypes.guess_type(name)[0] or ""
    if guessed == PDF and is_pdf(data):
        return PDF
    if guessed.partition("/")[0] in ("audio", "video"):
        return guessed
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text and is_pdf(data):
        return PDF
    if "\0" in text:
        raise ConfigError(f"{name} is of a kind that no model takes: give it as PDF, PNG, JPEG or UTF-8 text")
    return guessed if guessed.startswith("text/") else "text/plain"
