"""A vote: several agents do the same task in parallel, and the answer that enough of them gave wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from ...agents.agent import Agent
from ...agents.errors import NoAnswer
from ...agents.handoffs import hand_over
from ...agents.result import Output, Status, StepRecord
from ...agents.runtime import Runtime
from ...configs.arguments import checked
from ...configs.errors import ConfigError
from ...configs.evidence import literal
from ...configs.words import Risk, StepKind, Tier
from ...dispatch.context import entered
from ...dispatch.ensemble.voting import Vote, as_text, canonical, judge_request
from ...dispatch.errors import AllFailed, NoCandidate
from ...dispatch.model import RoutedChatModel
from ...dispatch.request import one_line
from ..workflow import Workflow
from .state import WorkState

__all__ = ["vote"]


class _Ballot(TypedDict):
    task: str
    agent: str


@checked
def vote(
    name: str, agents: Sequence[Agent[Output]], *, agree: int | None = None, judge: bool = False
) -> Workflow[Output | None]:
    """Make a workflow whose answer is the one that enough of its agents gave.

    Answers are compared as `pointsman.Ensemble` does: texts without case, spacing and full stops, typed outputs by
    their values. An agent that no model can serve has no vote. If too few agree, a judge picks the best answer, or the
    answers go to a person.

    Args:
        name: Name of the workflow.
        agents: The voters, at least two; give them different models or tiers, or they repeat one opinion.
        agree: How many must give the same answer; by default more than half of all.
        judge: Whether a model decides if they do not agree.

    Raises:
        ConfigError: There are fewer than two agents, or more would have to agree than there are.
    """
    if len(agents) < 2:
        raise ConfigError(f"vote {name!r} has {len(agents)} agent(s): give two or more")
    most = len(agents)
    needed = most // 2 + 1 if agree is None else agree
    if isinstance(needed, bool) or not isinstance(needed, int) or not 1 <= needed <= most:
        raise ConfigError(f"vote {name!r}: agree is {agree!r}: give a whole number from 1 to {most}")
    return Workflow(
        name,
        agents,
        graph=lambda runtime: _Poll([agent.on(runtime) for agent in agents], runtime, needed, judge).graph(),
    )


class _Poll:
    def __init__(self, agents: Sequence[Agent], runtime: Runtime, needed: int, judge: bool) -> None:
        self._agents = {agent.name: agent for agent in agents}
        self._runtime = runtime
        self._needed = needed
        self._judge = judge

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        builder = StateGraph(WorkState)
        builder.add_node("answer", self.answer, input_schema=_Ballot)
        builder.add_node("count", self.count)
        builder.add_conditional_edges(START, self.ballots, ["answer"])
        builder.add_edge("answer", "count")
        builder.add_edge("count", END)
        return builder

    def ballots(self, state: WorkState) -> list[Send]:
        """Ask all agents at the same time."""
        return [Send("answer", _Ballot(task=state["task"], agent=name)) for name in self._agents]

    async def answer(self, state: _Ballot) -> dict[str, Any]:
        """Have one agent do the task."""
        name = state["agent"]
        try:
            with entered(step=name):
                record = await self._agents[name].step(literal(state["task"]), remember=False)
        except (NoCandidate, AllFailed, NoAnswer) as error:
            record = StepRecord(name, name, None, "", None, Status.FAILED, one_line(error))
        return {"done": [record.plain()]}

    async def count(self, state: WorkState) -> dict[str, Any]:
        """Take the answer that enough agents gave; otherwise ask a judge or a person."""
        records = [StepRecord.restored(record) for record in state["done"]]
        votes = _votes(records)
        if votes and votes[0].weight >= self._needed:
            best = votes[0]
            return {"output": best.answer, "notes": [f"{int(best.weight)} of {len(records)} agree: {_by(best)}"]}
        why = f"no answer was given by {self._needed} of {len(records)}"
        if self._judge and votes:
            try:
                best, reason = await self._best(state["task"], votes)
            except (NoCandidate, AllFailed) as error:
                why = f"{why}, and no judge could be asked: {one_line(error)}"
            else:
                return {"output": best.answer, "notes": [f"{why}, so a judge chose that of {_by(best)}: {reason}"]}
        shown = "\n".join(f"{_by(one)}: {as_text(one.answer)}" for one in votes) or "nobody answered"
        risk = max((Risk(record.risk) for record in records if record.risk), default=Risk.LOW)
        await hand_over(self._runtime, risk=risk.value, reason=why, summary=shown, step="count")
        ended = StepRecord("count", "count", None, risk.value, None, Status.HANDED_OVER, why)
        return {"done": [ended.plain()], "notes": [f"{why}, so it was handed to a person"]}

    async def _best(self, task: str, votes: Sequence[Vote]) -> tuple[Vote, str]:
        from langchain_core.messages import HumanMessage

        asked, schema, shown = judge_request([HumanMessage(task)], votes, seed=0)
        tier = max(vote.tier for vote in votes)
        model = RoutedChatModel(task="judge", kind=StepKind.DECIDE, tier=tier, dispatcher=self._runtime.dispatcher)
        with entered(agent="judge", step="judge"):
            ruling: Any = await model.with_structured_output(schema).ainvoke(asked)
        return shown[ruling["best"]], str(ruling["reason"])


def _votes(records: Sequence[StepRecord]) -> list[Vote]:
    """Return the distinct answers: those of most agents first, with ties won by the stronger model."""
    groups: dict[str, list[StepRecord]] = {}
    for record in records:
        if record.status is Status.DONE:
            groups.setdefault(canonical(record.output), []).append(record)
    made = []
    for key, group in groups.items():
        tier = max((Tier(record.tier) for record in group if record.tier), default=Tier.ONDEVICE)
        made.append(Vote(key, group[0].output, float(len(group)), tuple(record.agent for record in group), tier))
    return sorted(made, key=lambda vote: (-vote.weight, -vote.tier.rank, vote.key))


def _by(vote: Vote) -> str:
    return ", ".join(vote.models)
