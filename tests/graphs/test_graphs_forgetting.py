"""What was forgotten is in none of the files of the state either, decrypted or not."""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from pointsman import Agent, Workflow
from pointsman.agents.runtime import Runtime
from pointsman.configs.words import Trust
from pointsman.dispatch.cache.responses import ResponseCache
from pointsman.dispatch.state.sealing import user_seal
from pointsman.graphs.forgetting import forget
from pointsman.graphs.keeping import pruned
from pointsman.ledger.rows import HandoffRow, KeptRow
from pointsman.memory import Provenance

Make = Callable[..., Runtime]
SECRET = "The merger with Contoso closes on Friday, they say."
MAIL = Provenance("mail://contoso", "reader", "", Trust.TOOL)


class State(TypedDict, total=False):
    task: str
    seen: Annotated[list[Any], operator.add]
    output: str


def flow(name: str, home: Runtime, *, waits: bool = False) -> Workflow:
    def look(state: State) -> State:
        (found,) = home.store.recall(("kb",), state["task"], limit=1)
        # Long, so that it is kept beside the checkpoint; and as a message, of which LangGraph keeps the type.
        return {"seen": [HumanMessage(found.text), "x" * 20_000], "output": found.text}

    def ask(_: State) -> State:
        return {"seen": [interrupt("go on?")]} if waits else {}

    def build(_: Runtime) -> StateGraph[Any, Any, Any, Any]:
        graph: StateGraph[Any, Any, Any, Any] = StateGraph(State)
        graph.add_node("look", look)
        graph.add_node("ask", ask)
        for first, then in ((START, "look"), ("look", "ask"), ("ask", END)):
            graph.add_edge(first, then)
        return graph

    return Workflow(name, graph=build)


def kept(state: Path) -> list[str]:
    """The places in which the secret stands, encrypted or not."""
    found = [path.name for path in state.rglob("*") if path.is_file() and b"Contoso" in path.read_bytes()]
    with sqlite3.connect(state / "checkpoints.db") as db:
        for query in (
            "SELECT thread_id, type, checkpoint FROM checkpoints",
            "SELECT thread_id, type, value FROM writes",
            "SELECT thread_id, type, value FROM channel_values",
        ):
            for run, kind, data in db.execute(query):
                if b"Contoso" in user_seal().decrypt(kind.partition("+")[2], data):
                    found.append(run)
    for file in (state / "threads").glob("*.sealed"):
        kind, _, data = file.read_bytes().partition(b"\n")
        if b"Contoso" in user_seal().decrypt(kind.decode().partition("+")[2], data):
            found.append(file.name)
    return sorted(set(found))


async def test_forgetting_reaches_the_checkpoints_of_runs_that_ended(runtime: Make) -> None:
    home = runtime()
    home.store.remember(("kb",), SECRET, provenance=MAIL)
    told = await flow("told", home).arun("merger with Contoso", runtime=home)
    home.store.remember(("kb",), "Lost cards are blocked at once.", provenance=MAIL, key="cards")
    home.store.delete(("kb",), "cards")
    home.store.remember(("other",), "Lost cards are blocked at once.", provenance=Provenance("", "a", "", Trust.TOOL))
    assert told.run in kept(home.settings.state)

    gone = await forget(home, source=MAIL.source)

    assert (gone.items, gone.runs, gone.waiting) == (1, [told.run], [])
    home.store.close()
    assert kept(home.settings.state) == []
    assert home.ledger.run(told.run) is not None


async def test_a_run_that_waits_is_named_and_is_reached_once_it_is_over(runtime: Make) -> None:
    home = runtime()
    home.store.remember(("kb",), SECRET, provenance=MAIL)
    waiting = flow("waiting", home, waits=True)
    run = (await waiting.arun("merger with Contoso", runtime=home)).run

    first = await forget(home, source=MAIL.source)
    assert (first.items, first.runs, first.waiting) == (1, [], [run])

    await waiting.aresume(run, "yes", runtime=home)
    second = await forget(home, source=MAIL.source)
    assert (second.items, second.runs, second.waiting) == (0, [run], [])
    assert await pruned(home, 0) is not None
    assert kept(home.settings.state) == []


async def test_forgetting_reaches_conversations_kept_replies_and_answers(
    runtime: Make, simulator: Any, tmp_path: Path
) -> None:
    home = runtime()
    home.store.remember(("kb",), SECRET, provenance=MAIL)
    for thread, said in (("a", SECRET), ("b", "Hello there, how are you?")):
        await Agent("desk", tier="standard").arun(said, thread=thread, runtime=home)
    home.ledger.record(KeptRow("run-x", "call 1", user_seal().close(f'{{"content": "so: {SECRET}"}}')))
    home.ledger.record(KeptRow("run-y", "call 1", user_seal().close('{"content": "so"}')))
    ResponseCache(home.settings.state / "responses.db").close()

    gone = await forget(home, source=MAIL.source)

    assert (len(gone.threads), list(gone.runs), list(gone.busy)) == (1, ["run-x"], [])
    assert [row.run for row in home.ledger.kept.every()] == ["run-y"]
    assert len(list((home.settings.state / "threads").glob("*.sealed"))) == 1


async def test_forgetting_reaches_what_the_ledger_quotes_and_its_chain_holds(runtime: Make) -> None:
    home = runtime()
    home.store.remember(("kb",), SECRET, provenance=MAIL)
    waits = (await flow("waiting", home, waits=True).arun("merger with Contoso", runtime=home)).run
    for number, run in enumerate(("run-a", "run-b", waits)):
        summary = f'tell {{"text": "{SECRET}"}}' if number != 1 else "look at it"
        home.ledger.record(HandoffRow(f"h{number}", run, 1.0, "high", "it acts", summary))
    home.ledger.flush()
    assert "ledger.db-wal" in kept(home.settings.state)

    first = await forget(home, source=MAIL.source)

    assert (first.rows, first.waiting) == (1, [waits])
    assert [row.summary for row in home.ledger.handoffs() if row.id.startswith("h")] == [
        *("[forgotten]", "look at it"),
        f'tell {{"text": "{SECRET}"}}',
    ]
    await flow("waiting", home, waits=True).aresume(waits, "yes", runtime=home)
    second = await forget(home, source=MAIL.source)
    assert (second.rows, second.runs) == (1, [waits])
    assert home.ledger.verify() == []
    assert kept(home.settings.state) == []


async def test_what_was_never_told_is_left_alone(runtime: Make) -> None:
    home = runtime()
    home.store.remember(("kb",), "Lost cards are blocked at once.", provenance=MAIL)
    other = await flow("other", home).arun("lost cards", runtime=home)
    home.store.remember(("kb",), SECRET, provenance=Provenance("", "a", "run-2", Trust.TOOL))
    gone = await forget(home, run="run-2")
    assert (gone.items, list(gone.runs), list(gone.threads)) == (1, [], [])
    assert (await flow("other", home).aresume(other.run, runtime=home)).status == "done"


@pytest.mark.parametrize("name", ["source", "author", "run"])
async def test_nothing_found_reaches_nothing(runtime: Make, name: str) -> None:
    gone = await forget(runtime(), **{name: "none"})
    assert (gone.items, list(gone.runs), list(gone.threads), list(gone.waiting)) == (0, [], [], [])
