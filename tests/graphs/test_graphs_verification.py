"""Verification: by whom, of what, and what becomes of a step that is doubted, rejected, or needs one that is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pointsman import Agent, ToolFailed, Workflow, tool
from pointsman.agents.handoffs import hand_over
from pointsman.agents.runtime import Runtime
from pointsman.agents.verification.authors import own_work
from pointsman.configs.words import Risk
from pointsman.dispatch.context import RunContext, entered
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Runtime]

sent: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    sent.clear()


@tool(effect="write")
def send(to: str) -> str:
    """Send something."""
    sent[to] += 1
    return "it is sent"


@tool(effect="read")
def look(at: str) -> str:
    """Look at something."""
    return "it is seen"


@tool(effect="destructive")
def erase(what: str) -> str:
    """Erase something."""
    sent[f"erase {what}"] += 1
    return "it is erased"


class Models:
    """Answers by what is asked: plans, verdicts in turn (the last one for ever), calls in turn, then words.

    Attributes:
        asked: Model and whole text of each verification.
        worked: Model and user's text of each turn of a step.
    """

    def __init__(
        self, *, plan: Sequence[dict[str, Any]] = (), verdicts: Sequence[str] = (), calls: Sequence[Any] = ()
    ) -> None:
        self._plan = plan
        self._verdicts = list(verdicts)
        self._calls = list(calls)
        self.asked: list[tuple[str, str]] = []
        self.worked: list[tuple[str, str]] = []

    def scenario(self, *before: Rule) -> Scenario:
        return Scenario(rules=[*before, Rule(answer=self._answer)])

    def _answer(self, request: Any) -> Answer:
        offered = {one.name for one in request.tools}
        if "Plan" in offered:
            return Answer(tool_calls=[{"name": "Plan", "arguments": {"steps": list(self._plan)}}])
        if "Verdict" in offered:
            self.asked.append((request.model, "\n".join(message.text for message in request.messages)))
            doubt = self._verdicts.pop(0) if len(self._verdicts) > 1 else (self._verdicts or [""])[0]
            verdict = {"ok": not doubt, "reason": doubt or "it holds"}
            return Answer(tool_calls=[{"name": "Verdict", "arguments": verdict}])
        self.worked.append((request.model, request.user_text))
        if offered and self._calls:
            call = self._calls.pop(0)
            return Answer(text=call) if isinstance(call, str) else Answer(tool_calls=[call])
        return Answer(text=f"answer {len(self.worked)}")


def _send(to: str) -> dict[str, Any]:
    return {"name": "send", "arguments": {"to": to}}


def _decider(**more: Any) -> Workflow:
    return Workflow("solo", [Agent("judge", tier="economy", kind="decide", instructions="Judge.", **more)])


@pytest.mark.parametrize(
    ("agent", "risk"),
    [
        (Agent("a", tier="economy"), Risk.LOW),
        (Agent("a", tier="economy", tools=[look]), Risk.LOW),
        (Agent("a", tier="economy", kind="decide"), Risk.MEDIUM),
        (Agent("a", tier="economy", kind="act", tools=[look]), Risk.MEDIUM),
        (Agent("a", kind="decide", tools=[erase]), Risk.HIGH),
    ],
    ids=["transforms", "looks", "decides", "acts on what it read", "can destroy"],
)
def test_what_is_of_medium_risk_or_above_is_verified_once_and_nothing_below(
    runtime: Make, simulator: Simulator, agent: Agent, risk: Risk
) -> None:
    models = Models()
    simulator.scenario = models.scenario()
    result = Workflow("solo", [agent]).run("What now?", runtime=runtime())
    (step,) = result.steps
    assert (result.status, step.risk, len(models.asked)) == ("done", risk, int(risk >= Risk.MEDIUM))
    assert len(result.calls) == 1 + len(models.asked)
    if models.asked:
        author, verifier = result.calls
        assert author.model.partition("/")[0] != verifier.model.partition("/")[0]
        assert verifier.tier == ("standard" if risk is Risk.MEDIUM else "advanced")
        assert "What now?" in models.asked[0][1]


@pytest.mark.parametrize(("names", "memory", "kept"), [("ab", True, 2), ("ab", False, 0), ("a", True, 0)])
def test_what_verified_steps_came_to_is_in_the_memory_where_another_may_recall_it(
    runtime: Make, simulator: Simulator, names: str, memory: bool, kept: int
) -> None:
    models = Models()
    simulator.scenario = models.scenario()
    agents = [Agent(name, tier="economy", kind="decide") for name in names]
    home = runtime()
    result = Workflow("flow", agents, plan="in_order", memory=memory).run("What now?", runtime=home)
    assert (result.status, len(models.asked)) == ("done", len(names))
    assert len(home.store.search(("runs", result.run))) == kept


@pytest.mark.parametrize("author", ["anthropic", "google"])
def test_whoever_wrote_it_somebody_else_verifies_it(runtime: Make, simulator: Simulator, author: str) -> None:
    models = Models()
    names = {"anthropic": "anthropic/claude-haiku-4-5", "google": "google/gemini-3.5-flash"}
    simulator.scenario = models.scenario()
    result = _decider(model=names[author]).run("What now?", runtime=runtime())
    assert [call.model.partition("/")[0] for call in result.calls] == [
        author, "google" if author == "anthropic" else "anthropic",
    ]  # fmt: skip


def test_a_model_is_its_own_author_through_whatever_provider(runtime: Make) -> None:
    more = {
        "openrouter/judge": {"name": "anthropic/claude-opus-4.7", "tier": "frontier"},
        "openrouter/fast": {"name": "google/gemini-3.5-flash:free", "tier": "standard"},
        "vllm/mine": {"name": "acme/tuned-9b", "profile": "claude-haiku-4-5", "tier": "standard"},
        "ollama/other": {"name": "llama4:latest", "tier": "economy"},
        "openrouter/small": {"name": "o4-mini", "tier": "standard"},
        "vllm/told": {"name": "ft:gpt-5.4-mini:acme::9", "tier": "standard"},
        "vllm/code": {"name": "codestral-2508", "tier": "standard"},
        "openrouter/mix": {"name": "mistral-large-2512", "tier": "standard"},
    }
    home = runtime(models=more).dispatcher
    barred = {author: {name for name, _ in own_work(home.settings, home.cards, author)} for author in home.cards}
    anthropic = {name for name in home.cards if "claude" in name or name in ("openrouter/judge", "vllm/mine")}
    assert barred["anthropic/claude-opus-4-7"] == anthropic
    # The same provider is never asked to check itself, whatever it passes on.
    assert barred["bedrock/claude-opus-4-7"] == anthropic
    assert anthropic | {"openrouter/fast"} <= barred["openrouter/judge"]
    assert barred["vllm/llama-4-scout"] >= {"ollama/llama3.2", "ollama/other", "vllm/mine"}
    assert "vertex/gemini-3.1-pro" in barred["google/gemini-3.5-flash"]
    assert {"openrouter/small", "vllm/told"} <= barred["openai/gpt-5.5"]
    assert "openrouter/mix" in barred["vllm/code"]
    assert "openai/gpt-5.5" not in barred["google/gemini-3.5-flash"]
    for author, names in barred.items():
        assert author in names
        assert all(author in barred[name] for name in names)


def test_a_doubted_step_is_done_again_by_a_stronger_model_that_knows_the_doubt(
    runtime: Make, simulator: Simulator
) -> None:
    models = Models(verdicts=["the sum is wrong", ""])
    simulator.scenario = models.scenario()
    result = _decider().run("Add it up", runtime=runtime())
    (step,) = result.steps
    assert (result.status, step.status, step.doubt) == ("done", "done", "")
    assert "a verifier doubted" in step.note
    assert "the sum is wrong" in step.note
    tiers = [call.tier for call in result.calls if call.agent == "judge"]
    assert tiers == ["standard", "advanced"]
    assert (len(models.asked), len(models.worked), len(result.calls)) == (2, 2, 4)
    assert "the sum is wrong" in models.worked[1][1]
    assert "answer 1" in models.worked[1][1]
    assert result.output == "answer 2"


def test_a_doubted_step_whose_act_failed_after_it_began_is_not_done_again(runtime: Make, simulator: Simulator) -> None:
    @tool(effect="write")
    def post(to: str) -> str:
        """Post something."""
        sent[to] += 1
        raise ToolFailed("the connection broke")

    call = {"name": "post", "arguments": {"to": "Ann"}}
    models = Models(verdicts=["", "it may not have arrived"], calls=[call, "it failed", call, "it failed"])
    simulator.scenario = models.scenario()
    steps = [{"id": "a", "agent": "clerk"}, {"id": "b", "agent": "clerk", "needs": ["a"]}]
    home = runtime()
    result = Workflow("post", [Agent("clerk", tools=[post])], plan=steps).run("Post it", runtime=home)
    assert [(step.id, step.status.value) for step in result.steps] == [("a", "handed_over"), ("b", "skipped")]
    assert sent == {"Ann": 1}
    assert len(home.ledger.handoffs()) == 1


async def test_a_step_is_handed_over_once_however_often_its_node_is_done(runtime: Make) -> None:
    home = runtime()
    with entered(run=RunContext("r1")):
        rows = [await hand_over(home, risk="high", reason="doubted", summary="x", step="a") for _ in range(3)]
        home.ledger.finish_handoff(rows[0].id)
        await hand_over(home, risk="high", reason="doubted", summary="x", step="a")
    (row,) = home.ledger.handoffs()
    assert (row.id, row.done, {one.id for one in rows}) == (rows[0].id, True, {row.id})


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (2, 3), (9, 3)])
def test_a_step_that_stays_doubted_goes_to_a_person_once_its_retries_or_the_tiers_are_used_up(
    runtime: Make, simulator: Simulator, retries: int, attempts: int
) -> None:
    models = Models(verdicts=["it is made up"])
    simulator.scenario = models.scenario()
    home = runtime()
    agent = Agent("judge", tier="economy", kind="decide", instructions="Judge.")
    result = Workflow("solo", [agent], retries=retries).run("Add it up", runtime=home)
    (step,) = result.steps
    assert (result.status, step.status, step.doubt) == ("handed_over", "handed_over", "it is made up")
    assert (len(models.worked), len(models.asked)) == (attempts, attempts)
    (waiting,) = home.ledger.handoffs(open_only=True)
    assert (waiting.run, waiting.risk) == (result.run, "medium")
    assert "a verifier doubts step s1: it is made up" in waiting.reason
    assert result.output.startswith("Missing:\n- step s1 (judge) was handed over")
    assert f"answer {attempts}" not in result.output
    assert home.ledger.run(result.run).status == "handed_over"  # type: ignore[union-attr]


def test_a_doubted_step_that_no_stronger_model_can_do_again_goes_to_a_person_and_what_needs_it_is_skipped(
    runtime: Make, simulator: Simulator
) -> None:
    models = Models(verdicts=["it is made up"])
    stronger = [Rule(match=Match(contains_any_message="does not rely"), fault=Fault("overloaded"))]
    simulator.scenario = models.scenario(*stronger)
    agents = [Agent("judge", tier="economy", kind="decide", instructions="Judge."), Agent("poet", tier="economy")]
    result = Workflow("pair", agents, plan="in_order").run("Add it up", runtime=runtime())
    step, later = result.steps
    assert (result.status, step.doubt, len(models.worked)) == ("handed_over", "it is made up", 1)
    assert "no stronger model could do it again" in step.note
    assert (later.status, later.note) == ("skipped", f"it needs step {step.id}, which was handed over")


def test_a_call_is_verified_with_its_arguments_before_it_is_made_and_then_once(
    runtime: Make, simulator: Simulator
) -> None:
    models = Models(calls=[_send("ann@example.org")])
    simulator.scenario = models.scenario()
    flow = Workflow("post", [Agent("clerk", tier="economy", tools=[send])])
    result = flow.run("Send it to Ann", runtime=runtime())
    assert (result.status, sent) == ("done", {"ann@example.org": 1})
    ((_, text),) = models.asked
    assert all(part in text for part in ("Send it to Ann", '"tool": "send"', '"to": "ann@example.org"'))
    author, verifier, _ = result.calls
    assert author.model.partition("/")[0] != verifier.model.partition("/")[0]
    assert verifier.step == "verify s1"
    (act,) = result.steps[0].acts
    assert (act.tool, act.outcome, act.reason) == ("send", "done", "")


@pytest.mark.parametrize(("kind", "built_on", "verified"), [("act", False, 1), ("act", True, 2), ("decide", False, 2)])
def test_what_a_step_says_that_acted_is_verified_too_where_it_decides_or_another_builds_on_it(
    runtime: Make, simulator: Simulator, kind: Any, built_on: bool, verified: int
) -> None:
    models = Models(calls=[_send("ada"), "it is sent"])
    simulator.scenario = models.scenario()
    agents = [Agent("clerk", tier="economy", kind=kind, tools=[send]), Agent("reader", tier="economy")]
    result = Workflow("flow", agents[: 1 + built_on], plan="in_order", memory=False).run("Tell Ada", runtime=runtime())
    assert (result.status, sent["ada"], len(models.asked)) == ("done", 1, verified)


def test_a_doubted_call_is_not_made_and_the_model_may_mend_it_once(runtime: Make, simulator: Simulator) -> None:
    models = Models(calls=[_send("bob"), _send("ann")], verdicts=["Bob was not named", ""])
    simulator.scenario = models.scenario()
    flow = Workflow("post", [Agent("clerk", tier="economy", tools=[send])])
    result = flow.run("Send it to Ann", runtime=runtime())
    (step,) = result.steps
    assert (result.status, sent) == ("done", {"ann": 1})
    assert [act.outcome for act in step.acts] == ["doubted", "done"]
    assert "send was doubted at first: Bob was not named" in step.note


LOOKING = {"name": "look", "arguments": {"at": "x"}}


@pytest.mark.parametrize(
    ("calls", "turns"),
    [
        ([_send("bob"), _send("bob"), _send("bob")], 2),
        ([_send("bob"), "I did it."], 2),
        ([_send("bob"), LOOKING, "Done."], 3),
    ],
    ids=["again", "claims it", "looks and claims it"],
)
def test_a_step_whose_call_stays_doubted_goes_to_a_person_and_nothing_is_sent(
    runtime: Make, simulator: Simulator, calls: list[Any], turns: int
) -> None:
    models = Models(calls=calls, verdicts=["Bob was not named"])
    simulator.scenario = models.scenario()
    home = runtime()
    flow = Workflow("post", [Agent("clerk", tier="economy", tools=[send, look])])
    result = flow.run("Send it to Ann", runtime=home)
    (step,) = result.steps
    assert (result.status, step.status, sent) == ("handed_over", "handed_over", {})
    assert step.doubt == "the call of send: Bob was not named"
    assert len(models.worked) == turns
    (waiting,) = home.ledger.handoffs(open_only=True)
    assert "Bob was not named" in waiting.reason
    assert home.ledger.effects(result.run) == ()


def test_what_a_person_has_approved_is_not_judged_again(runtime: Make, simulator: Simulator) -> None:
    models = Models(calls=[{"name": "erase", "arguments": {"what": "x"}}], verdicts=["no"])
    simulator.scenario = models.scenario()
    home, flow = runtime(), Workflow("post", [Agent("clerk", tools=[erase])])
    stopped = flow.run("Erase x", runtime=home)
    (act,) = stopped.pending
    result = flow.resume(stopped.run, {act.id: {"decision": "approve", "digest": act.digest}}, runtime=home)
    assert (result.status, sent, models.asked) == ("done", {"erase x": 1}, [])


@pytest.mark.parametrize("calls", [[], [_send("ann")]], ids=["a result", "a call"])
def test_where_no_other_author_is_to_be_had_that_is_noted_and_the_step_is_done(
    runtime: Make, simulator: Simulator, calls: list[Any]
) -> None:
    models = Models(calls=calls)
    simulator.scenario = models.scenario()
    home = runtime(**{f"providers.{name}.enabled": False for name in ("openai", "google")})
    flow = Workflow("post", [Agent("clerk", tier="economy", kind="act", tools=[send])])
    result = flow.run("Send it to Ann", runtime=home)
    (step,) = result.steps
    assert (result.status, step.status, models.asked) == ("done", "done", [])
    assert "not verified: no model can run verifier" in step.note
    assert "was not verified" in result.notes[0]
    assert sum(sent.values()) == len(calls)


def test_a_verification_that_fails_for_the_providers_sake_is_noted(runtime: Make, simulator: Simulator) -> None:
    models = Models(calls=[_send("ann")])
    simulator.scenario = models.scenario(
        Rule(match=Match(contains_any_message="You check another"), fault=Fault("overloaded"))
    )
    result = Workflow("post", [Agent("clerk", tier="economy", tools=[send])]).run("Send it", runtime=runtime())
    assert (result.status, sent) == ("done", {"ann": 1})
    assert "not verified: no model answered verifier" in result.steps[0].note


def _three(calls: list[Any], verdicts: list[str], simulator: Simulator) -> tuple[Workflow, Models]:
    plan = [
        {"id": "a", "agent": "clerk"},
        {"id": "b", "agent": "writer", "needs": ["a"]},
        {"id": "c", "agent": "writer", "needs": ["b"]},
        {"id": "d", "agent": "writer"},
    ]
    models = Models(plan=plan, calls=calls, verdicts=verdicts)
    simulator.scenario = models.scenario()
    agents = [Agent("clerk", tier="frontier", kind="act", tools=[send, erase]), Agent("writer", tier="economy")]
    return Workflow("trio", agents), models


def test_what_needs_a_doubted_step_is_skipped_and_what_does_not_goes_on(runtime: Make, simulator: Simulator) -> None:
    flow, _ = _three([_send("bob"), _send("bob")], ["Bob was not named"], simulator)
    result = flow.run("Send it to Ann", runtime=runtime())
    ended = {step.id: step for step in result.steps}
    assert {name: str(step.status) for name, step in ended.items()} == {
        "a": "handed_over", "b": "skipped", "c": "skipped", "d": "done",
    }  # fmt: skip
    assert ended["b"].note == "it needs step a, which was handed over"
    assert ended["c"].note == "it needs step b, which was skipped"
    assert (result.status, len(result.steps), sent) == ("handed_over", 4, {})
    assert result.notes == (
        f"step a is doubted and was handed to a person: {ended['a'].doubt}",
        *(f"step {name} was skipped: {ended[name].note}" for name in "bc"),
    )
    assert sum(call.agent == "writer" for call in result.calls) == 1
    text, _, missing = result.output.partition("\n\nMissing:\n")
    assert re.fullmatch(r"answer \d", text)
    assert [line.partition(" was ")[0] for line in missing.splitlines()] == [
        "- step a (clerk)", "- step b (writer)", "- step c (writer)",
    ]  # fmt: skip


@pytest.mark.slow
def test_what_needs_a_rejected_step_is_skipped(runtime: Make, simulator: Simulator) -> None:
    flow, _ = _three([{"name": "erase", "arguments": {"what": "x"}}], [""], simulator)
    home = runtime()
    stopped = flow.run("Erase x", runtime=home)
    (act,) = stopped.pending
    answer = {act.id: {"decision": "reject", "digest": act.digest, "reason": "keep it"}}
    result = flow.resume(stopped.run, answer, runtime=home)
    ended = {step.id: str(step.status) for step in result.steps}
    assert (result.status, ended) == ("rejected", {"a": "rejected", "b": "skipped", "c": "skipped", "d": "done"})
    assert [note.partition(":")[0] for note in result.notes] == [f"step {name} was {ended[name]}" for name in "abc"]
    assert "keep it" in result.output
    assert sent == {}


def test_a_rejected_act_that_is_proposed_better_and_approved_is_done(runtime: Make, simulator: Simulator) -> None:
    calls = [{"name": "erase", "arguments": {"what": what}} for what in "xy"]
    simulator.scenario = Models(calls=calls).scenario()
    home, flow = runtime(), Workflow("post", [Agent("clerk", tools=[erase])])
    stopped = flow.run("Erase it", runtime=home)
    (act,) = stopped.pending
    answer = {act.id: {"decision": "reject", "digest": act.digest, "reason": "rather y"}}
    again = flow.resume(stopped.run, answer, runtime=home)
    (act,) = again.pending
    result = flow.resume(stopped.run, {act.id: {"decision": "approve", "digest": act.digest}}, runtime=home)
    assert (result.status, sent) == ("done", {"erase y": 1})
    assert "erase was rejected at first: a person refused this call: rather y" in result.steps[0].note


@pytest.mark.slow
def test_the_calls_of_agents_inside_a_tool_are_not_taken_for_the_steps_own(runtime: Make, simulator: Simulator) -> None:
    home = runtime()
    inner = Agent("inner", tier="economy", tools=[send]).on(home)

    @tool(effect="read")
    def ask(what: str) -> str:
        """Ask a colleague."""
        return str(inner.invoke(what)["messages"][-1].content)

    models = Models(calls=[{"name": "ask", "arguments": {"what": "do it"}}, _send("ann")])
    simulator.scenario = models.scenario()
    result = Workflow("post", [Agent("outer", tier="economy", tools=[ask])]).run("Ask", runtime=home)
    assert (result.status, sent, models.asked) == ("done", {"ann": 1}, [])
    assert result.steps[0].acts == ()
    (row,) = home.ledger.effects(result.run)
    assert (row.tool, row.outcome) == ("send", "done")
