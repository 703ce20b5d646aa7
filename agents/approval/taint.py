"""Objections to a call that an agent wants to make: where its target, and what it sends out, come from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from ...configs.evidence import Evidence, parse_evidence
from ...configs.words import Trust
from ...dispatch.context import current
from ...tools.base import Declaration, declaration_of, effect_of, only_reads
from ...tools.facts import call_facts
from ...tools.taint.gate import QUOTE, Judged, ToolFacts, judge
from ...tools.taint.tokens import Text, tokens
from .acts import stopped

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

__all__ = ["FROM_MIDDLEWARE", "NOW", "SEEN", "View", "in_view", "judged", "sources_of", "viewed"]

SEEN: ContextVar[Sequence[BaseMessage]] = ContextVar("pointsman_seen", default=())
"""The conversation of the agent whose tool is running."""
FROM_MIDDLEWARE: Final = "lc_source"
"""Key with which LangChain marks a message that middleware added in the user's role, such as a summary."""
NOW: Final = "\n\nNow:\n\n"
"""What divides the conversation before a workflow's run from the task."""
_VIEW: Final = "pointsman_view"
"""Key of a model's message under which is what its agent had in view."""


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
    for one in _passages(messages, tools):
        if one.trust is None:
            user.append(one.text)
        else:
            transcript.append(
                {"role": "tool", "name": one.tool, "content": one.content or one.text, "trust": one.trust.value}
            )
    facts = {name: ToolFacts(one.name, effect_of(one), only_reads=only_reads([one])) for name, one in tools.items()}
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


def sources_of(
    messages: Sequence[BaseMessage], tools: Mapping[str, BaseTool], arguments: Mapping[str, Any]
) -> dict[str, str]:
    """Return where each argument's value comes from, in words for the person who approves the call.

    A value found in the task is attributed to the task, even if it appears elsewhere too; one found in a result, to
    that result. Any other is attributed to the model, with the results that it quotes.

    Args:
        messages: The agent's conversation so far.
        tools: The tools the agent has, by name.
        arguments: Of the call.
    """
    # Results that are vouched for come before those that are not.
    texts = sorted((_ranked(one) for one in _passages(messages, tools) if one.who), key=lambda one: one[0])
    return {name: _source(value, texts) for name, value in arguments.items()}


def _source(value: Any, texts: Sequence[tuple[int, str, Text]]) -> str:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    run = tokens(said)
    for _, who, text in texts:
        if text.has(run) if run else bool(said.strip()) and text.stands(said.strip()):
            return who
    rows = _rows(run)
    quoted = [who for rank, who, text in texts if rank and rows and not rows.isdisjoint(_rows(text.words))]
    return "the model" + (f", quoting {' and '.join(dict.fromkeys(quoted))}" if quoted else "")


def _rows(words: Sequence[str]) -> set[tuple[str, ...]]:
    """Return every sequence of `QUOTE` consecutive words."""
    return {tuple(words[start : start + QUOTE]) for start in range(len(words) - QUOTE + 1)}


@dataclass(frozen=True, slots=True)
class _Passage:
    """A text in an agent's view.

    Attributes:
        trust: How far it may be believed, None for what the user and the instructions say.
        who: Its source, in words for a person; empty if it is never named.
        tool: The tool whose result it is.
        content: The content of the message, if that may be more than its text.
        evidence: Its id, if it is a passage of evidence.
    """

    text: str
    trust: Trust | None
    who: str
    tool: str | None = None
    content: Any = None
    evidence: str = ""


def _passages(messages: Sequence[BaseMessage], tools: Mapping[str, BaseTool]) -> Iterator[_Passage]:
    """Yield each text in view, oldest first.

    This omits what a model wrote, whose words come from the other texts, and notes on calls that were not made.
    """
    for message in messages:
        if isinstance(message, HumanMessage):
            evidence, said = parse_evidence(str(message.text))
            if FROM_MIDDLEWARE in message.additional_kwargs:
                yield _Passage(said, Trust.UNTRUSTED, "a summary")
            else:
                yield from _asked(said)
            for one in evidence:
                yield _Passage(one.text, one.trust, one.source, evidence=one.id)
        elif isinstance(message, ToolMessage):
            if not stopped(message):
                who = f"the result of {message.name}"
                if recalled := _evidence_of(tools, message):
                    for one in recalled:
                        yield _Passage(one.text, one.trust, one.source or who, message.name, evidence=one.id)
                    continue
                trust = _result_trust(tools, message)
                yield _Passage(str(message.text), trust, who, message.name, message.content)
        elif not isinstance(message, AIMessage):
            yield _Passage(str(message.text), None, "")


def _asked(said: str) -> Iterator[_Passage]:
    """Yield what an agent is asked: the user's own words, unless untrusted text was in view where it was written.

    Then a workflow's conversation quotes earlier answers, and only what follows is the user's; or a tool of an agent
    asks, whose words may come from anywhere.
    """
    if current().trust is not Trust.UNTRUSTED:
        yield _Passage(said, None, "the task")
        return
    before, _, now = said.rpartition(NOW) if current().by_user else (said, "", "")
    yield _Passage(before or said, Trust.UNTRUSTED, "what was said before")
    if before:
        yield _Passage(now, None, "the task")


def _ranked(one: _Passage) -> tuple[int, str, Text]:
    """Return a rank (0 for the task, 1 for text that is vouched for, 2 for other text), the source, and the text."""
    if one.trust is Trust.UNTRUSTED:
        return 2, f"{one.who}, which nobody vouches for", Text(one.text)
    return (0 if one.trust is None else 1), one.who, Text(one.text)


@dataclass(frozen=True, slots=True)
class View:
    """What an agent had in view when it wrote something.

    Attributes:
        trust: The lowest trust of the texts.
        evidence: Ids of the passages of evidence, oldest first.
    """

    trust: Trust = Trust.USER
    evidence: tuple[str, ...] = ()


def in_view(messages: Sequence[BaseMessage], tools: Mapping[str, BaseTool], answer: str = "") -> View:
    """Return what a conversation shows to who reads it, as far as trust is concerned.

    Args:
        messages: The conversation so far; without one, nothing is known and the trust is the lowest.
        tools: The tools of the agent that reads it, by name.
        answer: Name of the class of its answers, whose "results" are its own words.
    """
    if not messages:
        return View(Trust.UNTRUSTED)
    said = [message for message in messages if not (isinstance(message, ToolMessage) and message.name == answer)]
    written = [_view_of(message) for message in said if isinstance(message, AIMessage)]
    told = list(_passages(said, tools))
    found = (*(key for view in written for key in view.evidence), *(one.evidence for one in told if one.evidence))
    trusts = (*(one.trust or Trust.USER for one in told), *(view.trust for view in written))
    return View(min(trusts, default=Trust.USER), tuple(dict.fromkeys(found)))


def viewed(message: BaseMessage, view: View) -> BaseMessage:
    """Return a message that says what its writer had in view, for whoever reads it without the other messages.

    Args:
        message: The message; one that is not by a model, or was written in view of nothing to speak of, is unchanged.
        view: What was in view.
    """
    if not isinstance(message, AIMessage) or (view.trust >= Trust.TOOL and not view.evidence):
        return message
    about = {"trust": view.trust.value, "evidence": list(view.evidence)}
    return message.model_copy(update={"response_metadata": {**message.response_metadata, _VIEW: about}})


def _view_of(message: AIMessage) -> View:
    about = message.response_metadata.get(_VIEW)
    return View(Trust(about["trust"]), tuple(about["evidence"])) if about else View()


def _result_trust(tools: Mapping[str, BaseTool], result: ToolMessage) -> Trust:
    """Return how far a tool's result may be trusted, if it is no evidence: as the tool declares; else untrusted."""
    declared = _declared_by(tools, result)
    return Trust.UNTRUSTED if declared is None else declared.trust


def _declared_by(tools: Mapping[str, BaseTool], result: ToolMessage) -> Declaration | None:
    tool = tools.get(result.name or "")
    return None if tool is None else declaration_of(tool)


def _evidence_of(tools: Mapping[str, BaseTool], result: ToolMessage) -> list[Evidence]:
    """Return the passages in a result, each with its own trust, if its tool returns evidence."""
    declared = _declared_by(tools, result)
    return parse_evidence(str(result.text))[0] if declared is not None and declared.evidence else []
