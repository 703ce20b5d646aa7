"""A model request in the words all wire formats share, and how its tokens are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict, JsonValue
from pydantic.dataclasses import dataclass as checked

Endpoint = Literal["chat", "responses", "embeddings", "count_tokens", "models", "batches"]
Role = Literal["system", "user", "assistant", "tool"]
Json = dict[str, Any]

# Flat prices for what cannot be counted without decoding it: a Gemini tile and a Gemini PDF page are 258 tokens
# (ai.google.dev/gemini-api/docs/tokens); audio is 32 tokens a second there, taken here as eight seconds.
IMAGE_TOKENS = 258
DOCUMENT_TOKENS = 258
AUDIO_TOKENS = 256
MESSAGE_TOKENS = 3

STRICT = ConfigDict(extra="forbid")


@checked(frozen=True, config=STRICT)
class ToolCall:
    """One call of a tool by the model.

    Args:
        name: The tool's name.
        arguments: The arguments object.
        id: The call's identifier; made up by the simulator when empty.
        raw: Sent in place of the encoded arguments where the wire carries them as a string.
    """

    name: str
    arguments: dict[str, JsonValue] = field(default_factory=dict)
    id: str = ""
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the client offers: `schema` is the JSON schema of its arguments, None for a vendor's own tool."""

    name: str
    description: str = ""
    schema: Json | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn, flattened: a tool's result is a message of its own; attachments are only counted."""

    role: Role
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    images: int = 0
    documents: int = 0
    audio: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for, whatever wire format it came in.

    Args:
        vendor: First segment of the URL path.
        endpoint: Which service was called.
        model: The model asked for.
        tool_choice: `auto`, `none`, `any`, or `named` together with `tool_name`.
        schema: JSON schema of a requested structured output.
        json_mode: Any JSON object is wanted.
        breakpoint: Number of leading messages covered by an explicit cache marker; None when there is none.
        inputs: Texts to embed.
        body: The decoded body, for rules written in Python.
    """

    vendor: str
    endpoint: Endpoint
    model: str
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "none", "any", "named"] = "auto"
    tool_name: str = ""
    parallel: bool = True
    schema: Json | None = None
    json_mode: bool = False
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    stream: bool = False
    include_usage: bool = False
    tool_chars: int = 0
    breakpoint: int | None = None
    inputs: tuple[str, ...] = ()
    dimensions: int | None = None
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def user_text(self) -> str:
        """The last user message's text, empty when there is none."""
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        return self.inputs[-1] if self.inputs else ""

    @property
    def tool_results(self) -> tuple[Message, ...]:
        """The tool results the model has not answered yet."""
        results: list[Message] = []
        for message in reversed(self.messages):
            if message.role == "tool":
                results.append(message)
            elif message.role == "assistant":
                break
        return tuple(reversed(results))

    @property
    def called_tools(self) -> frozenset[str]:
        """Names of the tools called since the user last spoke."""
        names: set[str] = set()
        for message in reversed(self.messages):
            if message.role == "user":
                break
            names.update(call.name for call in message.tool_calls)
        return frozenset(names)


def count_tokens(text: str) -> int:
    """Count a text's tokens as four characters each, rounded up: crude, but the same everywhere."""
    return -(-len(text) // 4)


def message_tokens(message: Message) -> int:
    """Count one message with its tool calls and attachments."""
    total = MESSAGE_TOKENS + count_tokens(message.text)
    for call in message.tool_calls:
        total += count_tokens(call.name) + count_tokens(str(call.arguments))
    total += message.images * IMAGE_TOKENS + message.documents * DOCUMENT_TOKENS
    return total + message.audio * AUDIO_TOKENS


def input_tokens(request: Request) -> int:
    """Count everything a request sends: messages, tools and the texts to embed."""
    total = -(-request.tool_chars // 4)
    for message in request.messages:
        total += message_tokens(message)
    for text in request.inputs:
        total += count_tokens(text)
    return total
