"""Files of a run: each is kept once, encrypted, and what is kept of the run only refers to it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...configs.errors import ConfigError
from ..private import replace_private
from ..sealing import user_seal

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

__all__ = ["brought", "forget", "refers", "set_aside"]

_SCHEME: Final = "pointsman-file:"
_FILES: Final = "files"
_PLACE: Final = re.compile(r"(?P<folder>[0-9a-f]{32})/(?P<name>[0-9a-f]{64})")


def set_aside(state: Path, folder: str, block: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the bytes of a content block beside the checkpoints of a run.

    Args:
        state: The project's state folder.
        folder: Name of the folder of the run's files.
        block: The block, with ``base64``; one without stays as it is.

    Returns:
        The block with a reference in the place of its bytes.

    Raises:
        ConfigError: The file cannot be written.
    """
    data = block.get("base64")
    if not isinstance(data, str):
        return dict(block)
    name = hashlib.sha256(data.encode()).hexdigest()
    cipher, sealed = user_seal().encrypt(base64.b64decode(data))
    path = state / _FILES / folder / name
    try:
        replace_private(path, cipher.encode() + b"\n" + sealed)
    except OSError as error:
        raise ConfigError(f"the file of a run cannot be kept: {error.strerror}", file=path) from error
    return {**{key: value for key, value in block.items() if key != "base64"}, "url": f"{_SCHEME}{folder}/{name}"}


def refers(message: BaseMessage) -> bool:
    """Whether a message refers to a file that was set aside."""
    content = message.content
    return not isinstance(content, str) and any(map(_place, content))


def brought(state: Path, messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """Messages with the bytes of what they refer to; the same object where they refer to nothing.

    Args:
        state: The project's state folder.
        messages: The conversation.

    Raises:
        ConfigError: A file is gone, or cannot be read.
    """
    if not any(map(refers, messages)):
        return messages
    return [
        message.model_copy(update={"content": [_whole(state, block) for block in message.content]})
        if refers(message)
        else message
        for message in messages
    ]


def forget(state: Path, blocks: Sequence[Any]) -> None:
    """Delete what was set aside for a run that has come to its end.

    Args:
        state: The project's state folder.
        blocks: Its content blocks.
    """
    for path in filter(None, (_path(state, place) for place in map(_place, blocks))):
        path.unlink(missing_ok=True)
        with suppress(OSError):  # while others lie in it
            path.parent.rmdir()


def _path(state: Path, place: str) -> Path | None:
    """The file that a reference names: one in the folder of files, and none elsewhere, whoever wrote it."""
    found = _PLACE.fullmatch(place)
    return state / _FILES / found["folder"] / found["name"] if found else None


def _place(block: Any) -> str:
    url = block.get("url") if isinstance(block, Mapping) else None
    return url.removeprefix(_SCHEME) if isinstance(url, str) and url.startswith(_SCHEME) else ""


def _whole(state: Path, block: Any) -> Any:
    place = _place(block)
    if not place:
        return block
    path = _path(state, place)
    if path is None:
        raise ConfigError(f"{place!r} is no file of a run")
    try:
        cipher, _, sealed = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise ConfigError("the file that the run was given is gone: start the run again", file=path) from error
    data = base64.b64encode(user_seal().decrypt(cipher.decode("ascii", "replace"), sealed)).decode()
    return {**{key: value for key, value in block.items() if key != "url"}, "base64": data}
