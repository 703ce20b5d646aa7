"""`Described`: what an agent is and what it can reach, apart from how it runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ...configs.arguments import checked
from ...configs.errors import ConfigError
from ...configs.words import StepKind, StepKindName, Tier, TierName
from ...dispatch.calls.structured_output import output_class
from ...routing.features.features import kind_of
from ...routing.request import RouteRequest
from ...tools.base import MEMORY_TOOLS, effect_of, only_reads
from ..approval.taint import View, in_view
from ..runtime import Runtime
from .spec import (
    TURNS,
    Latency,
    check_bounds,
    check_flag,
    check_memory,
    check_names,
    check_schema,
    check_spec,
    tools_of,
    word,
)

if TYPE_CHECKING:
    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.messages import BaseMessage, SystemMessage
    from langchain_core.tools import BaseTool
    from langgraph.store.base import BaseStore
    from langgraph.types import Checkpointer
    from pydantic import BaseModel


__all__ = ["Described"]


class Described:
    """The checked arguments of an agent, and what routing is told about it; the arguments are those of `Agent`."""

    name: str

    @checked
    def __init__(
        self,
        name: str,
        *,
        instructions: str | SystemMessage = "",
        tier: Tier | TierName | None = None,
        max_tier: Tier | TierName | None = None,
        model: str | None = None,
        task: str = "chat",
        kind: StepKind | StepKindName | None = None,
        tools: Sequence[BaseTool | Callable[..., Any] | str] = (),
        output: type[BaseModel] | None = None,
        examples: Mapping[str, str | Path] | None = None,
        reversible: bool = True,
        max_output: int | None = None,
        latency: Latency = "interactive",
        turns: int = TURNS,
        context: int | None = None,
        guidance: Sequence[str] = (),
        middleware: Sequence[AgentMiddleware[Any, Any]] = (),
        state_schema: type[Any] | None = None,
        context_schema: type[Any] | None = None,
        store: BaseStore | None = None,
        checkpointer: Checkpointer = None,
        memory: str | None = None,
        remember: bool = False,
    ) -> None:
        check_spec(name, instructions, max_output, latency)
        check_flag(f"agent {name!r}", "reversible", reversible)
        check_flag(f"agent {name!r}", "remember", remember)
        self.name = name
        self.instructions = instructions
        self.tier = word(Tier, tier, f"tier of agent {name!r}")
        self.max_tier = word(Tier, max_tier, f"max_tier of agent {name!r}")
        if self.tier is not None and self.max_tier is not None and self.max_tier < self.tier:
            raise ConfigError(f"agent {name!r}: max_tier {self.max_tier} is below its tier {self.tier}; raise it")
        self.model = model
        self.task = task
        self.declared_kind = word(StepKind, kind, f"kind of agent {name!r}")
        self.tools = tools_of(name, tools)
        self.output = None if output is None else output_class(output, f"agent {name!r}")
        self.examples = {field: str(path) for field, path in (examples or {}).items()}
        self.reversible = reversible
        self.max_output = max_output
        self.latency = latency
        self.guidance = check_bounds(name, turns, context, guidance)
        self.turns = turns
        self.context = context
        self.middleware: tuple[AgentMiddleware[Any, Any], ...] = ()
        if middleware:
            from ..middleware import middleware_of

            self.middleware = middleware_of(name, middleware)
        self.state_schema = check_schema(name, state_schema)
        self.context_schema = context_schema
        self.store = store
        self.checkpointer: Checkpointer = checkpointer
        self.memory = check_memory(name, memory, remember)
        self.remember = remember
        self._runtime: Runtime | None = None

    @property
    def runtime(self) -> Runtime:
        """What it runs on: the runtime it was given, else that of the working directory's project."""
        return self._runtime or Runtime.default()

    def on(self, runtime: Runtime) -> Self:
        """Return the same agent, of the same class, on another runtime."""
        twin = copy.copy(self)
        # What is cached for this agent may not be valid for its twin.
        made = {name for kind in type(self).__mro__ for name, v in vars(kind).items() if isinstance(v, cached_property)}
        for name in (*made, "_compiled"):
            twin.__dict__.pop(name, None)
        twin._runtime = runtime
        return twin

    def own_tools(self) -> list[BaseTool]:
        """Return the tools it was given; those given by name are its memory's, or looked up in the registry.

        Raises:
            ConfigError: A name is not in the registry.
        """
        return [self._named(tool) if isinstance(tool, str) else tool for tool in self.tools]

    def _named(self, tool: str) -> BaseTool:
        return self._of_memory[tool] if tool in self._of_memory else self.runtime.tools.get(tool)

    @cached_property
    def _of_memory(self) -> Mapping[str, BaseTool]:
        """Tools that work on its memory, by name."""
        if self.memory is None or not MEMORY_TOOLS.intersection(t for t in self.tools if isinstance(t, str)):
            return {}
        from ..shared.memory import bound_to_memory

        return bound_to_memory(self.runtime, self.name, self.memory, self.view)

    def bound_tools(self) -> list[BaseTool]:
        """Return its tools, including those of its middleware.

        Raises:
            ConfigError: A name is not in the registry, or two tools share a name.
        """
        bound = [*self.own_tools(), *(tool for one in self.middleware for tool in getattr(one, "tools", ()))]
        check_names(self.name, [tool.name for tool in bound])
        return bound

    def view(self, messages: Sequence[BaseMessage]) -> View:
        """Return what a conversation of its shows, as far as trust is concerned.

        Args:
            messages: The conversation.
        """
        answer = "" if self.output is None else self.output.__name__
        return in_view(messages, {tool.name: tool for tool in self.bound_tools()}, answer)

    @property
    def told(self) -> str:
        """Its instructions as text."""
        return self.instructions if isinstance(self.instructions, str) else self.instructions.text

    @property
    def kind(self) -> StepKind:
        """What its steps are for, as declared or derived from its tools."""
        tools = self.bound_tools()
        effects = [effect for tool in tools if (effect := effect_of(tool)) is not None]
        return kind_of(self.declared_kind, effects, self.tier, only_reads=only_reads(tools))

    def request(self, dependents: int = 0) -> RouteRequest:
        """Return what routing will be told about one of its steps, except the messages.

        Args:
            dependents: Later steps that build on the step.
        """
        tools = self.bound_tools()
        effects = tuple(effect_of(tool) for tool in tools)
        return RouteRequest(
            kind=self.kind,
            task=self.task,
            effects=effects,
            tools=len(effects),
            only_reads=only_reads(tools),
            reversible=self.reversible,
            dependents=dependents,
            tier=self.tier,
            max_tier=self.max_tier,
            model=self.model,
            structured=self.output is not None,
            latency=self.latency,
            # Routing has its own default for the room of an answer whose length is not given.
            **({} if self.max_output is None else {"max_output": self.max_output}),
        )
