"""What a type checker says of a user's program; mypy refuses a line whose mistake it no longer sees."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=error
from __future__ import annotations

from pathlib import Path
from typing import assert_type

from langchain.agents.middleware import TodoListMiddleware
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from pointsman import (
    Agent,
    Began,
    Called,
    Finished,
    Noted,
    Pending,
    Retracted,
    RunResult,
    Stepped,
    Token,
    Used,
    Using,
    Waiting,
    Workflow,
    attach,
    cascade,
    decided,
    extraction,
    runs,
    vote,
)
from pydantic import BaseModel


class Invoice(BaseModel):
    """A bill."""

    total: int


def typed() -> None:
    """An answer has the type of the agent's output."""
    reader = Agent("reader", output=Invoice, tier="economy")
    flow = Workflow("pair", [reader], output=Invoice)
    assert_type(reader.run("Read it."), RunResult[Invoice])
    assert_type(Agent("writer").run("Write.").output, str)
    # A run that waits for a person has no output yet.
    assert_type(flow.run("Read it.").output, Invoice | None)
    for event in flow.stream("Read it.", max_cost=1.0):
        print(event)
    assert_type(runs.pending(), tuple[Pending, ...])
    for act in runs.pending():
        runs.answer(act.run, {act.id: "approve"}, workflow=flow, max_cost=1.0)


def prebuilt() -> None:
    """A workflow that is made of an agent has the type of its output; words are given as such."""
    reader = Agent("reader", output=Invoice)
    assert_type(extraction("bill", Invoice, tier="economy").run("Read it.").output, Invoice | None)
    assert_type(cascade("bill", reader, check=lambda _: None).run("Read it.").output, Invoice | None)
    assert_type(decided("bill", reader, risk="high").run("Read it.").output, Invoice | None)
    assert_type(vote("bill", [reader, Agent("other", output=Invoice)]).run("Read it.").output, Invoice | None)
    vote("text", [Agent("one"), Agent("other", tier="frontier")], judge=True)


def faces() -> None:
    """What goes in, and what comes out beside the answer."""
    agent = Agent(
        "clerk", instructions=SystemMessage("Be brief."), middleware=[TodoListMiddleware()], max_tier="advanced"
    )
    result = agent.run([HumanMessage("Hello")], files=[Path("a.png"), b"x", attach("b.pdf")], thread="al")
    assert_type(result, RunResult[str])
    assert_type(result.messages, tuple[BaseMessage, ...])
    flow = Workflow("pair", [agent], plan=[{"id": "a", "agent": "clerk"}])
    for event in flow.stream("Hello", files=["a.png"], thread="al"):
        match event:
            case Began() | Token() | Retracted() | Called() | Using() | Used() | Waiting() | Noted() | Stepped():
                pass
            case Finished(result=ended):
                print(ended.status)
    for step in flow.dry_run("Hello").steps:
        assert_type(step.most_cost, float | None)
    for problem in flow.validate():
        assert_type(problem.message, str)


def mistaken() -> None:
    """What is misspelt is an error before anything runs."""
    flow = Workflow("pair", [Agent("reader")])
    flow.run("Read it.", max_costs=1)  # type: ignore[call-arg]
    flow.resume("20260101-000000-00000000", max_step=3)  # type: ignore[call-arg]
    runs.answer("20260101-000000-00000000", "approve", max_costs=1)  # type: ignore[call-arg]
    Agent("reader", tier="econmy")  # type: ignore[call-overload]
    Agent("reader", max_tier="econmy")  # type: ignore[call-overload]
    extraction("bill", Invoice, tier="econmy")  # type: ignore[arg-type]
    decided("bill", Agent("reader"), risk="hihg")  # type: ignore[arg-type]
