"""A step that the decision agent rules on before it is done."""

from __future__ import annotations

from typing import Any

from langgraph.graph import END, START, StateGraph

from ...agents.agent import Agent
from ...agents.handoffs import hand_over
from ...agents.result import Output, Status, StepRecord
from ...agents.runtime import Runtime
from ...agents.verification.checking import Check, checked
from ...agents.verification.verifier import DECISION, Ruling, Verifier
from ...configs import arguments
from ...configs.errors import ConfigError
from ...configs.evidence import literal
from ...configs.words import Risk, RiskName
from ...dispatch.context import entered
from ...dispatch.request import one_line
from ...tools.base import effect_of
from ..given import handed
from ..workflow import Workflow
from .state import WorkState

__all__ = ["decided"]

_SUMMARY = 2_000
_STATUS = {"deny": Status.REJECTED, "hand_over": Status.HANDED_OVER, "allow": Status.DONE}


class _State(WorkState, total=False):
    files: list[dict[str, Any]]
    ruling: dict[str, Any]


@arguments.checked
def decided(name: str, agent: Agent[Output], *, risk: Risk | RiskName = Risk.HIGH) -> Workflow[Output | None]:
    """Make a workflow in which the decision agent rules on what an agent is asked to do, before it begins.

    It sees the task, the agent, and what its tools can do, and returns a `Ruling`: ``allow``, ``deny`` or
    ``hand_over``, its reasons, and the risk it sees, which can only raise the risk of the step. A step that it allows
    is done under the usual rules: calls are verified, and critical ones still wait for a person. If it denies the step,
    the run ends as ``rejected``; if it hands the step over, the run ends as ``handed_over``, in a person's queue.

    Args:
        name: Name of the workflow.
        agent: The agent that would do it.
        risk: The declared risk of the step; the decision agent rules on the tier that it requires.

    Raises:
        ConfigError: The risk is not valid.
    """
    try:
        declared = Risk(risk)
    except ValueError:
        raise ConfigError(f"decided {name!r}: risk {risk!r} is not one of {', '.join(Risk)}") from None
    return Workflow(name, [agent], graph=lambda runtime: _Decided(agent.on(runtime), runtime, declared).graph())


class _Decided:
    def __init__(self, agent: Agent[Any], runtime: Runtime, risk: Risk) -> None:
        self._agent = agent
        self._runtime = runtime
        self._risk = risk

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(_State)
        builder.add_node("rule", self.rule)
        builder.add_node("act", self.act)
        builder.add_edge(START, "rule")
        builder.add_conditional_edges("rule", self.ruled, ["act", END])
        builder.add_edge("act", END)
        return builder

    async def rule(self, state: _State) -> dict[str, Any]:
        """Rule whether the step may be done."""
        tools = {tool.name: effect_of(tool) for tool in self._agent.bound_tools()}
        act = {"agent": self._agent.name, "instructions": self._agent.told, "tools": tools}
        ruling = await Verifier(self._runtime).rule(state["task"], act, step=self._agent.name, risk=self._risk)
        why = one_line(" ".join(ruling.reasons))
        record = StepRecord(
            "ruling", DECISION, None, ruling.risk.value, ruling.model_dump(mode="json"), _STATUS[ruling.verdict], why
        )
        told: dict[str, Any] = {"ruling": ruling.model_dump(mode="json"), "done": [record.plain()]}
        if ruling.verdict == "allow":
            return told
        if ruling.verdict == "hand_over":
            summary = one_line(state["task"], _SUMMARY)
            await hand_over(self._runtime, risk=ruling.risk.value, reason=why, summary=summary, step="ruling")
        verb = "handed it to a person" if ruling.verdict == "hand_over" else "denied it"
        return {**told, "notes": [f"{self._agent.name} did nothing: the decision agent {verb}: {why}"]}

    def ruled(self, state: _State) -> str:
        """Continue with a step that is allowed."""
        return "act" if state["ruling"]["verdict"] == "allow" else END

    async def act(self, state: _State) -> dict[str, Any]:
        """Do the step, at the risk that was seen in it."""
        agent, risk = self._agent, Ruling.model_validate(state["ruling"]).risk
        work = handed(literal(state["task"]), state.get("files") or [], agent, [agent], self._runtime)
        check = Check(agent.name, Verifier(self._runtime), state["task"], agent.name)
        with entered(step=agent.name, risk=risk), checked(check):
            record = await agent.step(work)
        return {"done": [record.plain()], "output": record.plain()["output"]}
