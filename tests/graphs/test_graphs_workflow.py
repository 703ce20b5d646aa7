"""A supervised run over three vendors' SDKs: planned, run in parallel, verified, put together, recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import StateGraph
from pointsman import Agent, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.graphs.events import Began, Called, Finished, Stepped, Token, Used, Using, Waiting
from pointsman.graphs.supervision.plan import MAX_STEPS
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator
from pydantic import BaseModel

Make = Callable[..., Runtime]


class Ticket(BaseModel):
    """A support ticket."""

    subject: str
    urgent: bool


ran: list[str] = []


@tool(effect="read")
def order_status(order_id: str) -> str:
    """Look up an order."""
    return f"{order_id} is on its way"


@tool(effect="destructive")
def delete_order(order_id: str) -> str:
    """Delete an order."""
    ran.append(order_id)
    return f"{order_id} is gone"


def _plan(*steps: dict[str, Any]) -> Rule:
    return Rule(
        match=Match(contains_any_message="You plan work"),
        answer=Answer(tool_calls=[{"name": "Plan", "arguments": {"steps": list(steps)}}]),
    )


def _verdict(ok: bool, reason: str = "it holds") -> Rule:
    return Rule(
        match=Match(contains_any_message="You check another model's work"),
        answer=Answer(tool_calls=[{"name": "Verdict", "arguments": {"ok": ok, "reason": reason}}]),
    )


def _two_agents() -> Workflow:
    triage = Agent("triage", tier="economy", instructions="Write the ticket.", output=Ticket)
    decide = Agent("decide", tier="frontier", kind="decide", instructions="Decide what to do.", tools=[order_status])
    return Workflow("desk", agents=[triage, decide])


@pytest.mark.slow
def test_one_run_uses_three_vendors_and_the_ledger_agrees_with_them(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=[
            _plan({"id": "a", "agent": "triage"}, {"id": "b", "agent": "decide", "needs": ["a"]}),
            _verdict(True),
            Rule(match=Match(model="*opus*"), answer=Answer(text="Block the card.")),
        ]
    )
    home = runtime()
    delete = Agent("decide", kind="decide", instructions="Decide what to do.", tools=[delete_order])
    flow = Workflow("desk", agents=[_two_agents().agents[0], delete])
    result = flow.run("My card was stolen", max_cost=5, runtime=home)
    assert result.status == "done"
    assert result.output == "Block the card."
    assert {served.vendor for served in simulator.log} == {"anthropic", "openai", "google"}
    home.ledger.flush()
    rows = sorted(home.ledger.calls(run=result.run), key=lambda row: row.at)
    assert sorted(str(row.answered_by) for row in rows) == sorted(served.answered or "" for served in simulator.log)
    tokens = sum(row.usage.input + row.usage.output for row in rows if row.usage)
    assert tokens == sum(served.input_tokens + served.output_tokens for served in simulator.log)
    assert result.cost == pytest.approx(sum(served.cost_usd or 0 for served in simulator.log), abs=1e-12)
    assert [step.risk for step in result.steps] == ["low", "high"]


def test_steps_that_do_not_need_each_other_run_at_the_same_time(runtime: Make, simulator: Simulator, leap: Any) -> None:
    simulator.scenario = Scenario(
        rules=[
            _plan(
                {"id": "a", "agent": "one"},
                {"id": "b", "agent": "two"},
                {"id": "c", "agent": "three", "needs": ["a", "b"]},
            ),
            # Neither of the two is answered before both have come.
            Rule(match=Match(first=2), fault=Fault("hang")),
            Rule(answer=Answer(text="done")),
        ]
    )
    flow = Workflow("trio", agents=[Agent(name, tier="economy") for name in ("one", "two", "three")])
    with leap.when(lambda: sum(served.fault == "hang" for served in simulator.log) == 2, 200):
        result = flow.run("Look at both sides", runtime=runtime())
    first, second, third = (next(s for s in result.steps if s.agent == name) for name in ("one", "two", "three"))
    # What needs both comes after what both came to in the end.
    assert sorted(row.agent for row in result.calls if row.failure == "timeout") == ["one", "two"]
    assert [row.agent for row in result.calls][-1] == "three"
    assert (first.status, second.status, third.status) == ("done", "done", "done")


def test_a_later_step_reads_what_earlier_agents_wrote(runtime: Make, simulator: Simulator) -> None:
    seen: list[str] = []

    def listen(request: Any) -> Answer:
        seen.append(request.user_text)
        return Answer(text="The parcel code is QX-77.")

    simulator.scenario = Scenario(
        rules=[
            _plan(
                {"id": "a", "agent": "finder"},
                {"id": "b", "agent": "thinker", "needs": ["a"]},
                {"id": "c", "agent": "writer", "needs": ["b"], "instruction": "Name the parcel code"},
            ),
            Rule(answer=listen),
        ]
    )
    agents = [Agent(name, tier="economy") for name in ("finder", "thinker", "writer")]
    Workflow("chain", agents=agents).run("Find the parcel", runtime=runtime())
    assert 'source="step:b by thinker"' in seen[2]
    assert "QX-77" in seen[2]


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([{"id": "a", "agent": "nobody"}], "names an agent that does not exist"),
        ([], "no model could plan"),
        ([{"id": f"s{number}", "agent": "one"} for number in range(MAX_STEPS + 1)], "no model could plan"),
    ],
    ids=["nobody", "no step", "too many steps"],
)
def test_a_plan_that_cannot_work_gives_way_to_the_order_given(
    runtime: Make, simulator: Simulator, steps: list[dict[str, Any]], why: str
) -> None:
    simulator.scenario = Scenario(rules=[_plan(*steps), Rule(answer=Answer(text="done"))])
    flow = Workflow("pair", agents=[Agent("one", tier="economy"), Agent("two", tier="economy")])
    result = flow.run("Go", runtime=runtime())
    assert [step.agent for step in result.steps] == ["one", "two"]
    assert why in result.notes[0]


def test_where_no_model_can_plan_the_agents_run_in_the_order_given(runtime: Make, simulator: Simulator) -> None:
    failing = Rule(match=Match(contains_any_message="You plan work"), fault=Fault("overloaded"))
    simulator.scenario = Scenario(rules=[failing, Rule(answer=Answer(text="done"))])
    flow = Workflow("pair", agents=[Agent("one", tier="economy"), Agent("two", tier="economy")])
    result = flow.run("Go", runtime=runtime())
    assert (result.status, [step.agent for step in result.steps]) == ("done", ["one", "two"])
    assert "no model could plan, so the agents run in the order given" in result.notes[0]


def test_a_doubted_high_risk_result_goes_to_a_person(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=[_verdict(False, "it promises a refund nobody approved"), Rule(answer=Answer(text="Refund it."))]
    )
    home = runtime()
    flow = Workflow("solo", agents=[Agent("decide", kind="decide", tools=[delete_order])])
    result = flow.run("Is a refund due?", runtime=home)
    assert result.notes == ("step s1 is doubted and was handed to a person: it promises a refund nobody approved",)
    (waiting,) = home.ledger.handoffs(open_only=True)
    assert "promises a refund" in waiting.reason


def test_a_verifier_is_never_of_the_authors_own_provider(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[_verdict(True), Rule(answer=Answer(text="Keep it."))])
    flow = Workflow("solo", agents=[Agent("decide", kind="decide", tools=[delete_order])])
    result = flow.run("Is a refund due?", runtime=runtime())
    author, verifier = result.calls
    assert author.model.startswith("anthropic/")
    assert not verifier.model.startswith("anthropic/")


def _deleting(simulator: Simulator) -> Workflow:
    ran.clear()
    simulator.scenario = Scenario(
        rules=[
            _verdict(True),
            Rule(
                match=Match(vendor="anthropic", first=1),
                answer=Answer(tool_calls=[{"name": "delete_order", "arguments": {"order_id": "A-1"}}]),
            ),
            Rule(answer=Answer(text="Done.")),
        ]
    )
    return Workflow("cleaner", agents=[Agent("cleaner", tools=[delete_order])])


def test_a_destructive_act_waits_for_a_person_and_goes_on_when_approved(runtime: Make, simulator: Simulator) -> None:
    flow, home = _deleting(simulator), runtime()
    stopped = flow.run("Delete order A-1", runtime=home)
    assert (stopped.status, ran) == ("pending", [])
    (act,) = stopped.pending
    assert (act.tool, act.arguments, act.risk) == ("delete_order", {"order_id": "A-1"}, "critical")
    result = flow.resume(stopped.run, {act.id: {"decision": "approve", "digest": act.digest}}, runtime=home)
    assert (result.status, ran) == ("done", ["A-1"])


def test_an_approval_of_other_arguments_does_nothing(runtime: Make, simulator: Simulator) -> None:
    flow, home = _deleting(simulator), runtime()
    stopped = flow.run("Delete order A-1", runtime=home)
    (act,) = stopped.pending
    flow.resume(stopped.run, {act.id: {"decision": "approve", "digest": "0" * 16}}, runtime=home)
    assert ran == []


def test_a_step_whose_act_is_rejected_is_not_done_and_says_why(runtime: Make, simulator: Simulator) -> None:
    flow, home = _deleting(simulator), runtime()
    stopped = flow.run("Delete order A-1", runtime=home)
    (act,) = stopped.pending
    answer = {act.id: {"decision": "reject", "digest": act.digest, "reason": "wrong customer"}}
    result = flow.resume(stopped.run, answer, runtime=home)
    (step,) = result.steps
    assert (result.status, step.status, ran) == ("rejected", "rejected", [])
    assert "delete_order was rejected: a person refused this call: wrong customer" in step.note
    assert result.output.startswith("Done.\n\nMissing:\n- step s1 (cleaner) was rejected")
    assert home.ledger.run(result.run).status == "rejected"  # type: ignore[union-attr]


def test_an_edited_act_runs_with_the_persons_arguments(runtime: Make, simulator: Simulator) -> None:
    flow, home = _deleting(simulator), runtime()
    stopped = flow.run("Delete order A-1", runtime=home)
    (act,) = stopped.pending
    answer = {act.id: {"decision": "edit", "digest": act.digest, "arguments": {"order_id": "B-2"}}}
    flow.resume(stopped.run, answer, runtime=home)
    assert ran == ["B-2"]


async def test_a_stream_tells_tokens_calls_steps_and_last_the_result(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="It flows through Cambridge to the sea."))])
    flow = Workflow("solo", agents=[Agent("guide", tier="economy")])
    events = [event async for event in flow.astream("Tell me about the Cam", runtime=runtime())]
    assert isinstance(events[-1], Finished)
    assert "".join(e.text for e in events if isinstance(e, Token)) == "It flows through Cambridge to the sea."
    assert [e.row.model for e in events if isinstance(e, Called)] == ["openai/gpt-5.4-mini"]
    assert [e.record.agent for e in events if isinstance(e, Stepped)] == ["guide"]


def test_two_runs_from_synchronous_code_share_their_connections(runtime: Make, simulator: Simulator) -> None:
    flow, home = Workflow("solo", agents=[Agent("guide", tier="economy")]), runtime()
    assert [flow.run(text, runtime=home).status for text in ("one", "two")] == ["done", "done"]


def test_runs_on_two_event_loops_both_work(runtime: Make, simulator: Simulator) -> None:
    flow, home = Workflow("solo", agents=[Agent("guide", tier="economy")]), runtime()
    for text in ("one", "two"):
        assert asyncio.run(flow.arun(text, runtime=home)).status == "done"


def test_a_run_that_fails_can_be_taken_up_again_without_repeating_what_was_done(
    runtime: Make, simulator: Simulator
) -> None:
    failing = Rule(match=Match(contains="second part"), fault=Fault("bad_request"))
    plan = _plan(
        {"id": "a", "agent": "one", "instruction": "first part"},
        {"id": "b", "agent": "two", "instruction": "second part", "needs": ["a"]},
    )
    simulator.scenario = Scenario(rules=[plan, failing, Rule(answer=Answer(text="done"))])
    flow = Workflow("pair", agents=[Agent("one", tier="economy"), Agent("two", tier="economy")])
    home = runtime()
    with pytest.raises(Exception, match="Invalid type") as caught:
        flow.run("Go", runtime=home).raise_for_status()
    (run,) = home.ledger.runs(limit=1)
    assert run.status == "failed"
    # The error says what to do next.
    assert str(caught.value).endswith(f"go on with: pointsman resume {run.id}")
    before = len(simulator.log)
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="done"))])
    result = flow.resume(run.id, runtime=home)
    assert result.status == "done"
    assert len(simulator.log) - before == 1


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": ""}, "a workflow needs a name first"),
        ({"name": [Agent("one")]}, "a workflow needs a name first"),
        ({"agents": Agent("one")}, "agents must be a list of Agent"),
        ({"agents": ["one"]}, "agents must be a list of Agent"),
        ({"agents": 5}, "agents must be a list of Agent"),
        ({"graph": StateGraph(dict)}, "graph is a StateGraph: give a function that builds a StateGraph on a runtime"),
        ({"plan": "inorder"}, "plan is 'inorder', which is not one of model, in_order"),
        ({"retries": -1}, "retries is -1: give a whole number"),
        ({"memory": None}, "memory is None: give True or False"),
    ],
)
def test_a_workflow_that_cannot_be_meant_is_refused_where_it_is_made(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Workflow(**{"name": "flow", "agents": [Agent("one")], **spec})


def test_the_output_of_a_plan_with_one_last_step_is_what_that_step_gave(runtime: Make, simulator: Simulator) -> None:
    ticket = {"subject": "card", "urgent": True}
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(tool_calls=[{"name": "Ticket", "arguments": ticket}]))])
    one = Agent("one", tier="economy", output=Ticket)
    assert Workflow("flow", [one], plan="in_order").run("x", runtime=runtime()).output == Ticket(
        subject="card", urgent=True
    )


@pytest.mark.parametrize("memory", [True, False])
def test_steps_use_the_shared_memory_unless_the_workflow_has_none(
    runtime: Make, simulator: Simulator, memory: bool
) -> None:
    asked: list[str] = []

    def answer(request: Any) -> Answer:
        asked.append(request.user_text)
        return Answer(text=f"said at call {len(asked)}")

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    home = runtime()
    flow = Workflow("flow", [Agent(name) for name in ("one", "two", "three")], plan="in_order", memory=memory)
    result = flow.run("Where is parcel 4711?", runtime=home)
    assert (result.status, len(result.steps)) == ("done", 3)
    assert ("store" in home.__dict__) is memory
    assert len(home.store.search(("runs", result.run))) == (3 if memory else 0)
    # The third is handed what the second said, and recalls the first.
    assert [["call 1" in text, "call 2" in text] for text in asked] == [[False] * 2, [True, False], [memory, True]]


@pytest.mark.parametrize("run", ["nobody", "", None])
def test_what_a_run_that_does_not_exist_waits_for_is_an_error_not_nothing(runtime: Make, run: Any) -> None:
    with pytest.raises(ConfigError, match=f"there is no run {run!r}"):
        Workflow("flow", [Agent("one")]).pending(run, runtime())
    with pytest.raises(ConfigError, match=f"there is no run {run!r}"):
        Workflow("flow", [Agent("one")]).resume(run, runtime=runtime())


def test_empty_input_and_unknown_runs_are_the_users_to_mend(runtime: Make) -> None:
    flow, home = Workflow("solo", agents=[Agent("guide")]), runtime()
    with pytest.raises(ConfigError, match="input is empty"):
        flow.run("  ", runtime=home)
    with pytest.raises(ConfigError, match="there is no run"):
        flow.resume("20200101-000000-deadbeef", runtime=home)


def test_checkpoints_and_ledger_are_readable_by_their_owner_only(runtime: Make, tmp_path: Path) -> None:
    Workflow("solo", agents=[Agent("guide", tier="economy")]).run("Hello", runtime=runtime())
    for name in ("checkpoints.db", "ledger.db"):
        assert (tmp_path / ".pointsman" / name).stat().st_mode & 0o077 == 0


def test_agents_work_as_nodes_of_a_graph_of_ones_own(runtime: Make) -> None:
    from langgraph.graph import END, START, MessagesState

    builder = StateGraph(MessagesState)
    builder.add_node("guide", Agent("guide", tier="economy").on(runtime()))
    builder.add_edge(START, "guide")
    builder.add_edge("guide", END)
    state = builder.compile().invoke({"messages": [("user", "Where is the Cam?")]})
    assert [message.type for message in state["messages"]] == ["human", "ai"]


@pytest.mark.slow
def test_early_steps_go_cheaper_so_that_the_risky_one_to_come_stays_funded(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=[
            _plan({"id": "a", "agent": "reader"}, {"id": "b", "agent": "judge", "needs": ["a"]}),
            _verdict(True),
            Rule(answer=Answer(text="Done.")),
        ]
    )
    reader = Agent("reader", kind="transform", instructions="Read it.")
    judge = Agent("judge", kind="decide", tools=[delete_order], max_output=1000)
    flow = Workflow("desk", agents=[reader, judge])
    dear = {"routing.rules": [{"id": "all", "reason": "test", "tier": "advanced"}]}
    rich = flow.run("Look at order A-1", max_cost=5, runtime=runtime(**dear))
    scarce = flow.run("Look at order A-1", max_cost=0.114, runtime=runtime(**dear))
    tiers = [{call.agent: call.tier for call in result.calls} for result in (rich, scarce)]
    assert (tiers[0]["reader"], tiers[0]["judge"]) == ("advanced", "frontier")
    assert (tiers[1]["reader"], tiers[1]["judge"]) == ("standard", "frontier")
    (kept,) = [decision.rules for decision in scarce.decisions if decision.agent == "reader"]
    assert "is kept for 1 step(s) of high risk to come" in kept


def test_a_class_of_users_bounds_a_run_and_still_does_when_it_is_taken_up(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="Done."))])
    home = runtime(**{"routing.classes": {"guest": {"max_cost": 0.00001}, "gold": {}}})
    flow = Workflow("solo", agents=[Agent("guide", tier="economy")])
    assert flow.run("Go", user_class="gold", runtime=home).status == "done"
    with pytest.raises(Exception, match=r"the budget of run:.* is \$0.00001"):
        flow.run("Go", user_class="guest", runtime=home).raise_for_status()
    (run, _) = home.ledger.runs(limit=2)
    assert run.user_class == "guest"
    with pytest.raises(Exception, match=r"is \$0.00001"):
        flow.resume(run.id, runtime=home).raise_for_status()
    with pytest.raises(ConfigError, match="no class 'guests'; did you mean 'guest'"):
        flow.run("Go", user_class="guests", runtime=home)


def test_a_run_that_no_model_could_finish_waits_for_a_person_until_it_is_taken_up(
    runtime: Make, simulator: Simulator
) -> None:
    simulator.scenario = Scenario(rules=[Rule(fault=Fault("overloaded"))])
    home, flow = runtime(), Workflow("solo", agents=[Agent("guide", tier="economy")])
    with pytest.raises(Exception, match="no model answered guide"):
        flow.run("Go", runtime=home).raise_for_status()
    (waiting,) = home.ledger.handoffs(open_only=True)
    assert (waiting.reason, waiting.run) == ("no model gave a usable answer", home.ledger.runs()[0].id)
    assert f"pointsman resume {waiting.run}" in waiting.summary
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(text="Done."))])
    assert flow.resume(waiting.run, runtime=runtime()).status == "done"
    home.ledger.flush()
    assert home.ledger.handoffs(open_only=True) == ()


def test_a_step_says_on_what_evidence_it_rose_and_after_which_failures(runtime: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=[Rule(match=Match(first=1), fault=Fault("overloaded")), Rule(answer=Answer(text="Done."))]
    )
    rule = {"id": "evidence.test", "reason": "it happened", "tier": "standard"}
    flow = Workflow("solo", agents=[Agent("guide", tier="economy", kind="transform")])
    (step,) = flow.run("Go", runtime=runtime(**{"routing.rules": [rule]})).steps
    assert step.note.startswith("after anthropic/claude-haiku-4-5: overloaded; risen on evidence.test")


@pytest.mark.slow
def test_a_stream_that_goes_on_tells_nothing_again_of_what_an_earlier_part_began(
    runtime: Make, simulator: Simulator, erase: Any
) -> None:
    @tool(effect="read")
    def look(step: str) -> str:
        """Look."""
        return "seen"

    def answer(request: Any) -> Answer:
        if request.tools[0].name == "Verdict":
            return Answer(tool_calls=[{"name": "Verdict", "arguments": {"ok": True, "reason": "fine"}}])
        if request.tool_results:
            return Answer(text="ready")
        return Answer(tool_calls=[{"name": one.name, "arguments": {"step": "a"}} for one in request.tools])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    agents = [Agent("clerk", kind="act", tools=[erase, look]), Agent("scout", kind="gather", tools=[look])]
    plan = [
        {"id": "s1", "agent": "clerk", "instruction": "erase", "needs": []},
        {"id": "s2", "agent": "scout", "instruction": "look", "needs": []},
        {"id": "s3", "agent": "scout", "instruction": "look again", "needs": ["s1", "s2"]},
    ]
    flow, home, told = Workflow("flow", agents, plan=plan), runtime(), list[list[Any]]()
    told.append([])
    result = flow.run("Go", runtime=home, emit=told[-1].append)
    for given in (None, "approve"):
        told.append([])
        result = flow.resume(result.run, given, runtime=home, emit=told[-1].append)
    assert result.status == "done"
    used = [[(type(e).__name__, e.tool) for e in part if isinstance(e, Using | Used)] for part in told]
    assert sorted(used[0]) == [("Used", "look")] * 2 + [("Using", "erase")] + [("Using", "look")] * 2
    assert used[1:] == [[], [("Used", "erase"), ("Using", "look"), ("Used", "look")]]
    stepped = [[event.record.id for event in part if isinstance(event, Stepped)] for part in told]
    assert stepped == [["s2"], [], ["s1", "s3"]]
    # What waited goes on.
    assert [[e.step for e in part if isinstance(e, Began)] for part in told] == [["s1", "s2"], ["s1"], ["s1", "s3"]]
    assert [sum(isinstance(event, Waiting) for event in part) for part in told] == [1, 1, 0]
