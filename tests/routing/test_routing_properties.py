"""What holds for every policy, catalogue, request and moment."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.catalog import ModelCard, TokenPrices
from pointsman.configs.features import CHOICES, NUMBERS, RISK_FEATURES, ROUTING_FEATURES
from pointsman.configs.schema import RoutingPolicy, Settings, StepRiskPolicy
from pointsman.configs.words import Effect, FailureKind, Risk, StepKind, Tier
from pointsman.routing.decide import decide
from pointsman.routing.decision import Because, RejectionCode
from pointsman.routing.evidence import Finding
from pointsman.routing.experience import TaskStats
from pointsman.routing.explain import decision_dict, replay
from pointsman.routing.features.features import extract
from pointsman.routing.policy.lint import lint
from pointsman.routing.policy.policy import Policy
from pointsman.routing.request import BudgetReserve, RouteRequest, RoutingContext

PROVIDERS = ("a", "b", "c")
MODELS = [f"{provider}/{number}" for provider in PROVIDERS for number in range(3)]
TASKS = ["chat", "code", "classify"]
SCORES = st.dictionaries(
    st.sampled_from(["reasoning", "coding", "vision", "speed"]), st.sampled_from([0.0, 0.3, 0.6, 0.9])
)
TEXTS = {
    "task": TASKS,
    "tag": ["x", "y"],
    "user_class": ["default", "trial"],
    "language": ["en", "de"],
    "down": ["a", "b/1"],
}

DOWN = Because(RejectionCode.UNREACHABLE, "down")


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The usual value four times as often as any other, so that enough models are left to put in order."""
    return st.sampled_from([usual] * 4 + list(others))


@st.composite
def cards(draw: st.DrawFn) -> list[ModelCard]:
    return [draw(a_card(name)) for name in draw(st.permutations(MODELS))[: draw(st.integers(4, 9))]]


@st.composite
def a_card(draw: st.DrawFn, name: str) -> ModelCard:
    price = draw(st.none() | st.sampled_from([0, 1, 7]))
    return ModelCard(
        id=name,
        provider=name.split("/")[0],
        name=name,
        tier=draw(st.sampled_from(Tier)),
        tasks=draw(mostly(None, frozenset({"classify"}), frozenset({"chat", "code"}))),
        scores=draw(SCORES),
        context=draw(mostly(None, 500, 10_000)),
        max_output=draw(mostly(None, 500, 10_000)),
        inputs=draw(mostly(frozenset({"text", "image"}), frozenset({"text"}))),
        tools=draw(mostly(True, False)),
        structured=draw(mostly(True, False)),
        prices=None if price is None else _prices(price, draw(st.sampled_from(["1", "0.1"]))),
    )


def _prices(price: int, read: str) -> TokenPrices:
    each = Decimal(price) / 1_000_000
    return TokenPrices(each, each, each * Decimal(read), each, version=f"table-{price}")


@st.composite
def conditions(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    when: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=2)):
        if name in NUMBERS:
            when[name] = {draw(st.sampled_from(["min", "max"])): draw(st.sampled_from([0, 0.5, 2, 50]))}
        else:
            when[name] = [draw(st.sampled_from([*CHOICES.get(name, ()), *TEXTS.get(name, ())]))]
    return when


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    rules = [
        {
            "id": f"r{number}",
            "reason": "drawn",
            "when": draw(conditions(list(ROUTING_FEATURES))),
            "tier": draw(st.none() | st.sampled_from(Tier)),
            "prefer": draw(st.lists(st.sampled_from(MODELS), max_size=2)),
            "avoid": draw(mostly([], ["a"], ["b/1"])),
            "require": draw(mostly({}, {"coding": 0.5}, {"vision": 0.5})),
        }
        for number in range(draw(st.integers(0, 4)))
    ]
    routing = RoutingPolicy(
        strategy=draw(st.sampled_from(["cost", "latency", "quality", "balanced"])),
        rules=rules,
        approved=draw(mostly(None, [*MODELS[:4], "c"])),
        limits={"tiers": draw(mostly(None, [Tier.ECONOMY, Tier.FRONTIER]))},
        classes={"trial": draw(mostly({}, {"require": {"reasoning": 0.5}}, {"tiers": [Tier.ECONOMY]}))},
        on_failure=dict.fromkeys(FailureKind, "next"),
    )
    risk = StepRiskPolicy(
        rules=[
            {
                "id": f"k{number}",
                "reason": "drawn",
                "when": draw(conditions(list(RISK_FEATURES))),
                "risk": draw(st.sampled_from(Risk)),
            }
            for number in range(draw(st.integers(0, 4)))
        ],
        floors=draw(st.dictionaries(st.sampled_from(Risk), st.sampled_from(Tier), max_size=2)),
        call=dict.fromkeys(Effect, Risk.HIGH),
    )
    score = draw(st.sampled_from([0.0, 0.5, 1.0])), draw(st.sampled_from([0.2, 0.9]))
    return Policy.compile(routing, risk, draw(cards()), scorer=lambda features: score)


IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
MESSAGES = st.lists(st.sampled_from([IMAGE, {"role": "user", "content": "Hello, what is the matter?"}]), max_size=2)
REQUESTS = st.builds(
    RouteRequest,
    messages=MESSAGES.map(tuple),
    kind=st.none() | st.sampled_from(StepKind),
    task=st.sampled_from(TASKS),
    effects=st.lists(st.sampled_from(Effect), max_size=2).map(tuple),
    tools=st.integers(0, 2),
    reversible=st.booleans(),
    sensitivity=st.sampled_from(["public", "internal", "personal", "secret"]),
    dependents=st.integers(0, 4),
    risk=mostly(None, *Risk),
    tier=mostly(None, *Tier),
    model=st.none() | st.sampled_from([*MODELS, "z/none"]),
    structured=st.booleans(),
    latency=st.sampled_from(CHOICES["latency"]),
    deadline=st.none() | st.sampled_from([0.5, 20.0]),
    max_output=st.sampled_from([100, 5_000]),
    user_class=st.sampled_from(TEXTS["user_class"]),
    tags=st.lists(st.sampled_from(TEXTS["tag"])).map(tuple),
    only_reads=st.booleans(),
    evidence=mostly((), (Finding("evidence.doubted", "doubted", Tier.ADVANCED),), (Finding("evidence.x", "seen"),)),
)
EXPERIENCES = st.builds(
    TaskStats,
    calls=st.sampled_from([1.0, 20.0, 1e9]),
    success=st.sampled_from([0.0, 0.5, 1.0]),
    seconds=st.sampled_from([None, 0.0, 0.1, 90.0]),
    cost=st.none() | st.just(0.01),
    output=st.none() | st.sampled_from([0.0, 50.0]),
)
MOMENTS = st.builds(
    RoutingContext,
    unavailable=mostly({}, {"a": DOWN}, {"b/1": DOWN, "c": DOWN}),
    tried=mostly(frozenset(), frozenset({"a/0", "c/2"})),
    needs_price=mostly(False, True),
    budget_left=st.none() | st.sampled_from([0.0, 0.4, 1.0]),
    funds=mostly(None, BudgetReserve(0.01, 0.0, 1), BudgetReserve(0.01, 0.009, 2), BudgetReserve(0.0, 0.01, 1)),
    down=st.sampled_from([frozenset(), frozenset({"a"})]),
    experience=mostly({}) | st.dictionaries(st.sampled_from(MODELS), EXPERIENCES),
    carried=mostly(frozenset()) | st.frozensets(st.sampled_from(MODELS), max_size=3),
    proven=mostly(None, "a/1", "c/0"),
)


@given(policies(), REQUESTS, MOMENTS)
def test_every_decision_keeps_its_promises(policy: Policy, request: RouteRequest, moment: RoutingContext) -> None:
    decision = decide(extract(request), policy, moment)
    known = {card.id: card for card in policy.catalogue}
    chosen = [known[name] for name in decision.candidates]

    # Every model is a candidate or rejected with a reason, exactly once.
    assert sorted([*decision.candidates, *(rejection.model for rejection in decision.rejected)]) == sorted(known)
    assert all(rejection.reason and "\n" not in rejection.reason for rejection in decision.rejected)

    # No candidate is below the floor, below the tier chosen, or below where a fallback started.
    demands = [finding.at_least for finding in request.evidence if finding.at_least is not None]
    least = max(decision.floor, decision.tier, *demands)
    assert all(card.tier >= least for card in chosen)
    assert decision.tier >= decision.floor == policy.floors[decision.risk]
    assert request.risk is None or decision.risk >= request.risk

    # Tiers never fall, and the first candidate is of the tier chosen.
    assert [card.tier for card in chosen] == sorted(card.tier for card in chosen)
    assert not chosen or chosen[0].tier == decision.tier

    # Nothing that is out of use or was tried comes back, and no price is unknown where one is needed.
    assert not any(card.id in moment.tried for card in chosen)
    assert not any(name in moment.unavailable for card in chosen for name in (card.id, card.provider))
    assert not moment.needs_price or all(card.prices is not None for card in chosen)

    # The second candidate of the first one's tier comes from another provider where one is there.
    peers = [card for card in chosen if card.tier == chosen[0].tier]
    if len({card.provider for card in peers}) > 1:
        assert peers[0].provider != peers[1].provider


@given(policies(), REQUESTS, MOMENTS)
def test_evidence_changes_the_order_and_nothing_that_stands_above_it(
    policy: Policy, request: RouteRequest, moment: RoutingContext
) -> None:
    moment = replace(moment, proven=None)
    bare = replace(moment, experience={}, carried=frozenset())
    decision, plain = decide(extract(request), policy, moment), decide(extract(request), policy, bare)
    said = {hit.id for hit in decision.rules}

    # Who may run is the same.
    assert sorted(decision.candidates) == sorted(plain.candidates)
    assert (decision.tier, decision.rejected) == (plain.tier, plain.rejected)

    # A first candidate that differs is explained; what the caller or a rule names is not moved.
    assert decision.model == plain.model or said & {"history", "conversation.stays"}
    assert said >= {hit.id for hit in plain.rules}
    if plain.model is not None and plain.model == request.model and "agent.asks" in said:
        assert decision.model == plain.model
    preferred = {name for rule in policy.routing.rules if rule.id in said for name in rule.prefer}
    if plain.model in preferred:
        assert decision.model == plain.model or decision.model in preferred


@given(policies(), REQUESTS, MOMENTS)
def test_a_recorded_decision_replays_to_the_same(policy: Policy, request: RouteRequest, moment: RoutingContext) -> None:
    decision = decide(extract(request), policy, moment)
    assert decide(extract(request), policy, moment) == decision
    recorded = json.loads(json.dumps(decision_dict(decision)))
    assert replay(recorded["features"], policy, moment) == decision


@given(policies(), REQUESTS, MOMENTS)
def test_a_rule_that_lint_calls_unreachable_never_applies(
    policy: Policy, request: RouteRequest, moment: RoutingContext
) -> None:
    dead = {
        problem.subject.removeprefix("risk ").removeprefix("rule ")
        for problem in lint(policy)
        if problem.what.startswith(("can never apply", "it can never apply"))
    }
    hits = {hit.id for hit in decide(extract(request), policy, moment).rules}
    assert not dead & hits


@given(REQUESTS, MOMENTS, st.sampled_from([(0.0, 0.9), (0.4, 0.1), (0.9, 0.4)]))
def test_the_built_in_risk_floor_holds_whatever_a_scorer_says(
    settings: Settings, catalogue: Any, request: RouteRequest, moment: RoutingContext, score: tuple[float, float]
) -> None:
    policy = Policy.compile(settings.routing, settings.risk, catalogue, scorer=lambda features: score)
    tiers = {card.id: card.tier for card in catalogue}
    decision = decide(extract(request), policy, moment)
    if decision.risk.handled_as >= Risk.HIGH:
        assert all(tiers[name] == Tier.FRONTIER for name in decision.candidates)
