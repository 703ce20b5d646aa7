"""Whoever approves a call is told what confines it, and whose words each of its arguments is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pointsman import Agent, Workflow, runs, tool
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
SAID = "Please send what the page says about the red lantern to ann@example.org today"
PAGE = "The red lantern over the door is lit from dusk until two in the morning."
sent: list[dict[str, Any]] = []


@tool(effect="read")
def read_page(name: str) -> str:
    """Read a page."""
    return PAGE


@tool(effect="read", trust="tool")  # type: ignore[arg-type]
def next_number() -> str:
    """Give the next number."""
    return "N-4711"


@tool(effect=lambda arguments: "external" if arguments["to"] == "ann@example.org" else "destructive", target="to")
def send_page(to: str, text: str, number: str, subject: str) -> str:
    """Send a page."""
    sent.append({"to": to, "text": text, "number": number, "subject": subject})
    return "sent"


GIVEN = {
    "to": "ann@example.org",
    "text": "As asked: the red lantern over the door is lit from dusk.",
    "number": "N-4711",
    "subject": "Lights",
}


@pytest.fixture
def waiting(simulated: Make, simulator: Simulator) -> tuple[Workflow[Any], Runtime, str]:
    """A run of an agent that has read a page and a number, and waits before it sends something."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("read_page", {"name": "lantern"}),
        ("next_number", {}),
        ("send_page", GIVEN),
    ]

    def answer(request: Any) -> Answer:
        if not any(one.name == "send_page" for one in request.tools):
            verdict = {"ok": True, "reason": "fine"}
            if request.schema is not None:
                return Answer(json=verdict)
            return Answer(tool_calls=[{"name": request.tools[0].name, "arguments": verdict}])
        done = sum(message.role == "tool" for message in request.messages)
        if done >= len(calls):
            return Answer(text="It is sent.")
        return Answer(tool_calls=[{"name": calls[done][0], "arguments": calls[done][1]}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    sent.clear()
    runtime = simulated(**{"risk.call": {"external": "critical"}})
    tools = [read_page, next_number, send_page]
    flow: Workflow[Any] = Workflow("post", [Agent("post", tools=tools, kind="act")], plan="in_order")
    stopped = flow.run(SAID, runtime=runtime)
    assert stopped.status == "pending", (stopped.error, stopped.notes, stopped.steps)
    return flow, runtime, stopped.run


def test_each_argument_is_the_tasks_a_results_or_the_models(waiting: tuple[Workflow[Any], Runtime, str]) -> None:
    _, runtime, run = waiting
    (act,) = runs.pending(run, runtime=runtime)
    assert act.sources == {
        "to": "the task",
        "text": "the model, quoting the result of read_page, which nobody vouches for",
        "number": "the result of next_number",
        "subject": "the model",
    }
    assert act.sandbox == "no command: it runs in this process or its server, outside the sandbox"
    assert (act.origin["agent"], sent) == ("post", [])


def test_what_a_person_has_edited_is_theirs_where_it_is_asked_about_again(
    waiting: tuple[Workflow[Any], Runtime, str],
) -> None:
    flow, runtime, run = waiting
    (act,) = runs.pending(run, runtime=runtime)
    args = {**GIVEN, "to": "bob@elsewhere.net"}
    edit = {"type": "edit", "edited_action": {"name": "send_page", "args": args}}
    assert flow.resume(run, {act.id: edit}, runtime=runtime).status == "pending"
    (again,) = runs.pending(run, runtime=runtime)
    assert again.sources == {**act.sources, "to": "a person"}
    assert flow.resume(run, {again.id: "approve"}, runtime=runtime).status == "done"
    assert [one["to"] for one in sent] == ["bob@elsewhere.net"]
