"""A process that has made calls, or is making some, starts others: all work, and every row is in one ledger."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pointsman.ledger.ledger import Ledger
from pointsman.simulator import Answer, Latency, Match, Rule, Scenario, Simulator

pytestmark = pytest.mark.slow

PROGRAM = '''
import asyncio, multiprocessing, os, signal, sys, threading, time, traceback
from pathlib import Path
from pointsman import Agent, RoutedChatModel, Workflow, tool
from pointsman.agents.runtime import Runtime

CALLS = 2
# An interpreter of its own takes seconds to import the frameworks.
CHILDREN = 1 if sys.argv[1] in ("spawn", "forkserver") else 2

@tool(effect="read")
def look(number: str) -> str:
    """Look."""
    return f"seen {number}"

def calls(name):
    """As many calls as CALLS says, of each kind."""
    model = RoutedChatModel(kind="transform")
    for number in range(CALLS):
        said = model.invoke(f"{name} {number}").text
        assert said == "plain", said
    assert "".join(chunk.text for chunk in model.stream(f"{name} streamed")) == "plain"
    assert asyncio.run(model.ainvoke(f"{name} awaited")).text == "plain"
    assert Agent("looker", tools=[look]).invoke("use your tool")["messages"][-1].text == "done"

def whole(name):
    signal.alarm(100)
    calls(name)
    assert Workflow(name, agents=[Agent("one")]).run("go").status == "done"

def child(name):
    try:
        whole(name)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

def forked(name, leave):
    pid = os.fork()
    if pid == 0:
        child(name)
        Runtime.default().ledger.flush() if leave is os._exit else None
        leave(0)
    return pid

def ended(pids):
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]

def main(how):
    if how != "not warm":
        calls("parent")
    else:
        Runtime.default().dispatcher
    if how in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(how)
        processes = [context.Process(target=child, args=(f"child {n}",)) for n in range(CHILDREN)]
        for process in processes: process.start()
        for process in processes: process.join()
        statuses = [process.exitcode for process in processes]
    elif how == "in flight":
        # Children that come and go in the usual way while the parent waits for an answer over its connections.
        waiting = threading.Thread(target=lambda: slow.append(RoutedChatModel(kind="transform").invoke("slowly").text))
        slow = []
        waiting.start()
        statuses = ended([forked(f"child {n}", sys.exit) for n in range(CHILDREN)])
        waiting.join()
        assert slow == ["plain"], slow
    elif how == "busy":
        over = threading.Event()
        # Each with the rows that it leaves.
        kinds = [
            (1, lambda: RoutedChatModel(kind="transform").invoke("busy")),
            (1, lambda: list(RoutedChatModel(kind="transform").stream("busy"))),
            (2, lambda: Agent("looker", tools=[look]).invoke("use your tool")),
            (1, lambda: Workflow("busy", agents=[Agent("one")]).run("go")),
        ]
        counts = [0] * len(kinds)
        def work(number):
            while not over.is_set() or not counts[number]:
                kinds[number][1]()
                counts[number] += 1
        workers = [threading.Thread(target=work, args=(n,)) for n in range(len(kinds))]
        for worker in workers: worker.start()
        # What a library builds at its first use it may never end in a child.
        while not all(counts): time.sleep(0.01)
        statuses = ended([forked(f"child {n}", os._exit) for n in range(CHILDREN)])
        over.set()
        for worker in workers: worker.join()
        Runtime.default().ledger.flush()
        print("busy", sum(count * rows for count, (rows, _) in zip(counts, kinds)), counts[-1])
    else:
        statuses = ended([forked(f"child {n}", sys.exit) for n in range(CHILDREN)])
    whole("parent again")
    print(statuses)

if __name__ == "__main__":
    signal.alarm(150)
    main(sys.argv[1])
'''


def run(programs: Any, tmp_path: Path, simulator: Simulator, how: str) -> tuple[list[str], Path]:
    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(contains_any_message="seen "), answer=Answer(text="done")),
            Rule(
                match=Match(contains="use your tool"),
                answer=Answer(tool_calls=[{"name": "look", "arguments": {"number": "1"}}]),
            ),
            Rule(match=Match(contains="slowly"), answer=Answer(text="plain"), latency=Latency(ms=3000)),
            Rule(answer=Answer(text="plain")),
        ]
    )
    project = tmp_path / "project"
    project.mkdir()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    vendors = ("anthropic", "openai", "google")
    urls = {f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": simulator.url(vendor) for vendor in vendors}
    keys = {f"{vendor.upper()}_API_KEY": "not-a-real-key" for vendor in vendors}
    ran = programs.run([program, how], cwd=project, env={**os.environ, **urls, **keys})
    assert ran.returncode == 0, ran.stderr[-4000:]
    return ran.stdout.splitlines(), project / ".pointsman" / "ledger.db"


@pytest.mark.parametrize("how", ["not warm", "fork", "in flight", "busy", "spawn", "forkserver"])
def test_children_and_their_parent_all_call_and_record(
    programs: Any, tmp_path: Path, simulator: Simulator, how: str
) -> None:
    said, path = run(programs, tmp_path, simulator, how)
    statuses = [0] if how in ("spawn", "forkserver") else [0, 0]
    assert said[-1] == str(statuses)
    busy, flows = map(int, said[0].split()[1:]) if how == "busy" else (0, 0)
    # Two plain, one streamed, one awaited and two of the agent; a workflow of one step makes one more.
    first = {"not warm": 0, "in flight": 7}.get(how, 6)
    with sqlite3.connect(path) as ledger:
        (rows,) = ledger.execute("SELECT count(*) FROM calls").fetchone()
        (runs,) = ledger.execute("SELECT count(*) FROM runs").fetchone()
    others = len(statuses) + 1
    assert (rows, runs) == (first + others * 7 + busy, others + flows)
    assert len(simulator.log) == rows
    ledger_ = Ledger(path)
    assert ledger_.verify() == []
    ledger_.close()
