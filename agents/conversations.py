"""Conversations: the state of a thread of an agent or a workflow, stored from one run to the next.

A thread is one file in the project's state, encrypted like checkpoints, that holds only its last state: however long it
grows, a run reads and writes it once. One run at a time works on a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from ..configs.errors import ConfigError, PointsmanError, disk_errors
from ..dispatch.state.private import replace_private
from ..dispatch.state.sealing import UNSEALED, user_seal
from .lease.sign import Sign

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.checkpoint.serde.base import SerializerProtocol

__all__ = ["Thread", "ThreadBusy", "check_thread", "forget_threads", "occupied", "place_of", "restored"]

_LONGEST: Final = 512
_FOLDER: Final = "threads"
_SEALED: Final = ".sealed"


class ThreadBusy(PointsmanError):
    """Another run works on the thread right now, and two at once would each miss what the other adds.

    Attributes:
        thread: The thread.
    """

    def __init__(self, target: str, thread: str) -> None:
        super().__init__(
            f"thread {thread!r} of {target!r} is in use by another run: wait until that ends, or take another thread"
        )
        self.thread = thread


def check_thread(thread: Any) -> None:
    """Reject a value that does not name a thread.

    Args:
        thread: What was given; None for no thread.

    Raises:
        ConfigError: It is not a text, is empty, or is too long.
    """
    if thread is None or (isinstance(thread, str) and 0 < len(thread.strip()) <= len(thread) <= _LONGEST):
        return
    raise ConfigError(f"thread is {thread!r}: give a name of 1 to {_LONGEST} letters, such as thread='customer-42'")


def place_of(target: str, thread: str) -> RunnableConfig:
    """Return the configuration under which a checkpointer stores a thread, separate from other agents and workflows.

    Args:
        target: Name of the agent or workflow.
        thread: The thread.
    """
    return {"configurable": {"thread_id": f"{target}/{thread}"}}


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread that one run holds exclusively.

    Attributes:
        path: Its file.
    """

    path: Path

    async def load(self, types: Collection[tuple[str, ...]] = ()) -> Any:
        """Return its last state; None if it is new.

        Args:
            types: Module and name of each type that may be deserialized from it, besides LangChain's own.

        Raises:
            ConfigError: The file cannot be read, or was encrypted with another key.
        """
        try:
            data = await asyncio.to_thread(self.path.read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"the thread cannot be read: {error.strerror}", file=self.path) from error
        kind, _, sealed = data.partition(b"\n")
        if b"+" not in kind:
            raise ConfigError(UNSEALED, file=self.path)
        return _serializer(types).loads_typed((kind.decode("ascii", "replace"), sealed))

    async def keep(self, value: Any) -> None:
        """Store its new state; if the process is killed, the previous state remains.

        Raises:
            ConfigError: The file cannot be written.
        """
        kind, sealed = _serializer().dumps_typed(value)
        with disk_errors("the thread cannot be saved", file=self.path):
            await asyncio.to_thread(replace_private, self.path, kind.encode() + b"\n" + sealed)


@contextmanager
def occupied(state: Path, target: str, thread: str) -> Iterator[Thread]:
    """Hold a thread exclusively inside the block.

    Args:
        state: The project's state folder.
        target: Name of the agent or workflow.
        thread: The thread.

    Raises:
        ThreadBusy: Another run holds it.
    """
    key = f"{quote(target, safe='')[:80]}-{hashlib.sha256(f'{target}/{thread}'.encode()).hexdigest()[:32]}"
    try:
        sign = Sign(state, _sign_of(key), 0)
    except BlockingIOError:
        raise ThreadBusy(target, thread) from None
    try:
        yield Thread(state / _FOLDER / f"{key}{_SEALED}")
    finally:
        sign.give_up()


def forget_threads(state: Path, wanted: Callable[[bytes], bool]) -> tuple[list[str], list[str]]:
    """Delete the threads whose state matches.

    Args:
        state: The project's state folder.
        wanted: Whether a thread's state, decrypted and serialized, matches.

    Returns:
        Names of the files that were deleted, and of those that a run has in use.

    Raises:
        ConfigError: A file cannot be read or deleted, or was encrypted with another key.
    """
    gone: list[str] = []
    busy: list[str] = []
    for file in sorted((state / _FOLDER).glob(f"*{_SEALED}")):
        try:
            sign = Sign(state, _sign_of(file.name.removesuffix(_SEALED)), 0)
        except BlockingIOError:
            busy.append(file.name)
            continue
        try:
            with disk_errors("the thread cannot be deleted", file=file):
                kind, _, sealed = file.read_bytes().partition(b"\n")
                if wanted(user_seal().decrypt(kind.decode("ascii", "replace").partition("+")[2], sealed)):
                    file.unlink()
                    gone.append(file.name)
        finally:
            sign.give_up()
    return gone, busy


def _sign_of(key: str) -> str:
    return f"thread {key}"


@asynccontextmanager
async def restored(
    thread: Thread, place: RunnableConfig, types: Collection[tuple[str, ...]]
) -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """Provide a checkpointer with the last state of a thread, and store the thread's state at the end of the block.

    Args:
        thread: The thread.
        place: Where in the checkpointer it is.
        types: As `Thread.load` takes them.
    """
    from langgraph.checkpoint.memory import InMemorySaver

    saver, known = InMemorySaver(), await thread.load(types)
    if known is not None:
        where: RunnableConfig = {"configurable": {**place["configurable"], "checkpoint_ns": ""}}
        checkpoint = known["checkpoint"]
        await saver.aput(where, checkpoint, known["metadata"], checkpoint["channel_versions"])
    yield saver
    last = await saver.aget_tuple(place)
    if last is not None:
        await thread.keep({"checkpoint": last.checkpoint, "metadata": last.metadata})


def _serializer(types: Collection[tuple[str, ...]] = ()) -> SerializerProtocol:
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    # Only LangChain's own classes, and those that are named, are created from a file.
    return EncryptedSerializer(user_seal(), JsonPlusSerializer(allowed_msgpack_modules=list(types)))
