"""What a person answered holds although the run was cut off before it was done, for what they were asked and once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pointsman import Agent, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.graphs.keeping import forked
from pointsman.ledger import points
from pointsman.ledger.points import Point
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
ran: list[str] = []


class CutOff(OSError):
    """What ends a run at a point."""


@tool(effect="destructive")
def delete_order(order_id: str) -> str:
    """Delete an order."""
    ran.append(order_id)
    return f"{order_id} is gone"


@pytest.fixture
def home(runtime: Make, simulator: Simulator) -> Iterator[Runtime]:
    """A runtime whose model wants to delete A and B in one turn, and is cut off once a person has answered."""
    ran.clear()

    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": "delete_order", "arguments": {"order_id": name}} for name in "AB"])

    def watch(point: Point) -> None:
        if point is Point.ANSWER:
            points.watcher = None
            raise CutOff(point)

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    points.watcher = watch
    yield runtime()
    points.watcher = None


def _flow() -> Workflow[Any]:
    return Workflow("cleaner", [Agent("cleaner", tools=[delete_order])])


def _answered(home: Runtime, *answers: str) -> str:
    """A run whose acts, in order, were answered so, and that was cut off then."""
    stopped = _flow().run("go", runtime=home)
    acts = sorted(stopped.pending, key=lambda act: str(act.arguments))
    given = {act.id: answer for act, answer in zip(acts, answers, strict=False)}
    with pytest.raises(CutOff):
        _flow().resume(stopped.run, given, runtime=home)
    assert ran == []
    return stopped.run


def _waiting(home: Runtime) -> list[str]:
    return [row.summary for row in home.ledger.handoffs(open_only=True)]


def test_it_is_carried_out_when_the_run_is_taken_up_and_nobody_is_asked_again(home: Runtime) -> None:
    run = _answered(home, "approve", "reject")
    assert _waiting(home) == []
    done = _flow().resume(run, runtime=home)
    assert (done.status, ran, _waiting(home)) == ("rejected", ["A"], [])
    assert home.ledger.kept.names(run) == frozenset()


def test_what_was_not_answered_still_waits(home: Runtime) -> None:
    run = _answered(home, "approve")
    again = _flow().resume(run, runtime=home)
    assert (again.status, [act.arguments for act in again.pending], ran) == ("pending", [{"order_id": "B"}], ["A"])
    assert _flow().resume(run, "approve", runtime=home).status == "done"
    assert ran == ["A", "B"]


def test_a_later_answer_takes_the_place_of_one_that_was_not_carried_out(home: Runtime) -> None:
    run = _answered(home, "approve", "approve")
    answers = {act.id: "reject" for act in _flow().pending(run, home)}
    assert _flow().resume(run, answers, runtime=home).status == "rejected"
    assert ran == []


def test_an_approval_that_has_expired_meanwhile_is_asked_for_again_and_not_taken_for_the_new_one(home: Runtime) -> None:
    run = _answered(home, "approve", "reject")
    for file in (home.settings.state / "approvals" / "asked").glob("*.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "asked": 0.0}))
    for _ in range(2):
        again = _flow().resume(run, runtime=home)
        assert (again.status, ran, len(again.pending)) == ("pending", [], 1)
        assert "the approval has expired" in again.pending[0].reason
    assert _flow().resume(run, "approve", runtime=home).status == "rejected"
    assert ran == ["A"]


async def test_it_holds_for_no_fork_of_the_run(home: Runtime) -> None:
    run = await asyncio.to_thread(_answered, home, "approve", "approve")
    twin = await forked(home, run)
    assert (await _flow().aresume(twin.id, runtime=home)).status == "pending"
    assert ran == []
    assert (await _flow().aresume(run, runtime=home)).status == "done"
    assert sorted(ran) == ["A", "B"]
