"""Checkpoints as they are stored: encrypted, with values that several share beside them rather than in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ...configs.errors import ConfigError
from ...dispatch.state.sealing import UNSEALED, Seal
from .growing import Grown

__all__ = ["Body", "Common", "Kept", "Sealed", "items"]

_INLINE_BYTES: Final = 200
"""Up to this size a value is stored in each checkpoint that has it: its own row, with its keys, takes as much."""
_WITHIN: Final = "values_within"
_BESIDE: Final = "values_beside"

Typed = tuple[str, bytes]


class Common(NamedTuple):
    """A value that several checkpoints may share: that of a channel at one of its versions.

    Attributes:
        base: The version to whose value this one is added; None for a complete value.
    """

    channel: str
    version: Any
    base: Any
    type: str
    value: bytes


class Kept(NamedTuple):
    """What is stored beside a checkpoint.

    Attributes:
        id: Id of the checkpoint.
        values: Channel -> version, and the number of items if its value is a list.
    """

    id: str
    values: Mapping[str, tuple[Any, int]]


@dataclass(frozen=True, slots=True)
class Body:
    """A checkpoint as it was read.

    Attributes:
        checkpoint: The checkpoint without the values that are still serialized.
        within: Channel -> value, serialized.
        beside: Channel -> its version whose value is stored beside the checkpoint.
    """

    checkpoint: Checkpoint
    within: Mapping[str, Typed]
    beside: Mapping[str, Any]


class Sealed(EncryptedSerializer):
    """Serialize and encrypt; build only the types that the plain serializer allows, and only from encrypted data.

    Args:
        seal: The user's seal.
        plain: The serializer.
        state: The project's state folder, which is named in the error if something in it is not encrypted.
    """

    def __init__(self, seal: Seal, plain: JsonPlusSerializer, state: Path) -> None:
        super().__init__(seal, plain)
        self._seal, self._plain, self._state = seal, plain, state

    def loads_typed(self, data: Typed) -> Any:
        """Decrypt and deserialize what was sealed.

        Raises:
            ConfigError: It was not sealed, or not under the user's key.
        """
        # LangGraph's own also reads unencrypted data: answers that nobody gave, in a file that came with a folder.
        if "+" not in data[0]:
            raise ConfigError(UNSEALED, file=self._state)
        return super().loads_typed(data)

    def allowing(self, types: Any) -> Sealed:
        """Return a copy that also builds these types."""
        return Sealed(self._seal, self._plain.with_msgpack_allowlist(types), self._state)

    def pack(self, checkpoint: Checkpoint, parent: str | None, kept: Kept) -> tuple[Typed, list[Common], Kept]:
        """Seal a checkpoint.

        Args:
            checkpoint: The checkpoint to store.
            parent: Id of the previous checkpoint.
            kept: What is known to be stored beside some other one.

        Returns:
            The checkpoint itself, the values to store beside it, and what is stored beside it afterwards.
        """
        bases = kept.values if parent == kept.id else {}
        return self._packed(checkpoint, kept.values, bases, {}, {})

    def completed(self, body: Body, values: Mapping[str, Any]) -> tuple[Typed, list[Common], Kept]:
        """Reseal a checkpoint that was read, with values that it did not have; returns the same as `pack`."""
        own = {**body.checkpoint["channel_values"], **values}
        beside = {channel: (version, 0) for channel, version in body.beside.items()}
        return self._packed({**body.checkpoint, "channel_values": own}, {}, {}, dict(body.within), beside)

    def _packed(
        self,
        checkpoint: Checkpoint,
        kept: Mapping[str, tuple[Any, int]],
        bases: Mapping[str, tuple[Any, int]],
        within: dict[str, Typed],
        beside: dict[str, tuple[Any, int]],
    ) -> tuple[Typed, list[Common], Kept]:
        versions = checkpoint["channel_versions"]
        new: list[Common] = []
        for channel, value in checkpoint["channel_values"].items():
            version = versions.get(channel)
            if version is not None and channel in kept and kept[channel][0] == version:
                beside[channel] = kept[channel]
                continue
            base, length = bases.get(channel, (None, 0)) if isinstance(value, Grown) else (None, 0)
            kind, data = self._plain.dumps_typed(value[length:] if length else value)
            if version is None or (base is None and len(data) <= _INLINE_BYTES):
                within[channel] = (kind, data)
                continue
            name, sealed = self._seal.encrypt(data)
            new.append(Common(channel, version, base, f"{kind}+{name}", sealed))
            beside[channel] = version, items(value)
        whole = {**checkpoint, "channel_values": {}, _WITHIN: within, _BESIDE: list(beside)}
        return self.dumps_typed(whole), new, Kept(checkpoint["id"], beside)

    def body(self, data: Typed) -> Body:
        """Open a checkpoint that `pack`, or version 0.1, sealed.

        Raises:
            ConfigError: As `loads_typed`.
        """
        checkpoint = self.loads_typed(data)
        within = checkpoint.pop(_WITHIN, {})
        versions = checkpoint["channel_versions"]
        return Body(checkpoint, within, {channel: versions[channel] for channel in checkpoint.pop(_BESIDE, ())})

    def value(self, body: Body, common: Mapping[str, Sequence[Typed]], channel: str) -> Any:
        """Return one channel's value in a checkpoint that has one; arguments as `whole`."""
        if channel in body.within:
            kind, data = body.within[channel]
            return self._plain.loads_typed((kind, data))
        if channel not in common:
            return body.checkpoint["channel_values"][channel]
        first, *added = map(self.loads_typed, common[channel])
        return Grown(chain(first, *added)) if added else first

    def whole(self, body: Body, common: Mapping[str, Sequence[Typed]]) -> Checkpoint:
        """Reconstruct a checkpoint.

        Args:
            body: As it was read.
            common: Channel -> value that was stored beside it, followed by what was added to it.
        """
        values = body.checkpoint["channel_values"]
        values.update({channel: self.value(body, common, channel) for channel in (*body.within, *common)})
        return body.checkpoint


def items(value: Any) -> int:
    """Return the number of items of a list; 0 if it is not a list."""
    return len(value) if isinstance(value, list) else 0
