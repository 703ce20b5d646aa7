"""What an approval holds for, and how long: the call that was asked about, as it was, and nothing else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from pointsman import Agent, tool
from pointsman.agents.approval.answers import pending_of
from pointsman.agents.approval.kept import Kept
from pointsman.agents.approval.taint import judged
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.simulator import Answer, Rule, Scenario, Simulator
from pointsman.tools.base import Preview
from pointsman.tools.files.files import file_tools
from pointsman.tools.files.workspace import Workspace

Make = Callable[..., Runtime]
CONFIG: Any = {"configurable": {"thread_id": "t"}}
ran: list[str] = []


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran.clear()
    monkeypatch.chdir(tmp_path)


@tool(effect="destructive", target="path")
def remove(path: str) -> str:
    """Remove a file."""
    ran.append(path)
    return f"{path} is gone"


@tool(effect="external")
def publish(text: str, times: int = 1) -> str:
    """Publish a text."""
    ran.append(f"{text} x{times}")
    return "published"


def _calling(simulator: Simulator, *calls: tuple[str, dict[str, Any]]) -> None:
    """Models that make these calls in one turn, and then tell what they were told."""

    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": name, "arguments": arguments} for name, arguments in calls])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])


def _graph(home: Runtime, *tools: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("work", Agent("clerk", tools=list(tools)).on(home))  # type: ignore[type-var]
    builder.add_edge(START, "work")
    builder.add_edge("work", END)
    return builder.compile(checkpointer=InMemorySaver())


def _begin(graph: Any, thread: str = "t") -> Any:
    config: Any = {"configurable": {"thread_id": thread}}
    graph.invoke({"messages": [HumanMessage("go")]}, config)
    return graph.get_state(config).interrupts


def _answer(graph: Any, answer: Any) -> Any:
    """Give an answer, and return what waits then."""
    graph.invoke(Command(resume=answer), CONFIG)
    return graph.get_state(CONFIG).interrupts


def _reason(stops: Any) -> str:
    (stop,) = stops
    return pending_of(stop).reason


def _critical(simulated: Make, **flags: Any) -> Runtime:
    return simulated(**{"risk.call": {"external": "critical", "write": "critical"}, **flags})


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [("one", "two", "has changed"), ("one", None, "was deleted"), (None, "new", "was made")],
    ids=["changed", "deleted", "made"],
)
def test_a_file_that_changes_before_the_act_has_the_person_asked_again_and_told(
    simulated: Make, simulator: Simulator, tmp_path: Path, before: str | None, after: str | None, said: str
) -> None:
    file = tmp_path / "notes.txt"
    for content in (before, after):
        if content is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(content)
        if content is before:
            _calling(simulator, ("remove", {"path": "notes.txt"}))
            graph = _graph(simulated(), remove)
            _begin(graph)
    assert f"notes.txt {said} since it was asked about" in _reason(_answer(graph, "approve"))
    assert ran == []
    assert _answer(graph, "approve") == ()
    assert ran == ["notes.txt"]


@pytest.mark.parametrize("held", ["one", None], ids=["equal", "dangling"])
@pytest.mark.parametrize("place", ["folder/notes.txt", "folder"], ids=["file", "folder"])
def test_a_target_that_has_become_a_link_has_the_person_asked_again_though_it_holds_the_same(
    simulated: Make, simulator: Simulator, tmp_path: Path, held: str | None, place: str
) -> None:
    for name in ("folder", "other"):
        (tmp_path / name).mkdir()
        if held is not None:
            (tmp_path / name / "notes.txt").write_text(held)
    _calling(simulator, ("remove", {"path": "folder/notes.txt"}))
    graph = _graph(simulated(), remove)
    _begin(graph)
    (tmp_path / "folder").rename(tmp_path / "away")
    if place == "folder":
        (tmp_path / "folder").symlink_to(tmp_path / "other")
    else:
        (tmp_path / "folder").mkdir()
        (tmp_path / place).symlink_to(tmp_path / "other" / "notes.txt")
    reason = _reason(_answer(graph, "approve"))
    assert "folder/notes.txt has come to lead to another file since it was asked about" in reason
    assert ran == []
    assert _answer(graph, "approve") == ()
    assert ran == ["folder/notes.txt"]


def test_an_approval_that_did_not_settle_it_does_not_settle_it_later_although_the_file_is_as_it_was(
    simulated: Make, simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("one")
    _calling(simulator, ("remove", {"path": "notes.txt"}))
    graph = _graph(simulated(), remove)
    _begin(graph)
    file.write_text("two")
    assert _answer(graph, "approve")
    file.write_text("one")
    assert _answer(graph, "reject") == ()
    assert ran == []


def test_the_file_tools_show_what_they_would_change_and_an_edit_shows_what_it_would(
    simulated: Make, simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    _, write_file, edit_file, *_ = file_tools(Workspace(tmp_path))
    _calling(simulator, ("edit_file", {"path": "a.txt", "old": "two", "new": "three"}))
    graph = _graph(_critical(simulated), write_file, edit_file)
    (stop,) = _begin(graph)
    act = pending_of(stop)
    assert act.preview == "--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n"
    assert act.preview.rstrip() in stop.value["action_requests"][0]["description"]
    (tmp_path / "a.txt").write_text("one\ntwo\nfour\n")
    (stop,) = _answer(graph, {"type": "approve", "digest": act.digest})
    assert "a.txt has changed since it was asked about" in pending_of(stop).reason
    assert "+three\n four" in pending_of(stop).preview
    _answer(graph, {"type": "edit", "args": {"path": "a.txt", "old": "two", "new": "2"}})
    assert (tmp_path / "a.txt").read_text() == "one\n2\nfour\n"


def test_a_preview_of_a_tool_of_ones_own_is_shown_and_one_that_fails_does_no_harm(
    simulated: Make, simulator: Simulator
) -> None:
    held = {"x": "1"}

    def preview(arguments: Any) -> Preview:
        return Preview(f"-{held[arguments['name']]}\n+nothing", {"x": held["x"]})

    @tool(effect="destructive", preview=preview)
    def clear(name: str) -> str:
        """Clear a value."""
        ran.append(name)
        return "cleared"

    for name, shown in (("x", "-1\n+nothing"), ("y", "")):
        ran.clear()
        _calling(simulator, ("clear", {"name": name}))
        graph = _graph(simulated(), clear)
        (stop,) = _begin(graph)
        assert pending_of(stop).preview == shown
        assert _answer(graph, "approve") == ()
        assert ran == [name]


def test_a_tool_that_describes_itself_in_other_words_has_the_person_asked_again(
    simulated: Make, simulator: Simulator
) -> None:
    home = simulated()
    _calling(simulator, ("remove", {"path": "x"}))
    graph = _graph(home, remove)
    _begin(graph)
    other = _graph(home, remove.model_copy(update={"description": "Remove a file and all its copies."}))
    other.checkpointer = graph.checkpointer
    assert "what the tool says about itself has changed" in _reason(_answer(other, "approve"))
    assert ran == []


def test_an_approval_expires_and_a_rejection_does_not(
    simulated: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.time
    _calling(simulator, ("remove", {"path": "x"}))
    home = simulated(**{"approval.expires": 600})
    graph, other = _graph(home, remove), _graph(home, remove)
    (stop,) = _begin(graph)
    _begin(other)
    act = pending_of(stop)
    assert act.expires == (act.asked or 0) + 600
    monkeypatch.setattr(time, "time", lambda: clock() + 601)
    assert "the approval has expired: it was asked for at" in _reason(_answer(graph, "approve"))
    assert ran == []
    assert _answer(graph, "approve") == ()
    assert ran == ["x"]
    assert _answer(other, "reject") == ()
    assert ran == ["x"]


def test_a_question_whose_state_is_lost_is_asked_anew(simulated: Make, simulator: Simulator) -> None:
    home = simulated()
    _calling(simulator, ("remove", {"path": "x"}))
    graph = _graph(home, remove)
    _begin(graph)
    (file,) = (home.settings.state / "approvals" / "asked").iterdir()
    file.write_text("{")
    assert "what was asked before is not known here any more" in _reason(_answer(graph, "approve"))
    assert (_answer(graph, "approve"), ran) == ((), ["x"])
    assert list((home.settings.state / "approvals" / "asked").iterdir()) == []


@pytest.mark.slow
def test_always_holds_for_the_tool_its_description_and_the_arguments_until_it_is_revoked(
    simulated: Make, simulator: Simulator
) -> None:
    home = _critical(simulated)
    kept = Kept(home.settings.state)
    _calling(simulator, ("publish", {"text": "hello"}))
    (stop,) = _begin(graph := _graph(home, publish))
    assert pending_of(stop).always
    assert (_answer(graph, {"type": "approve", "scope": "always"}), ran) == ((), ["hello x1"])
    assert (_begin(_graph(home, publish), "u"), ran) == ((), ["hello x1"] * 2)

    described = publish.model_copy(update={"description": "Publish a text everywhere."})
    assert len(_begin(_graph(home, described), "v")) == 1
    _calling(simulator, ("publish", {"text": "hello", "times": 1}))
    assert len(_begin(_graph(home, publish), "w")) == 1
    assert len(ran) == 2

    (one,) = kept.allowed()
    assert (one.tool, json.loads(one.arguments)) == ("publish", {"text": "hello"})
    kept.revoke(one.id[:8])
    _calling(simulator, ("publish", {"text": "hello"}))
    assert (len(_begin(_graph(home, publish), "x")), kept.allowed(), len(ran)) == (1, (), 2)


def test_always_is_never_for_a_call_that_destroys_whatever_it_was_when_it_was_allowed(
    simulated: Make, simulator: Simulator
) -> None:
    home = _critical(simulated)
    _calling(simulator, ("publish", {"text": "hello"}))
    _begin(graph := _graph(home, publish))
    _answer(graph, "always")
    destroys = publish.model_copy(update={"metadata": remove.metadata})
    (stop,) = _begin(_graph(home, destroys), "u")
    assert (pending_of(stop).always, len(ran)) == (False, 1)


def test_what_nobody_encrypted_under_the_users_key_allows_nothing(simulated: Make, simulator: Simulator) -> None:
    home = _critical(simulated)
    _calling(simulator, ("publish", {"text": "hello"}))
    _begin(graph := _graph(home, publish))
    _answer(graph, "always")
    folder = home.settings.state / "approvals" / "always"
    (file,) = folder.iterdir()
    name, _, sealed = file.read_bytes().partition(b"\n")
    file.write_bytes(name + b"\n" + sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(ConfigError, match="has been changed or damaged"):
        Kept(home.settings.state).allowed()
    assert len(_begin(_graph(home, publish), "u")) == 1
    file.rename(folder / ("0" * 64))
    assert len(_begin(_graph(home, publish), "v")) == 1
    assert ran == ["hello x1"]


def test_a_call_that_asks_something_itself_keeps_its_approval_and_the_person_is_not_asked_twice(
    simulated: Make, simulator: Simulator, tmp_path: Path
) -> None:
    @tool(effect="destructive", target="path")
    def replace(path: str) -> str:
        """Replace a file."""
        Path(path).write_text("half")
        ran.append(str(interrupt("with what?")))
        return "replaced"

    (tmp_path / "x").write_text("old")
    _calling(simulator, ("replace", {"path": "x"}))
    graph = _graph(simulated(), replace)
    _begin(graph)
    (stop,) = _answer(graph, "approve")
    assert stop.value == "with what?"
    assert (_answer(graph, {stop.id: "gold"}), ran) == ((), ["gold"])


@pytest.mark.parametrize("effect", ["read", "write"])
def test_what_a_call_asks_itself_is_answered_to_it_where_nobody_was_asked_about_the_call(
    simulated: Make, simulator: Simulator, effect: Any
) -> None:
    @tool(effect=effect)
    def ask(person: str) -> str:
        """Ask a person."""
        said = [interrupt(f"{person}, how many?"), interrupt("sure?")]
        ran.append(f"{person} {said}")
        return f"{said}"

    _calling(simulator, ("ask", {"person": "Ann"}), ("ask", {"person": "Ben"}))
    graph = _graph(simulated(), ask)
    ids = {stop.value[:3]: stop.id for stop in _begin(graph)}
    stops = _answer(graph, {ids["Ann"]: "two", ids["Ben"]: {"type": "reject"}})
    assert [stop.value for stop in stops] == ["sure?", "sure?"]
    assert _answer(graph, {stop.id: True for stop in stops}) == ()
    assert sorted(ran) == ["Ann ['two', True]", "Ben [{'type': 'reject'}, True]"]


def test_the_person_is_told_of_characters_that_are_not_seen(simulated: Make, simulator: Simulator) -> None:
    _calling(simulator, ("remove", {"path": "cod\u202egpj\u200b"}))
    reason = _reason(_begin(_graph(simulated(), remove)))
    assert reason.endswith("U+202E RIGHT-TO-LEFT OVERRIDE, U+200B ZERO WIDTH SPACE")


def test_a_call_says_where_it_comes_from(simulated: Make, simulator: Simulator) -> None:
    _calling(simulator, ("remove", {"path": "x"}))
    (stop,) = _begin(_graph(simulated(), remove))
    origin = pending_of(stop).origin
    assert (origin["agent"], origin["step"]) == ("clerk", "clerk")
    assert "/" in origin["model"]


def test_a_rejected_call_tells_the_model_why_and_the_others_of_its_turn_go_on(
    simulated: Make, simulator: Simulator
) -> None:
    _calling(simulator, ("remove", {"path": "a"}), ("remove", {"path": "b"}), ("remove", {"path": "c"}))
    graph = _graph(simulated(), remove)
    stops = {stop.value["action_requests"][0]["args"]["path"]: stop.id for stop in _begin(graph)}
    left = _answer(graph, {stops["b"]: {"type": "reject", "message": "keep b"}})
    assert (len(left), ran) == (2, [])
    assert _answer(graph, {stops["a"]: "approve", stops["c"]: "approve"}) == ()
    assert sorted(ran) == ["a", "c"]
    told = [m.text for m in graph.get_state(CONFIG).values["messages"] if isinstance(m, ToolMessage)]
    assert sorted(told) == ["a is gone", "a person refused this call: keep b", "c is gone"]


def test_a_question_that_cannot_be_kept_is_refused_in_one_line_and_asked_once_it_can(
    simulated: Make, simulator: Simulator
) -> None:
    home = simulated()
    _calling(simulator, ("remove", {"path": "x"}))
    graph = _graph(home, remove)
    blocked = home.settings.state / "approvals"
    blocked.parent.mkdir(exist_ok=True)
    home.ledger.handoffs()
    blocked.write_text("")
    with pytest.raises(ConfigError, match=r"cannot be saved \(.*\): make room, or make the folder writable"):
        _begin(graph)
    blocked.unlink()
    graph.invoke(None, CONFIG)
    assert (_answer(graph, "approve"), ran) == ((), ["x"])


def test_an_act_inside_an_act_is_asked_about_by_itself_and_each_is_done_once(
    simulated: Make, simulator: Simulator
) -> None:
    home = simulated()
    inner = Agent("inner", tools=[remove]).on(home)

    @tool(effect="destructive")
    def ask_inner(text: str) -> str:
        """Ask the inner agent."""
        ran.append("asked")
        return str(inner.invoke(text)["messages"][-1].text)

    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text="so it is")
        (called,) = request.tools
        arguments = {"path": "x"} if called.name == "remove" else {"text": "go"}
        return Answer(tool_calls=[{"name": called.name, "arguments": arguments}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    graph = _graph(home, ask_inner)
    (outer,) = _begin(graph)
    assert pending_of(outer).tool == "ask_inner"
    (below,) = _answer(graph, {outer.id: "approve"})
    assert (pending_of(below).tool, pending_of(below).origin["agent"]) == ("remove", "inner")
    assert _answer(graph, {below.id: "approve"}) == ()
    assert ran.count("x") == 1
    assert list((home.settings.state / "approvals" / "asked").iterdir()) == []


@pytest.mark.parametrize("effect", ["write", "external", "destructive"])
async def test_where_a_call_comes_from_is_judged_off_the_event_loop(
    simulated: Make, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, effect: Any
) -> None:
    """A long conversation takes long to read, and others run on the loop meanwhile."""
    threads: list[int] = []

    def seen(*given: Any) -> Any:
        threads.append(threading.get_ident())
        return judged(*given)

    @tool(effect=effect, target="path")
    def act(path: str) -> str:
        """Act on a path."""
        return path

    monkeypatch.setattr("pointsman.agents.approval.taint.judged", seen)
    _calling(simulator, ("act", {"path": "a.txt"}))
    await _graph(simulated(), act).ainvoke({"messages": [HumanMessage("act on a.txt")]}, CONFIG)

    assert len(threads) == 1
    assert threading.get_ident() not in threads
