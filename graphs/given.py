"""The input of a workflow: its task as text, the conversation before it, and the files passed to its steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, message_to_dict, messages_from_dict

from ..agents.agent import Agent
from ..agents.approval.taint import NOW
from ..agents.attachments import MEDIA, PDF, name_of
from ..agents.runtime import Runtime
from ..configs.errors import ConfigError
from ..dispatch.conversation.blocks import kind_of, text_of
from ..dispatch.journal import INPUT, Journal
from ..dispatch.state.files import forget, set_aside

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["handed", "keep", "kept", "told", "work_of"]

_EARLIER: Final = 20_000
"""Characters of the earlier conversation that a task's steps are told; the oldest messages are left out."""
_ROLES: Final = {"human": "user", "ai": "assistant"}


def keep(messages: Sequence[BaseMessage], state: Path, run: str, journal: Journal | None) -> Sequence[BaseMessage]:
    """Store the input of a run, so that it can restart if it is cut off before its graph has begun.

    Args:
        messages: The conversation; the last message asks.
        state: The project's state folder.
        run: Id of the run.
        journal: The journal of the run.

    Returns:
        The conversation with a reference in place of each file, which is stored separately.

    Raises:
        ConfigError: A file cannot be stored.
    """
    try:
        kept = [_aside(message, state, run) for message in messages]
    except ConfigError:
        forget(state, run)
        raise
    if journal is not None:
        journal.keep(INPUT, json.dumps([message_to_dict(message) for message in kept], default=str))
    return kept


async def kept(journal: Journal) -> Sequence[BaseMessage] | None:
    """Return what `keep` stored of a run; None if nothing is stored.

    Args:
        journal: The journal of the run.
    """
    text = await journal.get(INPUT)
    return None if text is None else messages_from_dict(json.loads(text))


def work_of(messages: Sequence[BaseMessage], graph: CompiledStateGraph[Any, Any, Any, Any]) -> dict[str, Any]:
    """Return the input of a workflow's graph, whose state holds only a reference to each file.

    Args:
        messages: The conversation, as it is stored; the last message asks.
        graph: The graph.

    Raises:
        ConfigError: There are files, and the graph takes none.
    """
    fields = set(graph.builder.schemas[graph.builder.input_schema])
    files = [block for message in messages for block in _blocks(message) if kind_of(block) in MEDIA]
    if files and not fields & {"files", "messages"}:
        raise ConfigError(
            "the graph of this workflow takes no files: its state needs a field 'files' for them, or 'messages'"
        )
    *earlier, last = messages
    before = told(earlier)
    task = "\n\n".join(part for part in (_words(last), _named(files)) if part)
    given: dict[str, Any] = {
        "task": f"Earlier in this conversation:\n{before}{NOW}{task}" if before else task,
        "files": files,
        "messages": list(messages),
    }
    return {name: value for name, value in given.items() if name in fields}


def handed(
    text: str, files: Sequence[Mapping[str, Any]], agent: Agent, agents: Sequence[Agent], runtime: Runtime
) -> Any:
    """Return the input of a step: its text, with the files that its agent's model accepts.

    Other files are known by name only. A file that no agent's model accepts goes to all agents, so that routing finds a
    model that does, or reports that there is none.

    Args:
        text: What it is to do.
        files: The files of the run.
        agent: Who does it.
        agents: All agents of the workflow.
        runtime: What they run on.
    """
    if not files:
        return text
    takes = {one.name: _takes(one, runtime) for one in agents}
    known = frozenset[str]().union(*takes.values())
    mine = [dict(file) for file in files if (kind := _modality(file)) in takes[agent.name] or kind not in known]
    return [HumanMessage([{"type": "text", "text": text}, *mine])] if mine else text


def told(messages: Sequence[BaseMessage]) -> str:
    """Return a conversation as text, with the newest messages that fit.

    Args:
        messages: The conversation.
    """
    lines: list[str] = []
    left = _EARLIER
    for message in reversed(messages):
        words = "\n\n".join(part for part in (_words(message), _named(_blocks(message))) if part)
        line = f"{_ROLES.get(message.type, message.type)}: {words}"
        left -= len(line)
        if left < 0:
            break
        if words:
            lines.append(line)
    return "\n".join(reversed(lines))


def _takes(agent: Agent, runtime: Runtime) -> frozenset[str]:
    """Return the inputs that an agent's first model beyond the on-device tier accepts; every model accepts text."""
    cards = runtime.dispatcher.cards
    models = [cards[name] for name in runtime.dispatcher.decide(agent.request()).candidates]
    first = next((card for card in models if card.tier.rank > 0), None)
    return frozenset({"text"}) | (first.inputs if first else frozenset())


def _modality(block: Mapping[str, Any]) -> str:
    kind = kind_of(block)
    if kind != "file":
        return str(kind)
    return "pdf" if block.get("mime_type") in (None, PDF) else "text"


def _aside(message: BaseMessage, state: Path, run: str) -> BaseMessage:
    if isinstance(message.content, str):
        return message
    content = [
        set_aside(state, run, block) if isinstance(block, Mapping) and kind_of(block) in MEDIA else block
        for block in message.content
    ]
    return message.model_copy(update={"content": content})


def _blocks(message: BaseMessage) -> list[Mapping[str, Any]]:
    return [] if isinstance(message.content, str) else [one for one in message.content if isinstance(one, Mapping)]


def _words(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    parts = (part if isinstance(part, str) else text_of(part) or "" for part in message.content)
    return "\n".join(part for part in parts if part)


def _named(blocks: Sequence[Mapping[str, Any]]) -> str:
    files = [
        f"{name_of(block)} ({block.get('mime_type', kind_of(block))})" for block in blocks if kind_of(block) in MEDIA
    ]
    return f"Attached: {', '.join(files)}" if files else ""
