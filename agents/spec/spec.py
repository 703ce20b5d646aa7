"""What an agent is made of, and the checks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, TypeVar, get_args

from ...configs.errors import ConfigError
from ...configs.loading.layers import suggest
from ...configs.words import StepKind, StepKindName, Tier, TierName

if TYPE_CHECKING:
    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.messages import SystemMessage
    from langchain_core.tools import BaseTool
    from langgraph.store.base import BaseStore
    from langgraph.types import Checkpointer

__all__ = [
    "TURNS",
    "AgentSpec",
    "Latency",
    "check_bounds",
    "check_count",
    "check_flag",
    "check_memory",
    "check_names",
    "check_schema",
    "check_spec",
    "tools_of",
    "word",
]

TURNS: Final = 20
"""Default number of model turns that an agent may take; LangGraph's own default allows ten thousand."""
_RESERVED: Final = ("runs", "langgraph")
"""Namespaces of results within a run, and of LangGraph."""
_LEAST_CONTEXT: Final = 4_000
Latency = Literal["batch", "interactive", "critical"]
W = TypeVar("W", Tier, StepKind)


class AgentSpec(TypedDict, total=False):
    """The arguments of `Agent` that say what it is, except its name and output."""

    instructions: str | SystemMessage
    tier: Tier | TierName | None
    max_tier: Tier | TierName | None
    model: str | None
    task: str
    kind: StepKind | StepKindName | None
    tools: Sequence[BaseTool | Callable[..., Any] | str]
    examples: Mapping[str, str | Path] | None
    reversible: bool
    max_output: int | None
    latency: Latency
    turns: int
    context: int | None
    guidance: Sequence[str]
    middleware: Sequence[AgentMiddleware[Any, Any]]
    state_schema: type[Any] | None
    context_schema: type[Any] | None
    store: BaseStore | None
    checkpointer: Checkpointer
    memory: str | None
    remember: bool


def check_spec(name: Any, instructions: Any, max_output: Any, latency: Any) -> None:
    """Check arguments that need only a check of their type or value.

    Raises:
        ConfigError: One of them is not what it should be.
    """
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"an agent needs a name, not {name!r}")
    from langchain_core.messages import SystemMessage

    if not isinstance(instructions, str | SystemMessage):
        shown = type(instructions).__name__
        raise ConfigError(f"agent {name!r}: instructions must be a text or a SystemMessage, not {shown}")
    if latency not in get_args(Latency):
        known = get_args(Latency)
        near = suggest(str(latency), known)
        raise ConfigError(f"latency of agent {name!r}: {latency!r} is not one of {', '.join(known)}{near}")
    if max_output is not None and (not isinstance(max_output, int) or max_output < 1):
        raise ConfigError(f"agent {name!r}: max_output is {max_output!r}: give a number of tokens, 1 or more")


def check_bounds(agent: str, turns: Any, context: Any, guidance: Any) -> tuple[str, ...]:
    """Check the limits of an agent's conversation, and return the files that guide it.

    Args:
        agent: Its name, for the message.
        turns: Turns it may take.
        context: Tokens of input that a turn may have; None for what the model takes.
        guidance: Paths.

    Raises:
        ConfigError: One of them is not what it should be.
    """
    check_count(f"agent {agent!r}", "turns", turns)
    whole = isinstance(context, int) and not isinstance(context, bool)
    if context is not None and not (whole and context >= _LEAST_CONTEXT):
        raise ConfigError(
            f"agent {agent!r}: context is {context!r}: give a number of tokens, {_LEAST_CONTEXT:,} or more"
        )
    if isinstance(guidance, str) or not all(isinstance(path, str) for path in guidance):
        raise ConfigError(f"agent {agent!r}: guidance must be a list of paths, such as guidance=['AGENTS.md']")
    return tuple(guidance)


def check_memory(agent: str, memory: Any, remember: Any) -> tuple[str, ...] | None:
    """Check the memory of an agent, and return it as a namespace.

    Args:
        agent: Its name, for the message.
        memory: The labels of the namespace, parted by '/'; None for no memory.
        remember: Whether its results are kept there.

    Raises:
        ConfigError: It is no namespace that agents may share, or there is none to keep results in.
    """
    if memory is None:
        if remember:
            raise ConfigError(f"agent {agent!r}: remember=True needs a memory to keep them in, such as memory='team'")
        return None
    labels = tuple(memory.split("/")) if isinstance(memory, str) else ()
    if not all(label.strip() and "." not in label and label.isprintable() for label in labels) or not labels:
        raise ConfigError(
            f"agent {agent!r}: memory is {memory!r}: give a namespace such as 'team' or 'team/desk', without dots or "
            "control characters"
        )
    if labels[0] in _RESERVED:
        raise ConfigError(f"agent {agent!r}: memory is {memory!r}: {labels[0]!r} is taken; choose another name")
    return labels


def check_flag(whose: str, name: str, flag: Any) -> None:
    """Check an argument that is True or False: any other value would count as one of them, such as "no" as True.

    Args:
        whose: Whose argument it is, for the message.
        name: Its name.
        flag: What was given for it.

    Raises:
        ConfigError: It is neither.
    """
    if not isinstance(flag, bool):
        raise ConfigError(f"{whose}: {name} is {flag!r}: give True or False")


def check_count(whose: str, name: str, count: Any) -> None:
    """Check an argument that counts something.

    Args:
        whose: Whose argument it is, for the message.
        name: Its name.
        count: What was given for it.

    Raises:
        ConfigError: It is not a whole number of 1 or more.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"{whose}: {name} is {count!r}: give a whole number of 1 or more")


def check_schema(agent: str, schema: Any) -> type[Any] | None:
    """Check the schema of an agent's state.

    Args:
        agent: Its name, for the message.
        schema: What was given; None for that of LangChain's agents.

    Raises:
        ConfigError: It has no ``messages``, in which an agent reads and writes.
    """
    if schema is not None and "messages" not in getattr(schema, "__annotations__", {}):
        raise ConfigError(
            f"agent {agent!r}: its state_schema has no field 'messages': derive it from langchain.agents.AgentState"
        )
    found: type[Any] | None = schema
    return found


def tools_of(agent: str, tools: Any) -> tuple[BaseTool | str, ...]:
    """Check what was given as an agent's tools; names are not looked up.

    Args:
        agent: Its name, for the message.
        tools: What was given.

    Raises:
        ConfigError: It is not a list of tools, or two share a name.
    """
    from langchain_core.tools import BaseTool

    if isinstance(tools, str | BaseTool) or not isinstance(tools, Iterable):
        raise ConfigError(f"agent {agent!r}: tools must be a list, such as tools=[order_status]")
    given: tuple[Any, ...] = tuple(tools)
    for tool in given:
        if not isinstance(tool, str | BaseTool):
            shown = getattr(tool, "__name__", type(tool).__name__)
            raise ConfigError(
                f'agent {agent!r}: {shown} is not a tool; put @tool(effect="read"), "write", "external" or '
                '"destructive" above it'
            )
    check_names(agent, [tool if isinstance(tool, str) else tool.name for tool in given])
    return given


def check_names(agent: str, names: Sequence[str]) -> None:
    """Reject two tools with the same name.

    Args:
        agent: Name of their agent, for the message.
        names: Their names.

    Raises:
        ConfigError: A name occurs twice.
    """
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"agent {agent!r}: two of its tools are called {twice!r}; rename one")


def word(words: type[W], value: W | str | None, what: str) -> W | None:
    """Convert a value to a member of an enumeration.

    Args:
        words: The enumeration.
        value: The value; None stays None.
        what: What it is for, for the message.

    Raises:
        ConfigError: It is not a member.
    """
    if value is None:
        return None
    try:
        return words(value)
    except ValueError:
        known = [one.value for one in words]
        raise ConfigError(f"{what}: {value!r} is not one of {', '.join(known)}{suggest(str(value), known)}") from None
