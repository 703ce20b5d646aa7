"""The scorer that the policy names judges once it has proved itself, and says in one line why it does not."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs import load
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.catalog import problems, proof_file
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.evaluation.train_router import train
from pointsman.routing.decision import Decision
from pointsman.routing.policy.proof import Proven, fingerprint
from pointsman.routing.request import RouteRequest
from pointsman.routing.scorers.complexity import classified
from pointsman.routing.scorers.learned import Learned, save

from .conftest import prove

Make = Callable[..., Dispatcher]


def talk(words: int, number: int = 0) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": f"{number} " + "word " * words},)


def rows() -> list[dict[str, Any]]:
    """Short questions need little, long ones much."""
    return [
        {"messages": list(talk(400 if number % 2 else 4, number)), "target_tier": "high" if number % 2 else "low",
         "instance_id": f"i{number}"}
        for number in range(40)
    ]  # fmt: skip


@pytest.fixture
def router(tmp_path: Path) -> Path:
    save(train(rows()), tmp_path / "own.npz")
    return tmp_path / "own.npz"


def asked(home: Dispatcher, words: int, task: str = "chat") -> Decision:
    return home.decide(RouteRequest(messages=talk(words), task=task))


def hits(decision: Decision) -> dict[str, str]:
    return {hit.id: hit.reason for hit in decision.rules}


@pytest.mark.slow
def test_a_router_that_has_proved_itself_judges_the_tasks_it_was_measured_at(dispatcher: Make, router: Path) -> None:
    prove(dispatcher(routing__scorer="own.npz").settings, fingerprint(router), "chat")
    home = dispatcher(routing__scorer="own.npz")
    assert isinstance(home.policy.scorer, Proven)
    assert isinstance(home.policy.scorer.scorer, Learned)
    assert [asked(home, words).tier.value for words in (4, 400)] == ["economy", "frontier"]
    assert "scorer.unproven" not in hits(asked(home, 4))
    elsewhere = asked(home, 400, "plan")
    assert (elsewhere.tier.value, elsewhere.features.signals) == ("economy", ())
    assert "own.npz is not used: it was not measured at plan" in hits(elsewhere)["scorer.unproven"]


@pytest.mark.slow
def test_without_proof_the_rules_decide_and_that_is_said_on_loading_checking_and_explaining(
    dispatcher: Make, router: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        home = dispatcher(routing__scorer="own.npz")
    said = "own.npz is not used: nothing proves that it helps; run 'pointsman router eval FILE --router ROUTER'"
    assert any(said in record.getMessage() for record in caplog.records)
    assert [str(one) for one in problems(home.settings, home.policy) if said in str(one)]
    decision = asked(home, 400)
    assert (decision.tier.value, home.policy.scorer) == ("economy", None)
    assert hits(decision)["scorer.unproven"].startswith(said)


@pytest.mark.slow
def test_a_proof_holds_for_that_very_router_and_those_rules(dispatcher: Make, router: Path) -> None:
    settings = dispatcher(routing__scorer="own.npz").settings
    prove(settings, fingerprint(router), "chat")
    mine = {"id": "mine", "reason": "x", "when": {"complexity": {"min": 0.1}}, "tier": "frontier"}
    changed = dispatcher(routing__scorer="own.npz", routing__rules=[mine])
    assert "the rules have changed since it was measured" in changed.policy.unused
    floors = dispatcher(routing__scorer="own.npz", risk__floors={"low": "standard"})
    assert "the rules have changed since it was measured" in floors.policy.unused
    save(train([*rows(), {**rows()[0], "instance_id": "another"}]), router)
    assert "it is not the one that was measured" in dispatcher(routing__scorer="own.npz").policy.unused


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"over_majority": [3.0, 0.0, 6.0]}, "does not beat the commonest tier of the workload: +3 [+0, +6]"),
        ({"over_length": [3.0, -0.1, 6.0]}, "does not beat plain length: +3 [-0.1, +6]"),
        ({"over_fixed": [3.0, -2.0, 6.0]}, "does not beat one tier for all: +3 [-2, +6]"),
        ({"instances": 19}, "19 instances are too few, 20 are needed"),
    ],
)
def test_a_router_that_does_not_beat_all_that_need_no_model_is_not_used(
    dispatcher: Make, router: Path, change: dict[str, Any], said: str
) -> None:
    settings = dispatcher(routing__scorer="own.npz").settings
    prove(settings, fingerprint(router), "chat")
    stored = json.loads(proof_file(settings).read_text())
    stored["tasks"]["chat"] |= change
    proof_file(settings).write_text(json.dumps(stored))
    home = dispatcher(routing__scorer="own.npz")
    assert home.policy.scorer is None
    assert said in home.policy.unused


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": "x"}',
        "not JSON",
        '{"format": "pointsman-proof/1", "tasks": {"chat": {"instances": 1}}}',
    ],
)
def test_a_proof_that_is_none_is_refused_in_one_line(dispatcher: Make, router: Path, text: str) -> None:
    router.with_name("own.npz.proof.json").write_text(text)
    with pytest.raises(ConfigError, match="is no proof of a router"):
        dispatcher(routing__scorer="own.npz")


@pytest.mark.slow
def test_a_step_unlike_all_it_learned_from_is_left_to_the_rules(dispatcher: Make, router: Path) -> None:
    prove(dispatcher(routing__scorer="own.npz").settings, fingerprint(router), "chat")
    home = dispatcher(routing__scorer="own.npz")
    strange = tuple(
        {"role": role, "content": "def f(x):\n    return x;\n" * 900} for role in ("user", "assistant") * 20
    )
    decision = home.decide(RouteRequest(messages=strange))
    assert (decision.tier.value, decision.confidence) == ("economy", 1.0)


@pytest.mark.slow
def test_each_scorer_has_its_own_place_in_the_policys_hash(dispatcher: Make, judging: Make, router: Path) -> None:
    prove(dispatcher(routing__scorer="own.npz").settings, fingerprint(router), "chat")
    homes = [dispatcher(), dispatcher(routing__scorer="own.npz"), judging()]
    assert len({home.policy.policy_hash for home in homes}) == 3
    assert homes[0].policy.scorer is None
    assert isinstance(homes[2].policy.scorer, Proven)
    assert homes[2].policy.scorer.scorer is classified


def test_a_rule_of_ones_own_that_asks_for_a_complexity_nobody_judges_is_told(dispatcher: Make) -> None:
    rule = {"id": "mine", "reason": "x", "when": {"complexity": {"min": 0.5}}, "tier": "advanced"}
    home = dispatcher(routing__rules=[rule])
    assert "rule mine: can never apply: no scorer judges complexity; name a proven scorer" in [
        str(one) for one in problems(home.settings, home.policy)
    ]
    assert not [one for one in problems(dispatcher().settings, dispatcher().policy) if "complexity" in str(one)]


def test_a_file_that_repeats_the_built_in_rules_has_no_rules_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "configs"
    folder.mkdir()
    for name in ("routing", "risk"):
        text = resources.files("pointsman.configs").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    settings = load(tmp_path, environ={})
    assert not [name for name in settings.origins if ".rules." in name]
    with closing(Dispatcher(settings)) as home:
        assert problems(settings, home.policy) == []


@pytest.mark.parametrize("name", ["none.npz", "mine", "routers/mine.npz"])
def test_a_router_file_that_is_not_there_is_refused_in_one_line(dispatcher: Make, name: str) -> None:
    with pytest.raises(ConfigError, match="there is no such router file"):
        dispatcher(routing__scorer=name)
