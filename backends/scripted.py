"""An offline test double: a chat model that replies from a script, for tests without a provider."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, UsageMetadata
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr

from ..configs.errors import ConfigError
from ..configs.words import FailureKind
from .base import Backend, BackendError, Endpoint
from .chat import OwnChatModel
from .errors.translate import ErrorTable, translate
from .http.meter import Meter

__all__ = ["Said", "ScriptedBackend", "ScriptedChatModel"]

Said: TypeAlias = str | AIMessage | Exception | Callable[[list[BaseMessage]], "str | AIMessage | Exception"]
"""One entry of a script: a text, a message, an error to raise, or a function of the messages that returns one."""

_CHARACTERS_PER_TOKEN = 4


class ScriptedChatModel(OwnChatModel):
    """Answers from a script.

    Args:
        replies: The replies in order, or one function of the messages that makes every reply.
        model_name: The model name that the replies carry.

    Attributes:
        asked: The messages of every call, in order.

    Raises:
        ConfigError: The script has no reply left.
    """

    replies: Sequence[Any] | Callable[..., Any]
    model_name: str = Field(default="scripted", alias="model")

    _asked: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _next: int = PrivateAttr(default=0)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    model_config = ConfigDict(populate_by_name=True)

    @property
    def asked(self) -> list[list[BaseMessage]]:
        """The messages of every call, in order."""
        return self._asked

    @property
    def _llm_type(self) -> str:
        return "pointsman-scripted"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model_name": self.model_name}

    def get_num_tokens(self, text: str) -> int:
        """Return the number of tokens, counting four bytes as one."""
        return -(-len(text.encode("utf-8", "surrogatepass")) // 4)

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools; they do not change the replies."""
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **choice, **kwargs)

    def _reply(self, messages: list[BaseMessage], stop: list[str] | None, options: Mapping[str, Any]) -> AIMessage:
        with self._lock:
            self._asked.append(list(messages))
            said = self._line()
        if not isinstance(said, (str, AIMessage, Exception)):
            said = said(messages)
        if isinstance(said, Exception):
            raise said
        message = AIMessage(said) if isinstance(said, str) else said.model_copy(deep=True)
        if stop and isinstance(message.content, str):
            message.content = re.split("|".join(map(re.escape, stop)), message.content, maxsplit=1)[0]
        finish = "tool_calls" if message.tool_calls else "stop"
        message.response_metadata = {
            "model_name": self.model_name,
            "finish_reason": finish,
            **message.response_metadata,
        }
        message.usage_metadata = message.usage_metadata or _usage(messages, message)
        return message

    async def _areply(
        self, messages: list[BaseMessage], stop: list[str] | None, options: Mapping[str, Any]
    ) -> AIMessage:
        return self._reply(messages, stop, options)

    def _pieces(self, reply: AIMessage) -> Iterator[AIMessageChunk]:
        if isinstance(reply.content, str):
            pieces: list[Any] = re.findall(r"\S+\s*|\s+", reply.content)
        else:
            pieces = [[{"index": number, **_as_block(block)}] for number, block in enumerate(reply.content)]
        for piece in pieces:
            yield AIMessageChunk(content=piece, id=reply.id)
        yield AIMessageChunk(
            content="",
            id=reply.id,
            additional_kwargs=reply.additional_kwargs,
            response_metadata=reply.response_metadata,
            tool_calls=reply.tool_calls,
            invalid_tool_calls=reply.invalid_tool_calls,
            usage_metadata=reply.usage_metadata,
            chunk_position="last",
        )

    def _line(self) -> Any:
        if not isinstance(self.replies, Sequence):
            return self.replies
        if self._next >= len(self.replies):
            raise ConfigError(f"the script has no reply left: it holds {len(self.replies)} and was asked for one more")
        self._next += 1
        return self.replies[self._next - 1]


class ScriptedBackend(Backend):
    """Builds `ScriptedChatModel`; it accepts the endpoint option ``replies``."""

    finishes: ClassVar[Mapping[str, FailureKind | None]] = MappingProxyType(
        {
            "stop": None,
            "tool_calls": None,
            "length": FailureKind.TRUNCATED,
            "content_filter": FailureKind.CONTENT_FILTER,
            "refusal": FailureKind.REFUSAL,
        }
    )
    meter: ClassVar[Meter] = Meter(unsent=frozenset({"replies"}))

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build the model.

        Raises:
            ConfigError: There is no script, or an option is unknown.
        """
        unknown = set(endpoint.options) - {"replies"}
        if unknown:
            raise ConfigError(f"unknown option for the scripted model: {', '.join(sorted(unknown))}")
        replies = endpoint.options.get("replies")
        if isinstance(replies, str) or not (callable(replies) or isinstance(replies, Sequence)):
            raise ConfigError("the scripted model needs the option `replies`: a list of texts")
        return ScriptedChatModel(replies=replies, model=endpoint.model)

    def failure(self, error: BaseException) -> BackendError | None:
        """Return a scripted `BackendError` unchanged, and translate the exceptions of HTTP clients."""
        return error if isinstance(error, BackendError) else translate(error, _ERRORS)


_ERRORS = ErrorTable(classes={})


def _usage(messages: Sequence[BaseMessage], reply: AIMessage) -> UsageMetadata:
    asked = sum(len(message.text) for message in messages) // _CHARACTERS_PER_TOKEN + 1
    said = (len(reply.text) + len(str(reply.tool_calls or ""))) // _CHARACTERS_PER_TOKEN + 1
    return UsageMetadata(input_tokens=asked, output_tokens=said, total_tokens=asked + said)


def _as_block(block: Any) -> Mapping[str, Any]:
    return {"type": "text", "text": block} if isinstance(block, str) else block
