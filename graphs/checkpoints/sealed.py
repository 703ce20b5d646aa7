"""Checkpoints as they are kept: encrypted, and what several have in common beside them rather than in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ...configs.errors import ConfigError
from ...dispatch.sealing import UNSEALED, Seal

__all__ = ["Body", "Common", "Sealed"]

_INLINE_BYTES: Final = 200
"""Up to here a value is kept in each checkpoint that has it: a row of its own, with its keys, takes as much."""
_WITHIN: Final = "values_within"
_BESIDE: Final = "values_beside"

Typed = tuple[str, bytes]


class Common(NamedTuple):
    """A value that several checkpoints may have: of a channel, at a version of it."""

    channel: str
    version: Any
    type: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Body:
    """A checkpoint as it was read.

    Attributes:
        checkpoint: Without those values that are still serialized.
        within: Channel -> value, serialized.
        beside: Channel -> version of it at which its value is kept beside the checkpoint.
    """

    checkpoint: Checkpoint
    within: Mapping[str, Typed]
    beside: Mapping[str, Any]


class Sealed(EncryptedSerializer):
    """Serializes and encrypts; builds only the types that its plain serializer allows, and only of what is encrypted.

    Args:
        seal: The user's.
        plain: Serializes.
        state: The project's state folder, which is told where something in it is not encrypted.
    """

    def __init__(self, seal: Seal, plain: JsonPlusSerializer, state: Path) -> None:
        super().__init__(seal, plain)
        self._seal, self._plain, self._state = seal, plain, state

    def loads_typed(self, data: Typed) -> Any:
        """Build what was sealed.

        Raises:
            ConfigError: It was not sealed, or not under the user's key.
        """
        # LangGraph's own reads what is not encrypted too: answers that nobody gave, in a file that came with a folder.
        if "+" not in data[0]:
            raise ConfigError(UNSEALED, file=self._state)
        return super().loads_typed(data)

    def allowing(self, types: Any) -> Sealed:
        """The same, which builds these types too."""
        return Sealed(self._seal, self._plain.with_msgpack_allowlist(types), self._state)

    def pack(self, checkpoint: Checkpoint, kept: Mapping[str, Any]) -> tuple[Typed, list[Common], dict[str, Any]]:
        """Seal a checkpoint.

        Args:
            checkpoint: What is to be kept.
            kept: Channel -> version of it that is known to be kept beside checkpoints already.

        Returns:
            The checkpoint itself, the values that are to be kept beside it, and where all those of it are that are.
        """
        return self._packed(checkpoint, kept, {}, {})

    def completed(self, body: Body, values: Mapping[str, Any]) -> tuple[Typed, list[Common], dict[str, Any]]:
        """Seal a checkpoint again that was read, with values that it did not have; the result is as of `pack`."""
        own = {**body.checkpoint["channel_values"], **values}
        return self._packed({**body.checkpoint, "channel_values": own}, {}, dict(body.within), dict(body.beside))

    def _packed(
        self, checkpoint: Checkpoint, kept: Mapping[str, Any], within: dict[str, Typed], beside: dict[str, Any]
    ) -> tuple[Typed, list[Common], dict[str, Any]]:
        versions = checkpoint["channel_versions"]
        new: list[Common] = []
        for channel, value in checkpoint["channel_values"].items():
            version = versions.get(channel)
            if version is None or kept.get(channel) != version:
                kind, data = self._plain.dumps_typed(value)
                if version is None or len(data) <= _INLINE_BYTES:
                    within[channel] = (kind, data)
                    continue
                name, sealed = self._seal.encrypt(data)
                new.append(Common(channel, version, f"{kind}+{name}", sealed))
            beside[channel] = version
        whole = {**checkpoint, "channel_values": {}, _WITHIN: within, _BESIDE: list(beside)}
        return self.dumps_typed(whole), new, beside

    def body(self, data: Typed) -> Body:
        """Open a checkpoint that `pack`, or version 0.1, sealed.

        Raises:
            ConfigError: As `loads_typed`.
        """
        checkpoint = self.loads_typed(data)
        within = checkpoint.pop(_WITHIN, {})
        versions = checkpoint["channel_versions"]
        return Body(checkpoint, within, {channel: versions[channel] for channel in checkpoint.pop(_BESIDE, ())})

    def value(self, body: Body, common: Mapping[str, Typed], channel: str) -> Any:
        """One channel's value in a checkpoint that has one; arguments as `whole`."""
        if channel in body.within:
            kind, data = body.within[channel]
            return self._plain.loads_typed((kind, data))
        if channel in common:
            return self.loads_typed(common[channel])
        return body.checkpoint["channel_values"][channel]

    def whole(self, body: Body, common: Mapping[str, Typed]) -> Checkpoint:
        """Put a checkpoint together.

        Args:
            body: As it was read.
            common: Channel -> value that was kept beside it.
        """
        values = body.checkpoint["channel_values"]
        values.update({channel: self.value(body, common, channel) for channel in (*body.within, *common)})
        return body.checkpoint
