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
    """A request to whichever model is chosen.

    Attributes:
        messages: The conversation, oldest first.
        declared: What routing is told about it; its effects are those of the tools that act, in order.
        tools: Tools in OpenAI format, output schema included.
        tool_choice: As LangChain's ``bind_tools`` takes it, or in any vendor's format.
        output: Name of the tool that represents the answer's schema; None for a free answer.
        answer: The class that validates such an answer, validators included; None if only its schema is checked.
        examples: Field of the answer -> CSV of labelled examples.
        on_cut: What happens if a stream breaks after its first words: ``report`` raises, ``retract`` withdraws them
            and lets the next candidate answer instead.
        options: Other options, by the standard names of `CallOptions`; they are translated for each vendor.
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
        """Return the same request with changes to what is declared."""
        return replace(self, declared=self.declared.model_copy(update=changes))

    @property
    def acting_tools(self) -> int:
        """How many of the bound tools can act, not counting the output schema."""
        return len(self.tools) - (self.output is not None)

    @property
    def reach(self) -> Mapping[str, Effect]:
        """Name -> effect of each bound tool; the output schema counts as one that only reads."""
        names = [str(tool.get("function", tool).get("name")) for tool in self.tools]
        acting = [name for name in names if name != self.output]
        effects = self.declared.effects
        known = dict(zip(acting, effects, strict=True)) if len(acting) == len(effects) else {}
        return known if self.output is None else {**known, self.output: Effect.READ}

    def called(self, message: AIMessage) -> Mapping[str, str]:
        """Return name -> effect of each tool that a reply calls, as far as known; it is stored with the reply."""
        if not message.tool_calls:
            return {}
        reach = self.reach
        return {call["name"]: reach[call["name"]].value for call in message.tool_calls if call["name"] in reach}


def route_request(ask: ModelRequest, step: StepContext, request_id: str) -> RouteRequest:
    """Describe the request to routing: its declared facts, its step, and the messages for their size and shape."""
    told = {
        "id": request_id,
        "messages": tuple(as_dict(message) for message in ask.messages),
        "tools": ask.acting_tools,
        "called": _called(ask),
        "sensitivity": step.sensitivity or "internal",
        "dependents": step.dependents,
        "recalled": step.recalled,
        "risk": step.risk,
        "structured": ask.output is not None,
        "user_class": step.run.user_class,
        "tags": step.run.tags,
        "evidence": step.evidence,
    }
    return ask.declared.model_copy(update=told)


def plain(ask: ModelRequest) -> ModelRequest:
    """Return the request with terminal control sequences removed from all tool results."""
    found = [message for message in ask.messages if message.type == "tool" and _is_suspect(message.content)]
    if not found:
        return ask
    said = {id(message): message.model_copy(update={"content": plain_content(message.content)}) for message in found}
    return replace(ask, messages=[said.get(id(message), message) for message in ask.messages])


def _is_suspect(content: Any) -> bool:
    # The agents' own tools are clean already, so only marks that are quick to find are searched for in texts.
    return not isinstance(content, str) or any(mark in content for mark in "\x1b\x9b\0")


def _called(ask: ModelRequest) -> Mapping[str, Effect]:
    """Return the effects of the tools called earlier, read from the metadata of the replies that called them."""
    known = dict(ask.reach)
    for message in ask.messages:
        told = message.response_metadata.get("pointsman")
        for name, effect in (told.get("effects") or {}).items() if told else ():
            known[name] = max(Effect(effect), known.get(name, Effect.READ))
    return known


def as_dict(message: BaseMessage) -> dict[str, Any]:
    """Convert a message to OpenAI's format, which routing reads."""
    role = _ROLES.get(message.type, message.type)
    record: dict[str, Any] = {"role": role, "content": message.content}
    calls = vars(message).get("tool_calls")
    if calls:
        record["tool_calls"] = calls
    if answered := vars(message).get("tool_call_id"):
        record["tool_call_id"] = answered
    # Tools report both outcomes: a declared success is not an error, whatever its text begins with.
    if message.type == "tool":
        record["status"] = getattr(message, "status", "success")
    return record


def one_line(text: object, limit: int = 300) -> str:
    """Fold a message into one line of at most ``limit`` characters, without secrets."""
    # Redact before cutting: half a secret would not be recognized.
    line = re.sub(r"\s+", " ", redact(str(text))).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"
