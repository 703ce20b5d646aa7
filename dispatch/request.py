"""`ModelRequest`: one model call as the caller wants it, before any model is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from ..configs.errors import ConfigError
from ..configs.plain import plain_content
from ..configs.redact import redact
from ..configs.words import Effect, StepKind, Tier
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
        tools: Tools in OpenAI format, output schema included.
        effects: Effects of those tools that act, in their order.
        only_reads: Those of them that leave the machine declare that they change nothing there.
        tool_choice: As LangChain's ``bind_tools`` takes it, or in the spelling of any vendor.
        output: Name of the tool that stands for the answer's schema, None for a free answer.
        answer: The class that judges such an answer, its validators too; None where its schema does.
        examples: Field of the answer -> CSV of labelled examples.
        latency: How urgent the answer is: ``batch`` work can wait, ``critical`` work must not.
        deadline: Seconds the answer may take, retries included; None where only the policy bounds it.
        on_cut: What becomes of a stream that breaks after its first words: ``report`` raises, ``retract`` withdraws
            them and lets the next candidate answer instead.
        options: What else is wanted, by the standard names of `CallOptions`; each vendor is told in its own words.

    Raises:
        ConfigError: ``max_output`` is less than one token.
    """

    messages: Sequence[BaseMessage]
    task: str = "chat"
    kind: StepKind | None = None
    tier: Tier | None = None
    max_tier: Tier | None = None
    prefer: str | None = None
    reversible: bool = True
    max_output: int | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    effects: tuple[Effect, ...] = ()
    only_reads: bool = False
    tool_choice: Any = None
    output: str | None = None
    answer: type[BaseModel] | None = None
    examples: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    stop: tuple[str, ...] | None = None
    latency: Literal["batch", "interactive", "critical"] = "interactive"
    deadline: float | None = None
    on_cut: Literal["report", "retract"] = "report"
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.max_output is not None and self.max_output < 1:
            raise ConfigError(f"max_output is {self.max_output}: ask for at least one token, or leave it out")

    @property
    def acting_tools(self) -> int:
        """Tools bound that can do something, the output schema not counted."""
        return len(self.tools) - (self.output is not None)

    @property
    def reach(self) -> Mapping[str, Effect]:
        """Effect by name of each tool bound; the output schema does nothing worse than to read."""
        names = [str(tool.get("function", tool).get("name")) for tool in self.tools]
        acting = [name for name in names if name != self.output]
        known = dict(zip(acting, self.effects, strict=True)) if len(acting) == len(self.effects) else {}
        return known if self.output is None else {**known, self.output: Effect.READ}

    def called(self, message: AIMessage) -> Mapping[str, str]:
        """Effect by name of each tool that a reply calls, as far as it is known; it stays with the reply."""
        if not message.tool_calls:
            return {}
        reach = self.reach
        return {call["name"]: reach[call["name"]].value for call in message.tool_calls if call["name"] in reach}


def route_request(ask: ModelRequest, step: StepContext, request_id: str) -> RouteRequest:
    """Describe the ask to routing: declared facts, and the messages for their size and shape."""
    return RouteRequest.model_construct(
        id=request_id,
        messages=tuple(as_dict(message) for message in ask.messages),
        kind=ask.kind,
        task=ask.task,
        effects=ask.effects,
        tools=ask.acting_tools,
        only_reads=ask.only_reads,
        called=_called(ask),
        reversible=ask.reversible,
        sensitivity=step.sensitivity or "internal",
        dependents=step.dependents,
        risk=step.risk,
        tier=ask.tier,
        max_tier=ask.max_tier,
        model=ask.prefer,
        structured=ask.output is not None,
        max_output=ask.max_output or 1024,
        latency=ask.latency,
        deadline=ask.deadline,
        user_class=step.run.user_class,
        tags=step.run.tags,
        evidence=step.evidence,
    )


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
