"""`Outputs`: the classes that restore the types of outputs read from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ..agents.agent import Agent
from ..agents.result import StepRecord

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["Outputs", "given_out"]


@dataclass(frozen=True, slots=True)
class Outputs:
    """The classes of the outputs of a workflow and of its steps.

    Attributes:
        whole: Class of the workflow's output; None for that of the step that produced it.
        steps: Agent -> class of its output, if it has one.
    """

    whole: type[BaseModel] | None
    steps: Mapping[str, type[BaseModel]]

    @classmethod
    def of(cls, whole: type[BaseModel] | None, agents: Iterable[Agent]) -> Outputs:
        """Return the output classes of a workflow.

        Args:
            whole: As in `Outputs`.
            agents: The agents that do its steps.
        """
        return cls(whole, {agent.name: agent.output for agent in agents if agent.output is not None})

    @property
    def names(self) -> list[tuple[str, str]]:
        """Module and name of each step's class, which may be deserialized from a checkpoint."""
        return [(kind.__module__, kind.__qualname__) for kind in self.steps.values()]

    def record(self, dump: Mapping[str, Any]) -> StepRecord:
        """Return a step from the checkpoint, with its output typed again.

        Args:
            dump: As `StepRecord.plain` returned it.
        """
        record = StepRecord.restored(dump)
        kind = self.steps.get(record.agent)
        if kind is None or not isinstance(record.output, Mapping):
            return record
        return replace(record, output=kind.model_validate(record.output))

    def output(self, plain: Any, steps: Sequence[StepRecord]) -> Any:
        """Return the output of the workflow, typed.

        Args:
            plain: As the graph's state holds it; None if it has none yet.
            steps: Its steps so far.
        """
        if self.whole is not None:
            return None if plain is None else self.whole.model_validate(plain)
        return next((step.output for step in reversed(steps) if _plain(step.output) == plain), plain)


def given_out(graph: CompiledStateGraph[Any, Any, Any, Any], state: Mapping[str, Any]) -> Any:
    """Return the output of a graph: its ``output``, or the text of its last message if its state has no such field.

    Args:
        graph: The graph.
        state: Its state.
    """
    if "output" in graph.channels or not state.get("messages"):
        return state.get("output")
    return state["messages"][-1].text


def _plain(output: Any) -> Any:
    return output.model_dump(mode="json") if isinstance(output, BaseModel) else output
