"""A step that is killed after a model has judged it and before another has done it is not judged again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.loading.loader import load
from pointsman.dispatch.catalog import classifier_id, proof_file
from pointsman.ledger.ledger import Ledger
from pointsman.ledger.rows import ROUTER
from pointsman.routing.policy.proof import Gain, Proof, TaskProof, inputs, write
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

SCORED = {"routing.scorer": "classifier"}
HARD = {"level": "hard", "hardest": "hard"}
BOUND_SECONDS = 240.0
PROGRAM = """
import os, sys
from pathlib import Path
from langgraph.graph import END, START, StateGraph
from typing import Any, TypedDict
from pointsman import Agent, RoutedChatModel, Workflow
from pointsman.agents.runtime import Runtime
from pointsman.configs.loading.loader import load

class State(TypedDict, total=False):
    task: str
    output: Any

def build(home):
    async def node(_):
        model = RoutedChatModel(kind="decide", dispatcher=home.dispatcher)
        return {"output": [(await model.ainvoke("Why does it hang?")).text for _ in range(2)]}
    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph

flows = {
    "agent": Workflow("agent", [Agent("judge", task="chat", kind="decide")], plan="in_order", memory=False),
    "node": Workflow("node", graph=build),
}
home = Runtime(load(Path.cwd(), environ=os.environ, flags={"routing.scorer": "classifier"}))
flow, *run = sys.argv[1:]
print((flows[flow].resume(run[0], runtime=home) if run else flows[flow].run("Why does it hang?", runtime=home)).status)
"""


def _brain(judged: list[str], said: dict[str, str], *first: Rule) -> Scenario:
    """Models that say this of what they are to judge, and answer anything else."""

    def answer(request: Any) -> Answer:
        if any(one.name == "judge_step" for one in request.tools):
            judged.append(request.model)
            return Answer(tool_calls=[{"name": "judge_step", "arguments": said}])
        return Answer(text="it waits for a lock")

    return Scenario(rules=[*first, Rule(answer=answer)])


def _until(happened: Any) -> None:
    until = time.monotonic() + BOUND_SECONDS
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "said", "once"),
    [("agent", HARD, 1), ("node", HARD, 2), ("agent", {"level": "unheard of"}, 1)],
    ids=["agent", "node that asks twice", "answer that cannot be used"],
)
def test_a_step_that_is_killed_before_its_answer_is_judged_once(
    simulator: Simulator, programs: Any, tmp_path: Path, kind: str, said: dict[str, str], once: int
) -> None:
    vendors = ("anthropic", "openai", "google")
    environ = {
        **os.environ,
        **{f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": simulator.url(vendor) for vendor in vendors},
        **{f"{vendor.upper()}_API_KEY": "not-a-real-key" for vendor in vendors},
    }
    settings = load(tmp_path, environ=environ, flags=SCORED)
    gain = Gain(5.0, 1.0, 9.0)
    known, shown = classifier_id(settings.routing.classifier), {"chat": TaskProof(40, gain, gain, gain)}
    write(Proof(known, inputs(settings.routing, settings.risk), "", "2026-01-02", shown), proof_file(settings))

    judged: list[str] = []
    simulator.scenario = _brain(judged, said, Rule(match=Match(after=1), fault=Fault("hang")))
    words = ["-c", PROGRAM, kind]
    with programs.start(words, cwd=tmp_path, env=environ, text=True) as started:
        _until(lambda: len(simulator.log) == 2)
        started.kill()
    assert started.returncode == -signal.SIGKILL
    assert len(judged) == 1
    with Ledger(tmp_path / ".pointsman" / "ledger.db") as ledger:
        (run,) = ledger.runs()
    simulator.scenario = _brain(judged, said)
    ended = programs.run([*words, run.id], cwd=tmp_path, env=environ)
    assert ended.stdout == "done\n", ended.stderr
    assert len(judged) == once
    with Ledger(tmp_path / ".pointsman" / "ledger.db") as ledger:
        assert len([row for row in ledger.calls(run.id) if row.agent == ROUTER]) == len(judged)
        assert ledger.kept.names(run.id) == frozenset()
