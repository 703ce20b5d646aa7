"""What goes into a workflow, and what it tells while it runs: files, conversations, events, explicit plans."""

from __future__ import annotations

import base64
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from pointsman import Agent, Workflow, attach, tool
from pointsman.agents import attachments
from pointsman.agents.conversations import ThreadBusy, occupied
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.graphs.events import Began, Called, Finished, Noted, Stepped, Token, Using, Waiting
from pointsman.simulator import Answer, Fault, Rule, Scenario, Simulator

Make = Callable[..., Runtime]


def _png(side: int = 4) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    rows = zlib.compress(b"".join(b"\x00" + bytes(side) for _ in range(side)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"


@tool(effect="destructive")
def shred(what: str) -> str:
    """Shred a file."""
    return f"{what} is shredded"


@tool(effect="read")
def measure(what: str) -> str:
    """Measure something."""
    return f"{what} is 3 m long"


def _images(simulator: Simulator) -> list[Any]:
    seen: list[Any] = []

    def answer(request: Any) -> Answer:
        seen.append(request)
        return Answer(text="it says 42")

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    return seen


def _media(request: Any) -> tuple[int, int]:
    return sum(m.images for m in request.messages), sum(m.documents for m in request.messages)


@pytest.mark.parametrize("vendor", ["anthropic", "openai", "google"])
def test_an_agent_reads_pictures_documents_and_texts_of_any_vendors_model(
    runtime: Make, simulator: Simulator, tmp_path: Path, vendor: str
) -> None:
    home, seen = runtime(), _images(simulator)
    (tmp_path / "notes.md").write_text("The code word is heron.")
    card = next(card for card in home.dispatcher.cards.values() if card.provider == vendor and "image" in card.inputs)
    files = [_png(), attach(PDF, name="bill.pdf"), tmp_path / "notes.md"]
    result = Agent("reader", model=card.id, tier=card.tier).run("What does it say?", files=files, runtime=home)
    assert result.output == "it says 42"
    assert _media(seen[0]) == (1, 1)
    assert "heron" in str(seen[0].body)
    assert [message.text for message in result.messages] == ["it says 42"]


def test_a_conversation_or_a_message_is_a_task_too(runtime: Make, simulator: Simulator) -> None:
    seen = _images(simulator)
    block = {"type": "image", "base64": base64.b64encode(_png()).decode(), "mime_type": "image/png"}
    asked = [HumanMessage("Hello"), AIMessage("Hi"), HumanMessage([{"type": "text", "text": "See"}, block])]
    Agent("reader").run(asked, runtime=runtime())
    assert _media(seen[-1]) == (1, 0)
    assert [m.role for m in seen[-1].messages if m.role != "system"] == ["user", "assistant", "user"]
    Workflow("flow", [Agent("reader")]).run(asked, runtime=runtime())
    assert _media(seen[-1]) == (1, 0)
    assert "assistant: Hi" in str(seen[-1].messages)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["nowhere.png"], "cannot be attached: No such file"),
        ([b""], "is empty"),
        ([b"\x00\x01\x02"], "of a kind that no model takes"),
        ("bill.pdf", "files must be a list"),
        ([3], "a file is a path, bytes or a content block, not int"),
        ([{"type": "text", "text": "x"}], "is no file; put texts into the task"),
        (["."], "is no file"),
    ],
)
def test_what_cannot_be_attached_is_refused_before_anything_runs(
    runtime: Make, simulator: Simulator, files: Any, said: str
) -> None:
    for target in (Agent("reader"), Workflow("flow", [Agent("reader")])):
        with pytest.raises(ConfigError, match=said):
            target.run("See", files=files, runtime=runtime())
    assert len(simulator.log) == 0


@pytest.mark.parametrize(
    ("data", "name", "mime"),
    [
        (b"\0\xff" * 512 + PDF, None, "application/pdf"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + PDF, "bill.pdf", "application/pdf"),
        (b"A PDF begins with %PDF-1.4.", "notes.md", "text/markdown"),
    ],
)
def test_a_pdf_behind_something_else_is_attached_as_one(data: bytes, name: str | None, mime: str) -> None:
    assert attach(data, name=name)["mime_type"] == mime


def test_files_that_are_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "MAX_FILE", 100)
    monkeypatch.setattr(attachments, "MAX_FILES", 150)
    with pytest.raises(ConfigError, match="larger than 100 bytes"):
        attachments.attached([b"x" * 101])
    with pytest.raises(ConfigError, match="bytes together"):
        attachments.attached([b"x" * 99, b"y" * 99])


def test_a_step_is_handed_the_files_its_model_takes_and_others_know_their_names(
    runtime: Make, simulator: Simulator
) -> None:
    home = runtime()
    texts = next(name for name, card in home.dispatcher.cards.items() if card.inputs == {"text"} and not card.tasks)
    seen: list[Any] = []

    def answer(request: Any) -> Answer:
        seen.append(request)
        return Answer(text="it says 42")

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    provider = texts.partition("/")[0]
    vendor = home.settings.providers[provider]
    home = runtime(
        providers={provider: {**vendor.model_dump(), "base_url": simulator.url("openai"), "key": "OPENAI_API_KEY"}}
    )
    sees = Agent("sees", instructions="Look.", tools=[measure], model="openai/gpt-5.4-mini")
    writes = Agent("writes", instructions="Write.", model=texts, max_tier=home.dispatcher.cards[texts].tier)
    flow = Workflow("pair", [sees, writes], plan="in_order")
    result = flow.run("What does it say?", files=[attach(_png(), name="bill.png")], runtime=home)
    assert result.status == "done"
    assert [_media(request) for request in seen if "bill.png" in str(request.messages)] == [(1, 0), (0, 0)]


def test_a_model_that_plans_sees_the_names_of_files_alone(runtime: Make, simulator: Simulator) -> None:
    seen: list[Any] = []

    def answer(request: Any) -> Answer:
        if any(tool.name == "Plan" for tool in request.tools):
            seen.append(request)
            steps = [{"id": "a", "agent": "one"}]
            return Answer(tool_calls=[{"name": "Plan", "arguments": {"steps": steps}}])
        return Answer(text=f"{_media(request)}")

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    flow = Workflow("pair", [Agent("one"), Agent("two")])
    result = flow.run("See", files=[attach(_png(), name="bill.png")], runtime=runtime())
    assert (result.output, len(seen), _media(seen[0])) == ("(1, 0)", 1, (0, 0))
    assert "Attached: bill.png (image/png)" in str(seen[0].messages)


def test_checkpoints_hold_a_file_once_and_let_go_of_it_when_the_run_is_over(
    runtime: Make, simulator: Simulator, tmp_path: Path
) -> None:
    home = runtime()
    picture = _png() + bytes(200_000)
    turn = iter([("shred", {"what": "it"})])

    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text="gone")
        assert _media(request) == (1, 0)
        return Answer(tool_calls=[{"name": "shred", "arguments": {"what": "it"}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    flow = Workflow("shredder", [Agent("shredder", tools=[shred])])
    stopped = flow.run("Shred this", files=[picture], runtime=home)
    assert stopped.status == "pending"
    kept = list((home.settings.state / "files").rglob("*"))
    (file,) = [path for path in kept if path.is_file()]
    assert file.stat().st_mode & 0o077 == 0
    assert picture[:50] not in file.read_bytes()
    with sqlite3.connect(home.settings.state / "checkpoints.db") as rows:
        (held,) = rows.execute("SELECT sum(length(checkpoint)) FROM checkpoints").fetchone()
        (written,) = rows.execute("SELECT sum(length(value)) FROM writes").fetchone()
    assert held + written < 100_000
    assert flow.resume(stopped.run, "approve", runtime=home).output == "gone"
    assert not [path for path in (home.settings.state / "files").rglob("*") if path.is_file()]
    del turn


@pytest.mark.parametrize("kind", ["agent", "workflow", "own checkpointer"])
def test_a_thread_goes_on_where_the_last_run_ended(runtime: Make, simulator: Simulator, kind: str) -> None:
    home, seen = runtime(), _images(simulator)
    saver = InMemorySaver() if kind == "own checkpointer" else None
    made: Any = Agent("guide", instructions="Answer.", checkpointer=saver)
    made = Workflow("guide", [made]) if kind == "workflow" else made
    for thread, text in (("a", "I am Al"), ("b", "I am Bo"), ("a", "Who am I?")):
        result = made.run(text, thread=thread, runtime=home)
        assert [type(message) for message in result.messages] == [AIMessage]
    told = str(seen[-1].messages)
    assert ("I am Al" in told, "I am Bo" in told, "it says 42" in told) == (True, False, True)
    Agent("other").run("Who am I?", thread="a", runtime=home)
    assert "I am Al" not in str(seen[-1].messages)
    for path in (home.settings.state / "threads").glob("*") if kind != "own checkpointer" else ():
        assert path.stat().st_mode & 0o077 == 0
        assert b"I am Al" not in path.read_bytes()


@pytest.mark.slow
def test_a_run_that_fails_leaves_its_thread_as_it_was_and_two_at_once_do_not_share_one(
    runtime: Make, simulator: Simulator
) -> None:
    home, agent = runtime(), Agent("guide", instructions="Answer.")
    seen = _images(simulator)
    agent.run("I am Al", thread="a", runtime=home)
    simulator.scenario = Scenario(rules=[Rule(fault=Fault("overloaded"))])
    with pytest.raises(Exception, match="no model answered"):
        agent.run("I am Cy", thread="a", runtime=home).raise_for_status()
    seen = _images(simulator)
    with (
        occupied(home.settings.state, "guide", "a"),
        pytest.raises(ThreadBusy, match="thread 'a' of 'guide' is in use"),
    ):
        agent.run("Who am I?", thread="a", runtime=home)
    assert seen == []
    agent.run("Who am I?", thread="a", runtime=home)
    assert "I am Al" in str(seen[-1].messages)
    assert "I am Cy" not in str(seen[-1].messages)
    with pytest.raises(ConfigError, match="give a name of 1 to 512 letters"):
        agent.run("Who am I?", thread=" ", runtime=home)


@pytest.mark.slow
def test_a_thread_waits_with_the_run_that_waits_for_a_person(runtime: Make, simulator: Simulator) -> None:
    home = runtime()

    def answer(request: Any) -> Answer:
        text = str(request.messages)
        if "Shred" in text and not request.tool_results and "again" not in text:
            return Answer(tool_calls=[{"name": "shred", "arguments": {"what": "it"}}])
        return Answer(text="gone" if request.tool_results else f"told: {text}")

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    flow = Workflow("shredder", [Agent("shredder", tools=[shred])])
    stopped = flow.run("Shred this", thread="a", runtime=home)
    flow.resume(stopped.run, "approve", runtime=home)
    said = flow.run("Say it again", thread="a", runtime=home).output
    assert "user: Shred this" in said
    assert "assistant: gone" in said


async def test_a_stream_tells_of_steps_tokens_calls_tools_and_what_waits(runtime: Make, simulator: Simulator) -> None:
    def answer(request: Any) -> Answer:
        if request.tool_results or "measure" not in str(request.tools):
            return Answer(text="3 m")
        return Answer(tool_calls=[{"name": "measure", "arguments": {"what": "it"}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    flow = Workflow("pair", [Agent("gauge", tools=[measure]), Agent("clerk")], plan="in_order")
    told = [event async for event in flow.astream("How long?", runtime=runtime())]
    steps = [(event.step, event.agent) for event in told if isinstance(event, Began) and not event.path]
    assert steps == [("s1", "gauge"), ("s2", "clerk")]
    assert [event.record.id for event in told if isinstance(event, Stepped)] == ["s1", "s2"]
    (use,) = [event for event in told if isinstance(event, Using)]
    assert (use.agent, use.tool, dict(use.arguments), use.path) == ("gauge", "measure", {"what": "it"}, ("work",))
    assert {event.agent for event in told if isinstance(event, Token)} == {"gauge", "clerk"}
    assert len([event for event in told if isinstance(event, Called)]) == len(told[-1].result.calls)
    assert isinstance(told[-1], Finished)
    began = told.index(next(event for event in told if isinstance(event, Began)))
    assert began < told.index(next(event for event in told if isinstance(event, Stepped)))


async def test_a_stream_tells_once_what_waits_for_a_person(runtime: Make, simulator: Simulator) -> None:
    def answer(request: Any) -> Answer:
        if "plan" in str(request.tools).lower():
            return Answer(text="no plan")
        return Answer(tool_calls=[{"name": "shred", "arguments": {"what": "it"}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    flow = Workflow("shredder", [Agent("shredder", tools=[shred])])
    told = [event async for event in flow.astream("Shred", runtime=runtime())]
    (waits,) = [event for event in told if isinstance(event, Waiting)]
    assert waits.pending == told[-1].result.pending[0]
    assert not any(isinstance(event, Noted) for event in told)


async def test_nodes_and_agents_of_a_graph_of_ones_own_are_named(runtime: Make, simulator: Simulator) -> None:
    _images(simulator)
    home = runtime()
    inner = StateGraph(MessagesState)
    inner.add_node("guide", Agent("guide").on(home))  # type: ignore[type-var]
    inner.add_edge(START, "guide")
    inner.add_edge("guide", END)

    def build(_: Runtime) -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node("desk", inner.compile())
        builder.add_edge(START, "desk")
        builder.add_edge("desk", END)
        return builder

    flow = Workflow("outer", graph=build)
    told = [event async for event in flow.astream("Hello", runtime=home, files=[_png()])]
    assert [(e.step, e.path) for e in told if isinstance(e, Began)] == [("desk", ()), ("guide", ("desk",))]
    assert {e.path[:2] for e in told if isinstance(e, Token)} == {("desk", "guide")}
    assert told[-1].result.output == "it says 42"
    assert _media_of(simulator) == 1


def _media_of(simulator: Simulator) -> int:
    return sum(1 for served in simulator.log if served.input_tokens > 200)


def test_a_plan_that_is_written_down_is_carried_out(runtime: Make, simulator: Simulator) -> None:
    seen = _images(simulator)
    agents = [Agent("one"), Agent("two")]
    plan = [
        {"id": "b", "agent": "two", "instruction": "Second.", "needs": ["a"]},
        {"id": "a", "agent": "one", "instruction": "First."},
    ]
    result = Workflow("pair", agents, plan=plan).run("Go", runtime=runtime())
    assert [(step.id, step.agent) for step in result.steps] == [("a", "one"), ("b", "two")]
    assert len(seen) == len(simulator.log)
    for wrong, said in (
        ([{"id": "a", "agent": "three"}], "an agent that does not exist: 'three'"),
        ([{"id": "a", "agent": "one", "needs": ["a"]}], "need each other in a circle"),
        ([], "has no step"),
        ([{"agent": "one"}], "id: field required; a step is"),
        ([3], "a step is"),
        ("any", "nor a list of steps"),
    ):
        with pytest.raises(ConfigError, match=said):
            Workflow("pair", agents, plan=wrong)  # type: ignore[arg-type]
