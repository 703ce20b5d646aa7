"""`ModelRequest`: one model call as the caller wants it, before any model is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ..configs.plain import plain_content
from ..configs.redact import redact
from ..configs.words import Effect
from ..routing.request import RouteRequest
from .context import StepContext

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, BaseMessage
    from pydantic import BaseModel

__all__ = ["ModelRequest", "as_dict", "plain", "route_request"]

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What is asked of whichever model is chosen.

    Attributes:
        messages: The conversation, oldest first.
        declared: What routing is told of it; its effects are those of the tools that act, in their order.
        tools: Tools in OpenAI format, output schema included.
        tool_choice: As LangChain's ``bind_tools`` takes it, or in the spelling of any vendor.
        output: Name of the tool that stands for the answer's schema, None for a free answer.
        answer: The class that judges such an answer, its validators too; None where its schema does.
        examples: Field of the answer -> CSV of labelled examples.
        on_cut: What becomes of a stream that breaks after its first words: ``report`` raises, ``retract`` withdraws
            them and lets the next candidate answer instead.
        options: What else is wanted, by the standard names of `CallOptions`; each vendor is told in its own words.
    """

    messages: Sequence[BaseMessage]
    declared: RouteRequest = field(default_factory=RouteRequest)
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: Any = None
    output: str | None = None
    answer: type[BaseModel] | None = None
    examples: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    stop: tuple[str, ...] | None = None
    on_cut: Literal["report", "retract"] = "report"
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def declaring(self, **changes: Any) -> ModelRequest:
        """The same request with something else declared."""
        return replace(self, declared=self.declared.model_copy(update=changes))

    @property
    def acting_tools(self) -> int:
        """Tools bound that can do something, the output schema not counted."""
        return len(self.tools) - (self.output is not None)

    @property
    def reach(self) -> Mapping[str, Effect]:
        """Effect by name of each tool bound; the output schema does nothing worse than to read."""
        names = [str(tool.get("function", tool).get("name")) for tool in self.tools]
        acting = [name for name in names if name != self.output]
        effects = self.declared.effects
        known = dict(zip(acting, effects, strict=True)) if len(acting) == len(effects) else {}
        return known if self.output is None else {**known, self.output: Effect.READ}

    def called(self, message: AIMessage) -> Mapping[str, str]:
        """Effect by name of each tool that a reply calls, as far as it is known; it stays with the reply."""
        if not message.tool_calls:
            return {}
        reach = self.reach
        return {call["name"]: reach[call["name"]].value for call in message.tool_calls if call["name"] in reach}


def route_request(ask: ModelRequest, step: StepContext, request_id: str) -> RouteRequest:
    """Describe the ask to routing: what is declared of it, its step, and the messages for their size and shape."""
    told = {
        "id": request_id,
        "messages": tuple(as_dict(message) for message in ask.messages),
        "tools": ask.acting_tools,
        "called": _called(ask),
        "sensitivity": step.sensitivity or "internal",
        "dependents": step.dependents,
        "risk": step.risk,
        "structured": ask.output is not None,
        "user_class": step.run.user_class,
        "tags": step.run.tags,
        "evidence": step.evidence,
    }
    return ask.declared.model_copy(update=told)


def plain(ask: ModelRequest) -> ModelRequest:
    """The request with terminal control sequences removed from all tool results."""
    found = [message for message in ask.messages if message.type == "tool" and _is_suspect(message.content)]
    if not found:
        return ask
    said = {id(message): message.model_copy(update={"content": plain_content(message.content)}) for message in found}
    return replace(ask, messages=[said.get(id(message), message) for message in ask.messages])


def _is_suspect(content: Any) -> bool:
    # The agents' own tools are clean already, so of long texts only what is found fast is looked for.
    return not isinstance(content, str) or any(mark in content for mark in "\x1b\x9b\0")


def _called(ask: ModelRequest) -> Mapping[str, Effect]:
    """Effects of the tools called earlier, read from the metadata of the replies that called them."""
    known = dict(ask.reach)
    for message in ask.messages:
        told = message.response_metadata.get("pointsman")
        for name, effect in (told.get("effects") or {}).items() if told else ():
            known[name] = max(Effect(effect), known.get(name, Effect.READ))
    return known


def as_dict(message: BaseMessage) -> dict[str, Any]:
    """Give a message in OpenAI's form, as routing reads it."""
    role = _ROLES.get(message.type, message.type)
    record: dict[str, Any] = {"role": role, "content": message.content}
    calls = vars(message).get("tool_calls")
    if calls:
        record["tool_calls"] = calls
    if answered := vars(message).get("tool_call_id"):
        record["tool_call_id"] = answered
    # Of tools both outcomes are told: a success that is declared is no error, whatever its text begins with.
    if message.type == "tool":
        record["status"] = getattr(message, "status", "success")
    return record


def one_line(text: object, limit: int = 300) -> str:
    """Fold a message into one line of at most ``limit`` characters, without secrets."""
    # Before it is cut: half a secret would not be known for one.
    line = re.sub(r"\s+", " ", redact(str(text))).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"
