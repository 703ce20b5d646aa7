"""`DecisionsChatModel`: a server that answers typed questions, behind LangChain's chat model interface.

A decision is therefore a call like any other, routed, admitted, billed and recorded by the code for chat models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict

from ...configs.words import FailureKind
from ..base import BackendError
from ..chat import OwnChatModel
from .questions import YES, Asked, questions_of
from .wires import Wire

if TYPE_CHECKING:
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.runnables import Runnable

__all__ = ["DecisionsChatModel"]

# How far the probabilities of a question may differ from a sum of one, since servers round them.
_ROUNDING = 0.02


class DecisionsChatModel(OwnChatModel):
    """Asks the questions in the bound answer's schema about the conversation it is given.

    ``response_metadata`` has ``fields`` (question -> ``confidence``, the probability of the label chosen, and
    ``probabilities``) and ``finish_reason``: ``tool_calls``, or ``declined`` with a ``reason`` if the server refused a
    question.

    Attributes:
        model: The server's name for the model.
        wire: The request and answer format.
        client: The SDK's client.
    """

    model: str
    wire: Wire
    client: Any

    model_config = ConfigDict(arbitrary_types_allowed=True)

    @property
    def _llm_type(self) -> str:
        return "pointsman-decisions"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model}

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind the answer's schema, which is the only tool."""
        return super().bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _reply(self, messages: list[BaseMessage], stop: list[str] | None, options: Mapping[str, Any]) -> AIMessage:
        raise NotImplementedError("a decision model is asked asynchronously: use ainvoke")

    async def _areply(
        self, messages: list[BaseMessage], stop: list[str] | None, options: Mapping[str, Any]
    ) -> AIMessage:
        tools = options.get("tools") or ()
        functions = [tool["function"] for tool in tools]
        asked = questions_of(functions[0].get("parameters", {})) if len(functions) == 1 else None
        if asked is None:
            why = "it answers choices and truth values, and nothing else was asked for"
            raise BackendError(FailureKind.DECLINED, why, sent=False)
        body = await self._post(self.wire.body(self.model, _state_of(messages), asked))
        try:
            found = {name: _checked(shares, asked[name]) for name, shares in self.wire.answers(body, asked).items()}
            served = str(body["model"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            shown = f"not an answer of {self.wire.path}: {type(error).__name__}"
            raise BackendError(FailureKind.MALFORMED, shown) from error
        missing = [name for name in asked if name not in found]
        reason = f"it refused to answer {', '.join(missing)}" if missing else ""
        made = self._message(found, reason, usage=_usage(body), served=served)
        if not missing:
            args = {name: _value(found[name], asked[name]) for name in asked}
            made.tool_calls = [tool_call(name=functions[0]["name"], args=args, id=f"call_{made.id or 'decision'}")]
        return made

    async def _post(self, body: Mapping[str, Any]) -> Any:
        return await self.client.post(self.wire.path, body=dict(body), cast_to=object)

    def _message(
        self, found: Mapping[str, Mapping[str, float]], reason: str, *, usage: UsageMetadata | None, served: str
    ) -> AIMessage:
        sure = {name: round(max(shares.values()), 4) for name, shares in found.items()}
        metadata = {
            "model_name": served,
            "finish_reason": "declined" if reason else "tool_calls",
            "confidence": min(sure.values(), default=0.0),
            "fields": {name: {"confidence": sure[name], "probabilities": dict(found[name])} for name in found},
            **({"reason": reason} if reason else {}),
        }
        said = f"Declined: {reason}" if reason else ""
        return AIMessage(content=said, response_metadata=metadata, usage_metadata=usage)


def _state_of(messages: Sequence[BaseMessage]) -> str:
    """Return the conversation as one text: a single message unchanged, several prefixed with their roles."""
    said = [message for message in messages if message.text.strip()]
    if len(said) == 1:
        return str(said[0].text)
    return "\n\n".join(f"{message.type}: {message.text}" for message in said)


def _checked(shares: Mapping[str, float], asked: Asked) -> dict[str, float]:
    """Return the probability of every label, in the order of the labels.

    Raises:
        ValueError: They are not probabilities of these labels.
    """
    if not set(shares) <= set(asked.labels):
        raise ValueError("a label that was not offered")
    whole = {label: shares.get(label, 0.0) for label in asked.labels}
    if not all(math.isfinite(share) and 0 <= share <= 1 for share in whole.values()):
        raise ValueError("a probability below 0 or above 1")
    if abs(sum(whole.values()) - 1) > _ROUNDING:
        raise ValueError("probabilities that do not add up to 1")
    return whole


def _value(shares: Mapping[str, float], asked: Asked) -> str | bool:
    best = max(shares, key=lambda label: shares[label])
    return best == YES if asked.boolean else best


def _usage(body: Mapping[str, Any]) -> UsageMetadata | None:
    told = body.get("usage")
    if not isinstance(told, Mapping) or type(told.get("input_tokens")) is not int:
        return None
    taken, given = told["input_tokens"], told.get("output_tokens") or 0
    return UsageMetadata(input_tokens=taken, output_tokens=given, total_tokens=taken + given)
