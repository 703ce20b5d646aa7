"""A decision written down, its policy's hash, and what routing weighs when imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pointsman.routing
import pytest
from pointsman.configs.errors import ConfigError
from pointsman.configs.schema import Settings
from pointsman.routing.decision import Because, Decision, RejectionCode
from pointsman.routing.explain import decision_dict, replay
from pointsman.routing.policy.policy import Policy
from pointsman.routing.request import RoutingContext

Decide = Callable[..., Decision]


def test_a_decision_is_written_with_everything_that_led_to_it(route: Decide, policy: Policy) -> None:
    written = decision_dict(route(id="r1", kind="decide", effects=["destructive"]))
    assert list(written) == [
        "id", "risk", "floor", "tier", "model", "candidates", "rejected", "rules", "complexity", "confidence",
        "policy_hash", "price_version", "features",
    ]  # fmt: skip
    assert written["id"] == "r1"
    assert written["model"] == written["candidates"][0] == "anthropic/claude-opus-4-7"
    assert {"id": "reach.destroys", "reason": "its tools can destroy, or do not say what they do"} in written["rules"]
    assert written["policy_hash"] == policy.policy_hash
    assert written["price_version"] == "table-1"
    assert json.loads(json.dumps(written)) == written


def test_a_record_can_be_decided_by_another_policy(route: Decide, over: Any, card: Any) -> None:
    written = decision_dict(route(kind="gather"))
    assert replay(written["features"], over(card("new/one"))).model == "new/one"
    assert (
        replay(
            written["features"],
            over(card("new/one")),
            RoutingContext(unavailable={"new": Because(RejectionCode.UNREACHABLE, "off")}),
        ).model
        is None
    )


def test_a_record_that_is_none_is_refused(policy: Policy) -> None:
    with pytest.raises(ConfigError, match="unknown feature"):
        replay({"prompt": "x"}, policy)


def test_the_hash_depends_on_policy_risk_catalogue_and_scorer(settings: Settings, catalogue: Any) -> None:
    def hashed(
        routing: Any = settings.routing, risk: Any = settings.risk, cards: Any = catalogue, scorer: Any = None
    ) -> str:
        return Policy.compile(routing, risk, cards, scorer=scorer).policy_hash

    first = hashed()
    assert first == hashed()
    assert len(first) == 16
    assert int(first, 16) >= 0
    cards = [replace(catalogue[0], context=1), *catalogue[1:]]
    others = {
        hashed(routing=settings.routing.model_copy(update={"strategy": "quality"})),
        hashed(risk=settings.risk.model_copy(update={"floors": {}})),
        hashed(cards=cards),
        hashed(cards=catalogue[::-1]),
        hashed(scorer=lambda features: (0.0, 1.0)),
    }
    assert len(others | {first}) == 6


@pytest.mark.slow
def test_the_hash_is_the_same_in_another_process() -> None:
    # Sets come in an order that differs between processes; the hash must not.
    code = (
        "from pointsman.configs.catalog import ModelCard\n"
        "from pointsman.configs.schema import RoutingPolicy, StepRiskPolicy\n"
        "from pointsman.configs.words import Tier\n"
        "from pointsman.routing.policy.policy import Policy\n"
        "card = ModelCard('a/x', 'a', 'x', Tier.ECONOMY, roles=frozenset('abcdefgh'), inputs=frozenset('ijklmn'))\n"
        "risk = StepRiskPolicy(rules=(), floors={}, call={})\n"
        "print(Policy.compile(RoutingPolicy(on_failure={}), risk, [card]).policy_hash)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


def test_every_exported_name_is_there_sorted_and_found_lazily() -> None:
    names = pointsman.routing.__all__
    assert names == sorted(names) == dir(pointsman.routing)
    assert all(getattr(pointsman.routing, name) is not None for name in names)
    with pytest.raises(AttributeError):
        pointsman.routing.nonsense  # noqa: B018


@pytest.mark.slow
def test_routing_loads_no_vendor_and_no_graph() -> None:
    code = (
        "import sys, pointsman.routing.decide, pointsman.routing.explain, pointsman.routing.policy.lint;"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outward = {
        "aiohttp",
        "anthropic",
        "chromadb",
        "google",
        "httpx",
        "langchain",
        "langchain_core",
        "langgraph",
        "numpy",
    }
    assert not set(done.stdout.split()) & {*outward, "openai", "sqlite3", "yaml"}
