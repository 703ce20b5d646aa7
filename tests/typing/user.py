"""What a type checker says of a user's program; mypy refuses a line whose mistake it no longer sees."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=error
from __future__ import annotations

from typing import assert_type

from pointsman import Agent, Pending, RunResult, Workflow, runs
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


def mistaken() -> None:
    """What is misspelt is an error before anything runs."""
    flow = Workflow("pair", [Agent("reader")])
    flow.run("Read it.", max_costs=1)  # type: ignore[call-arg]
    flow.resume("20260101-000000-00000000", max_step=3)  # type: ignore[call-arg]
    runs.answer("20260101-000000-00000000", "approve", max_costs=1)  # type: ignore[call-arg]
    Agent("reader", tier="econmy")  # type: ignore[call-overload]
