"""A changed policy file is taken up without a restart, whole and valid or not at all."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from pointsman.configs.loading.loader import load
from pointsman.configs.schema import Settings
from pointsman.configs.words import StepKind, Tier
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.reload import Reload
from pointsman.dispatch.request import ModelRequest
from pointsman.routing.request import RouteRequest
from pointsman.simulator import Simulator

Make = Callable[..., Dispatcher]
ADVANCED = "routing: {rules: [{id: mine, reason: all of it, tier: advanced}]}\n"
FRONTIER = "routing: {rules: [{id: mine, reason: all of it, tier: frontier}]}\n"


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A dispatcher whose files are looked at as time passes."""

    def __init__(self, home: Dispatcher) -> None:
        self.home = home
        self.clock = Clock()
        cards = tuple(home.cards.values())
        self.reload = Reload(home.settings, home.policy, cards, home.put_in_force, clock=self.clock)

    async def passes(self, seconds: int) -> Tier:
        """The tier of a small step after so many seconds with a call in each."""
        for _ in range(seconds):
            self.clock.now += 1
            await self.reload.look()
        return self.tier

    @property
    def tier(self) -> Tier:
        return self.home.decide(RouteRequest(kind=StepKind.GATHER), only_usable=False).tier


def put(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text, encoding="utf-8")


async def test_a_changed_file_of_the_project_is_in_force_within_two_seconds(dispatcher: Make, tmp_path: Path) -> None:
    watched = Watched(home := dispatcher())
    before = home.policy.policy_hash
    assert watched.tier is Tier.ECONOMY
    put(tmp_path / "routing.yaml", ADVANCED)
    assert await watched.passes(2) is Tier.ADVANCED
    assert home.policy.policy_hash != before
    assert home.settings.routing is home.policy.routing
    assert home.settings.origins["routing.rules.mine"] == "routing.yaml:1"
    put(tmp_path / "routing.yaml", FRONTIER)
    assert await watched.passes(2) is Tier.FRONTIER
    (tmp_path / "routing.yaml").unlink()
    assert await watched.passes(2) is Tier.ECONOMY
    assert home.policy.policy_hash == before


async def test_risk_is_taken_up_as_well_and_so_is_a_folder_made_later(dispatcher: Make, tmp_path: Path) -> None:
    watched = Watched(dispatcher())
    put(tmp_path / "configs/risk.yaml", "risk: {rules: {step.reads: {reason: all, when: {kind: gather}, risk: high}}}")
    assert await watched.passes(2) is Tier.FRONTIER
    assert "step.reads" in {rule.id for rule in watched.home.settings.risk.rules}


async def test_a_users_own_file_is_watched_too(dispatcher: Make, tmp_path: Path) -> None:
    user, project = tmp_path / "user", tmp_path / "project"
    project.mkdir()
    home = Dispatcher(load(project, environ={}, user=user))
    watched = Watched(home)
    put(user / "routing.yaml", ADVANCED)
    assert await watched.passes(2) is Tier.ADVANCED
    put(project / "routing.yaml", FRONTIER)
    assert await watched.passes(2) is Tier.FRONTIER
    home.close()


async def test_nothing_is_looked_at_more_than_once_a_second(
    dispatcher: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(dispatcher())
    real, looks = os.stat, list[Any]()

    def counted(path: Any, *more: Any, **named: Any) -> os.stat_result:
        looks.append(path)
        return real(path, *more, **named)

    monkeypatch.setattr(os, "stat", counted)
    for _ in range(1000):
        watched.clock.now += 0.01
        await watched.reload.look()
    files = {tmp_path / folder / name for folder in (".", "configs") for name in ("routing.yaml", "risk.yaml")}
    assert set(looks) == files
    assert len(looks) <= 10 * len(files)


async def test_a_file_that_is_being_written_is_not_read(dispatcher: Make, tmp_path: Path) -> None:
    file = tmp_path / "routing.yaml"
    put(file, ADVANCED)
    watched = Watched(dispatcher())
    assert watched.tier is Tier.ADVANCED
    # An empty file is valid, and would put the built-in policy in force.
    put(file, "")
    assert await watched.passes(1) is Tier.ADVANCED
    put(file, FRONTIER)
    assert await watched.passes(1) is Tier.ADVANCED
    assert await watched.passes(1) is Tier.FRONTIER


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("routing: {rules: [", "is not valid YAML"),
        ("routing: {scorer: none.npz}", "there is no such router file"),
        ("routing: {rules: [{id: a, reason: b, tier: best}]}", "routing.rules"),
        ("routing: {rules: [{id: a, reason: b, prefer: a/b}]}", "unknown model 'a/b'"),
        ("routing: {classifier: {model: a/b}}", "routing.classifier.model names an unknown model 'a/b'"),
    ],
)
async def test_a_wrong_file_leaves_the_old_policy_and_is_told_once(
    dispatcher: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, why: str
) -> None:
    put(tmp_path / "routing.yaml", ADVANCED)
    watched = Watched(home := dispatcher())
    settings, policy = home.settings, home.policy
    put(tmp_path / "routing.yaml", text)
    with caplog.at_level(logging.WARNING):
        assert await watched.passes(5) is Tier.ADVANCED
    assert (home.settings, home.policy) == (settings, policy)
    assert watched.reload.trouble is not None
    assert why in watched.reload.trouble
    assert [why in record.getMessage() for record in caplog.records] == [True]
    put(tmp_path / "routing.yaml", FRONTIER)
    assert await watched.passes(2) is Tier.FRONTIER
    assert watched.reload.trouble is None


async def test_flags_and_environment_still_win(tmp_path: Path) -> None:
    environ = {"POINTSMAN_ROUTING__LIMITS__ATTEMPTS": "2"}
    home = Dispatcher(load(tmp_path, environ=environ, flags={"routing.strategy": "quality"}))
    watched = Watched(home)
    put(tmp_path / "routing.yaml", "routing: {strategy: latency, history: {least: 30}, limits: {attempts: 9}}")
    await watched.passes(2)
    routing = home.policy.routing
    assert (routing.strategy, routing.limits.attempts, routing.history.least) == ("quality", 2, 30)
    home.close()


async def test_a_policy_put_in_by_hand_is_not_replaced(tmp_path: Path) -> None:
    settings = load(tmp_path, environ={})
    own = settings.model_copy(update={"routing": settings.routing.model_copy(update={"strategy": "quality"})})
    home = Dispatcher(own)
    watched = Watched(home)
    put(tmp_path / "routing.yaml", ADVANCED)
    assert await watched.passes(3) is Tier.ECONOMY
    assert home.policy.routing.strategy == "quality"
    home.close()


async def test_models_are_not_taken_up_and_that_is_said(
    dispatcher: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(home := dispatcher())
    models = dict(home.settings.models)
    put(tmp_path / "models.yaml", "models: {openai/new: {tier: advanced}}")
    put(tmp_path / "routing.yaml", ADVANCED)
    with caplog.at_level(logging.WARNING):
        assert await watched.passes(2) is Tier.ADVANCED
    assert dict(home.settings.models) == models
    assert "takes a restart" in caplog.text


async def test_a_rule_that_can_never_apply_is_in_force_but_told(
    dispatcher: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(dispatcher())
    rule = "{id: after, reason: never, tier: advanced, when: {task: x}}"
    put(tmp_path / "routing.yaml", f"routing: {{rules: [{{id: all, reason: r, tier: economy}}, {rule}]}}")
    with caplog.at_level(logging.WARNING):
        await watched.passes(2)
    assert "rule after" in caplog.text
    assert watched.reload.trouble is None


async def test_a_call_under_way_keeps_the_policy_it_began_with(
    dispatcher: Make, simulator: Simulator, tmp_path: Path
) -> None:
    home = dispatcher()
    watched = Watched(home)
    began = home.policy.policy_hash
    put(tmp_path / "routing.yaml", FRONTIER)
    ask = ModelRequest([HumanMessage("Tell me about the Cam")], RouteRequest(kind=StepKind.GATHER))
    chunks = home.stream(ask)
    await anext(chunks)
    await watched.passes(2)
    assert [chunk async for chunk in chunks]
    await home.call(ask)
    home.ledger.flush()
    assert [row.policy_hash for row in home.ledger.decisions()] == [began, home.policy.policy_hash]
    assert began != home.policy.policy_hash


async def test_of_many_calls_at_once_one_loads_and_none_fails(dispatcher: Make, tmp_path: Path) -> None:
    watched = Watched(dispatcher())
    for text, tier in ((ADVANCED, Tier.ADVANCED), (FRONTIER, Tier.FRONTIER)) * 3:
        put(tmp_path / "routing.yaml", text)
        await watched.passes(1)
        watched.clock.now += 1
        await asyncio.gather(*(watched.reload.look() for _ in range(50)))
        assert watched.tier is tier


async def test_a_load_that_is_cancelled_is_made_up_for(dispatcher: Make, tmp_path: Path) -> None:
    watched = Watched(dispatcher())
    put(tmp_path / "routing.yaml", ADVANCED)
    await watched.passes(1)
    watched.clock.now += 1
    task = asyncio.create_task(watched.reload.look())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await watched.passes(1) is Tier.ADVANCED


async def test_settings_without_files_are_never_looked_for(tmp_path: Path) -> None:
    settings = load(tmp_path, environ={"OPENAI_API_KEY": "not-a-real-key"})
    for without in (pickle.loads(pickle.dumps(settings)), settings.model_copy(update={"sources": None})):
        assert isinstance(without, Settings)
        home = Dispatcher(without)
        put(tmp_path / "routing.yaml", ADVANCED)
        assert await Watched(home).passes(3) is Tier.ECONOMY
        home.close()
    assert copy.deepcopy(settings).sources is settings.sources
