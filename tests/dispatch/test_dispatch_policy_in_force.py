"""What a whole call does under the policy in force: who judges it, who pays for that, and which file holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from pointsman.agents.runs import run_scope
from pointsman.agents.runtime import Runtime
from pointsman.configs.loading.loader import load
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.evidence.classifier import ROUTER
from pointsman.dispatch.model import RoutedChatModel
from pointsman.ledger.report import report
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator, ToolCall

Make = Callable[..., Dispatcher]
QUESTION = "Why is it so?"


def _judging(level: str) -> Scenario:
    call = ToolCall("judge_step", {"level": level, "hardest": level})
    judge = Rule(match=Match(contains_any_message="You judge how hard"), answer=Answer(tool_calls=(call,)))
    return Scenario(rules=(judge, Rule(answer=Answer(text="Because."))))


async def test_a_small_model_judges_a_step_and_the_run_pays_for_it(judging: Make, simulator: Simulator) -> None:
    home = judging()
    runtime = Runtime(home.settings)
    runtime.__dict__["dispatcher"] = home
    tiers = []
    for level in ("simple", "hard"):
        simulator.scenario = _judging(level)
        with run_scope(runtime, "test", max_cost=1.0) as run:
            model = RoutedChatModel(kind="decide", dispatcher=home)
            answer = await model.ainvoke(QUESTION)
            streamed = [chunk.text async for chunk in model.astream(QUESTION)]
        tiers.append(answer.response_metadata["pointsman"]["tier"])
        assert "".join(map(str, streamed)) == answer.text == "Because."
        rows = home.ledger.calls(run=run.id)
        assert [row.agent == ROUTER for row in sorted(rows, key=lambda row: row.at)] == [True, False, True, False]
        assert home.budgets.totals(f"run:{run.id}") == (sum(row.cost or 0 for row in rows), 0)
    assert tiers == ["standard", "advanced"]
    assert (report(home.ledger).savings.router or 0) > 0


@pytest.mark.slow
async def test_a_file_written_while_the_process_runs_is_heeded_by_its_calls(
    dispatcher: Make, simulator: Simulator, tmp_path: Path
) -> None:
    home = dispatcher()

    async def tier() -> str:
        answer = await RoutedChatModel(kind="transform", dispatcher=home).ainvoke(QUESTION)
        return str(answer.response_metadata["pointsman"]["tier"])

    assert await tier() == "economy"
    rule = "{id: mine, reason: all goes up, tier: advanced}"
    (tmp_path / "routing.yaml").write_text(f"routing: {{rules: [{rule}]}}", encoding="utf-8")
    async with asyncio.timeout(240):
        while await tier() != "advanced":
            await asyncio.sleep(0.05)
    (tmp_path / "routing.yaml").write_text("routing: {rules: [{id: mine, when: {complexty: 1}}]}", encoding="utf-8")
    async with asyncio.timeout(240):
        while not home.reload.trouble:
            assert await tier() == "advanced"
            await asyncio.sleep(0.05)
    assert await tier() == "advanced"


def test_rules_that_a_project_only_repeats_are_the_built_in_ones_still(tmp_path: Path) -> None:
    built_in = resources.files("pointsman.configs").joinpath("routing.yaml").read_text(encoding="utf-8")
    (tmp_path / "routing.yaml").write_text(built_in, encoding="utf-8")
    settings = load(tmp_path, environ={})

    assert {name for name in settings.origins if name.startswith("routing.rules")} == set()
    (tmp_path / "routing.yaml").write_text(built_in.replace("{min: 0.85}", "{min: 0.9}"), encoding="utf-8")
    assert {name for name in load(tmp_path, environ={}).origins if name.startswith("routing.rules")} != set()


def test_a_rule_that_can_never_apply_is_told_when_the_policy_is_loaded(
    dispatcher: Make, caplog: pytest.LogCaptureFixture
) -> None:
    rules = [
        {"id": "all", "reason": "everything", "tier": "economy"},
        {"id": "late", "reason": "too late", "when": {"task": "code"}, "tier": "frontier"},
    ]
    dispatcher()
    assert not [record for record in caplog.records if "routing policy" in record.message]
    dispatcher(routing__rules=rules)
    (told,) = [record.message for record in caplog.records if "routing policy" in record.message]
    assert told.startswith("the routing policy: rule late: it can never apply: rule all names a tier first")
