"""The files that a run was given lie on the disk for as long as something that is kept needs them, and no longer."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from pointsman import Agent, Workflow, tool
from pointsman.agents.lease import heartbeat
from pointsman.agents.lease.holder import RunCancelled
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.graphs.keeping import forked, pruned
from pointsman.simulator import Answer, Fault, Rule, Scenario, Simulator

Make = Callable[..., Runtime]
PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"
DOWN = Scenario(rules=[Rule(fault=Fault("overloaded"))])


@tool(effect="destructive")
def shred(what: str) -> str:
    """Shred a file."""
    return f"{what} is shredded"


def _flow() -> Workflow[Any]:
    return Workflow("shredder", [Agent("shredder", tools=[shred])])


@pytest.fixture
def handed(simulator: Simulator) -> list[int]:
    """How many documents each request had; whoever can shred what it was given does, and then says so."""
    found: list[int] = []

    def answer(request: Any) -> Answer:
        found.append(sum(message.documents for message in request.messages))
        if request.tool_results or not any(one.name == "shred" for one in request.tools):
            return Answer(text="gone")
        return Answer(tool_calls=[{"name": "shred", "arguments": {"what": "it"}}])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    return found


def _files(home: Runtime) -> list[Path]:
    return [path for path in (home.settings.state / "files").rglob("*") if path.is_file()]


def _failed(home: Runtime, simulator: Simulator) -> str:
    """A run that failed with its file, and can be taken up."""
    brain, simulator.scenario = simulator.scenario, DOWN
    result = _flow().run("Shred this", files=[PDF], runtime=home)
    simulator.scenario = brain
    assert result.status == "failed"
    return result.run


@pytest.mark.slow
async def test_pruning_deletes_the_files_of_runs_that_cannot_go_on_and_keeps_those_of_runs_that_can(
    runtime: Make, simulator: Simulator, handed: list[int]
) -> None:
    home = runtime()
    failed = await asyncio.to_thread(_failed, home, simulator)
    waiting = await _flow().arun("Shred this", files=[PDF], runtime=home)
    assert (waiting.status, len(_files(home))) == ("pending", 2)
    assert await pruned(home, 30) == []
    assert len(_files(home)) == 2
    assert await pruned(home, 0) == [failed]
    assert len(_files(home)) == 1
    with pytest.raises(ConfigError, match="nothing is kept of it"):
        await _flow().aresume(failed, runtime=home)
    done = await _flow().aresume(waiting.run, "approve", runtime=home)
    assert (done.output, handed[-1], _files(home)) == ("gone", 1, [])
    assert list((home.settings.state / "files").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", ["ended", "pruned"])
async def test_a_fork_keeps_the_files_that_the_other_run_lets_go_of(
    runtime: Make, handed: list[int], first: str
) -> None:
    home = runtime()
    waiting = await _flow().arun("Shred this", files=[PDF], runtime=home)
    twin = (await forked(home, waiting.run)).id
    assert len(_files(home)) == 2
    if first == "ended":
        assert (await _flow().aresume(waiting.run, "approve", runtime=home)).output == "gone"
        assert len(_files(home)) == 1
        # The act is done, and not done again.
        done = await _flow().aresume(twin, runtime=home)
    else:
        assert await pruned(home, 0) == [twin]
        assert len(_files(home)) == 1
        done = await _flow().aresume(waiting.run, "approve", runtime=home)
    assert (done.output, handed[-1], _files(home)) == ("gone", 1, [])


async def test_a_fork_that_cannot_be_made_keeps_no_file(runtime: Make, handed: list[int]) -> None:
    home = runtime()
    waiting = await _flow().arun("Shred this", files=[PDF], runtime=home)
    with pytest.raises(ConfigError, match="cannot be forked there"):
        await forked(home, waiting.run, "nosuch")
    assert len(_files(home)) == 1


@pytest.mark.slow
async def test_a_run_that_is_cancelled_keeps_its_file_until_it_has_been_taken_up_to_its_end(
    runtime: Make, simulator: Simulator, handed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    home, brain = runtime(), simulator.scenario
    simulator.scenario = Scenario(rules=[Rule(fault=Fault("hang"))])
    running = asyncio.create_task(_flow().arun("Shred this", files=[PDF], runtime=home))
    while not simulator.log:
        await asyncio.sleep(0.002)
    (run,) = await asyncio.to_thread(home.ledger.runs)
    await asyncio.to_thread(home.ledger.leases.cancel, run.id)
    result = await running
    assert isinstance(result.error, RunCancelled)
    assert (result.run, result.status, len(result.calls)) == (run.id, "interrupted", 1)
    assert len(_files(home)) == 1
    simulator.scenario = brain
    await _flow().aresume(run.id, runtime=home)
    done = await _flow().aresume(run.id, "approve", runtime=home)
    assert (done.output, handed[-1], _files(home)) == ("gone", 1, [])


class _Words(TypedDict, total=False):
    task: str
    output: Any


class _Both(MessagesState):
    files: list[Any]


def _graph(state: Any, work: Callable[[Any], Any]) -> Workflow[Any]:
    def build(_: Runtime) -> Any:
        builder = StateGraph(state)
        builder.add_node("work", work)
        builder.add_edge(START, "work")
        builder.add_edge("work", END)
        return builder

    return Workflow("own", graph=build)


def test_a_run_that_never_began_its_graph_leaves_no_file(runtime: Make) -> None:
    home = runtime()
    with pytest.raises(ConfigError, match="takes no files"):
        _graph(_Words, lambda _: {"output": "so"}).run("See", files=[PDF], runtime=home)
    assert _files(home) == []


@pytest.mark.slow
async def test_a_thread_and_a_run_inside_keep_what_they_were_given_when_the_run_around_them_is_over(
    runtime: Make, simulator: Simulator, handed: list[int]
) -> None:
    home, inside = runtime(), []
    reader = Agent("reader")

    async def work(state: Any) -> Any:
        inside.append((await _flow().arun(state["messages"], runtime=home)).run)
        said = await reader.arun(state["messages"], thread="t", runtime=home)
        return {"messages": list(said.messages)}

    outer = _graph(_Both, work)
    assert (await outer.arun("See", files=[PDF], runtime=home)).status == "done"
    assert len(_files(home)) == 1
    await reader.arun("And now?", thread="t", runtime=home)
    assert handed[-1] == 1
    done = await _flow().aresume(inside[0], "approve", runtime=home)
    assert (done.output, handed[-1], _files(home)) == ("gone", 1, [])


def test_no_reference_leads_out_of_the_folder_of_files(runtime: Make, handed: list[int], tmp_path: Path) -> None:
    home = runtime()
    (tmp_path / "secret").write_bytes(base64.b64encode(PDF))
    block = {"type": "file", "mime_type": "application/pdf", "url": "pointsman-file:../../secret"}
    with pytest.raises(ConfigError, match="is no file of a run"):
        _flow().run([HumanMessage([{"type": "text", "text": "See"}, block])], runtime=home)
    assert (handed, _files(home)) == ([], [])
