"""Files of a run: each is stored once, encrypted, and the run's checkpoints only refer to it.

Each run has its own folder. A file that two runs need is linked into both folders, so that each run can delete its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...configs.errors import ConfigError, disk_errors
from .private import replace_private
from .sealing import user_seal

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

__all__ = ["brought", "forget", "refers", "set_aside", "shared"]

_SCHEME: Final = "pointsman-file:"
_FILES: Final = "files"
_PLACE: Final = re.compile(r"(?P<folder>[0-9a-f]{32})/(?P<name>[0-9a-f]{64})")


def set_aside(state: Path, run: str, block: Mapping[str, Any]) -> dict[str, Any]:
    """Store the bytes of a content block outside the checkpoints of a run.

    Args:
        state: The project's state folder.
        run: Id of the run.
        block: The block, with ``base64`` or a reference to a file of another run; any other block stays unchanged.

    Returns:
        The block with a reference instead of its bytes.

    Raises:
        ConfigError: The file cannot be written.
    """
    folder, data, place = _folder(run), block.get("base64"), _place(block)
    with disk_errors("the file of a run cannot be saved", file=state / _FILES):
        if isinstance(data, str):
            name = hashlib.sha256(data.encode()).hexdigest()
            replace_private(state / _FILES / folder / name, user_seal().close_bytes(base64.b64decode(data)))
        elif (source := _path(state, place)) is not None and source.exists():
            name = source.name
            _link(source, state / _FILES / folder)
        else:
            return dict(block)
    return {**{key: value for key, value in block.items() if key != "base64"}, "url": f"{_SCHEME}{folder}/{name}"}


def refers(message: BaseMessage) -> bool:
    """Return whether a message refers to a stored file."""
    content = message.content
    return not isinstance(content, str) and any(map(_place, content))


def brought(state: Path, messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """Return the messages with the bytes of the files they refer to; the same object if they refer to none.

    Args:
        state: The project's state folder.
        messages: The conversation.

    Raises:
        ConfigError: A file is missing or cannot be read.
    """
    if not any(map(refers, messages)):
        return messages
    return [
        message.model_copy(update={"content": [_whole(state, block) for block in message.content]})
        if refers(message)
        else message
        for message in messages
    ]


def shared(state: Path, source: str, target: str) -> None:
    """Make a run keep all files of another run, for as long as it needs them.

    Args:
        state: The project's state folder.
        source: Id of the other run.
        target: Id of the run.

    Raises:
        ConfigError: A file cannot be written.
    """
    folder = state / _FILES / _folder(source)
    with disk_errors("the files of a run cannot be saved", file=folder):
        for path in folder.iterdir() if folder.exists() else ():
            _link(path, state / _FILES / _folder(target))


def forget(state: Path, run: str) -> None:
    """Delete the stored files of a run that can no longer be resumed.

    Args:
        state: The project's state folder.
        run: Its id.
    """
    shutil.rmtree(state / _FILES / _folder(run), ignore_errors=True)


def _folder(run: str) -> str:
    return hashlib.sha256(run.encode()).hexdigest()[:32]


def _link(source: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / source.name
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # not every disk has links
        replace_private(target, source.read_bytes())


def _path(state: Path, place: str) -> Path | None:
    """Return the file that a reference names; it is always inside the folder of files, whoever wrote the reference.

    If the run that the reference names has deleted the file, return the same file in another run's folder.
    """
    found = _PLACE.fullmatch(place)
    if found is None:
        return None
    path = state / _FILES / found["folder"] / found["name"]
    return path if path.exists() else next((state / _FILES).glob(f"*/{path.name}"), path)


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
        sealed = path.read_bytes()
    except OSError as error:
        raise ConfigError("the file that the run was given is gone: start the run again", file=path) from error
    data = base64.b64encode(user_seal().open_bytes(sealed)).decode()
    return {**{key: value for key, value in block.items() if key != "url"}, "base64": data}
