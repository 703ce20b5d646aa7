"""What speaks against a call an agent wants to make: where its target, and what it sends out, come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from ...configs.evidence import parse_evidence
from ...configs.words import Trust
from ...tools.base import declaration_of, effect_of, only_reads
from ...tools.facts import call_facts
from ...tools.taint.gate import Judged, ToolFacts, judge
from .acts import stopped

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

__all__ = ["FROM_MIDDLEWARE", "judged", "result_trust"]

FROM_MIDDLEWARE: Final = "lc_source"
"""Where LangChain marks a message that a middleware put into a conversation in the user's role, such as a summary."""


def judged(
    messages: Sequence[BaseMessage], tools: Mapping[str, BaseTool], tool: BaseTool, arguments: Mapping[str, Any]
) -> Judged:
    """Say whether a call may be made without asking a person, as `pointsman.tools.taint.gate.judge` does.

    Args:
        messages: The agent's conversation so far.
        tools: The tools the agent has, by name.
        tool: The one it wants to call.
        arguments: As the model gave them.
    """
    user: list[str] = []
    transcript: list[dict[str, Any]] = []
    for message in messages:
        if isinstance(message, HumanMessage):
            passages, said = parse_evidence(str(message.text))
            if FROM_MIDDLEWARE in message.additional_kwargs:
                transcript.append({"role": "tool", "content": said, "trust": Trust.UNTRUSTED.value})
            else:
                user.append(said)
            transcript += [{"role": "tool", "content": one.text, "trust": one.trust.value} for one in passages]
        elif isinstance(message, ToolMessage) and not stopped(message):
            trust = result_trust(tools, message)
            transcript.append({"role": "tool", "name": message.name, "content": message.content, "trust": trust.value})
        elif isinstance(message, AIMessage | ToolMessage):
            # What a model wrote has its words from the others, and that a call was not made is told by Pointsman.
            continue
        else:
            user.append(str(message.text))
    facts = {name: _facts(one) for name, one in tools.items()}
    effect = call_facts(tool, arguments).effect
    declared = declaration_of(tool)
    facts[tool.name] = ToolFacts(
        tool.name,
        effect,
        declared.target_args if declared else (),
        only_reads([tool]),
        tool.description,
    )
    return judge("\n".join(user), transcript, facts, tool.name, arguments)


def result_trust(tools: Mapping[str, BaseTool], result: ToolMessage) -> Trust:
    """How far a tool's result may be believed: as the tool declares, untrusted where nobody does."""
    tool = tools.get(result.name or "")
    declared = None if tool is None else declaration_of(tool)
    return Trust.UNTRUSTED if declared is None else declared.trust


def _facts(tool: BaseTool) -> ToolFacts:
    return ToolFacts(tool.name, effect_of(tool), only_reads=only_reads([tool]))
