"""The scorer that the policy names is the one that judges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.routing.complexity import classified, heuristic
from pointsman.routing.learned import Learned, default, save
from pointsman.routing.nearest import Nearest
from pointsman.routing.request import RouteRequest

Make = Callable[..., Dispatcher]
TROUBLE = tuple(
    {"role": role, "content": "Traceback (most recent call last):\n  File 'a.py', line 3\nKeyError: 'x'\n" * 20}
    for role in ("user", "assistant", "tool", "assistant", "tool")
)


def test_every_scorer_can_be_named_and_has_its_own_place_in_the_policys_hash(dispatcher: Make, tmp_path: Path) -> None:
    save(default(), tmp_path / "own.npz")
    kinds = {
        "heuristic": None, "classifier": None, "learned": Learned, "nearest": Nearest, "own.npz": Learned,
        "nearest:own.npz": Nearest, "prompts": Learned,
    }  # fmt: skip
    policies = {name: dispatcher(routing__scorer=name).policy for name in kinds}
    assert policies["heuristic"].scorer is heuristic
    assert policies["classifier"].scorer is classified
    for name, kind in kinds.items():
        assert kind is None or type(policies[name].scorer) is kind
        features = policies[name].features(RouteRequest(messages=TROUBLE))
        complexity, confidence = policies[name].scorer(features)
        assert 0 <= complexity <= 1
        assert 0 <= confidence <= 1
    assert len({policy.policy_hash for policy in policies.values()}) == len(kinds)


def test_the_nearest_examples_of_a_file_judge_as_those_of_the_package_it_is_a_copy_of(
    dispatcher: Make, tmp_path: Path
) -> None:
    save(default(), tmp_path / "own.npz")
    built_in, copied = (dispatcher(routing__scorer=name).policy for name in ("nearest", "nearest:own.npz"))
    features = built_in.features(RouteRequest(messages=TROUBLE))
    assert features == copied.features(RouteRequest(messages=TROUBLE))
    assert built_in.scorer(features) == copied.scorer(features)


def test_a_router_for_prompts_reads_the_question_by_its_embedding(dispatcher: Make, tmp_path: Path) -> None:
    save(default("prompts"), tmp_path / "own.npz")
    known = "A pen costs as much as a pencil and an eraser. A pencil costs $1.20 and an eraser $0.30. What cost 8 pens?"
    asked = RouteRequest(messages=({"role": "user", "content": known},))
    for name in ("prompts", "own.npz"):
        policy = dispatcher(routing__scorer=name).policy
        length, correction, evidence = policy.features(asked).signals
        assert length > 0
        assert evidence > 0
        assert correction != 0


@pytest.mark.parametrize("name", ["nearest:none.npz", "none.npz", "nearests"])
def test_a_router_file_that_is_not_there_is_refused_in_one_line(dispatcher: Make, name: str) -> None:
    with pytest.raises(ConfigError, match="there is no such router file"):
        dispatcher(routing__scorer=name)


def test_nearest_wants_labelled_steps_and_says_so(dispatcher: Make, tmp_path: Path) -> None:
    save(default("prompts"), tmp_path / "prompts.npz")
    with pytest.raises(ConfigError, match="labelled steps"):
        dispatcher(routing__scorer="nearest:prompts.npz")
