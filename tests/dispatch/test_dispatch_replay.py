"""Replay: recorded decisions under another policy, and what cannot be known left out."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.catalog import Usage
from pointsman.configs.loading.loader import load
from pointsman.configs.schema import Settings
from pointsman.configs.words import Effect, StepKind, Tier
from pointsman.dispatch.catalog import catalogue, policy_of
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.model import RoutedChatModel
from pointsman.evaluation.replay import Replayed, replay
from pointsman.ledger.ledger import Ledger
from pointsman.ledger.prices import PriceBook
from pointsman.ledger.rows import CallRow, DecisionRow
from pointsman.routing.decide import decide
from pointsman.routing.decision import Because, RejectionCode
from pointsman.routing.experience import TaskStats
from pointsman.routing.explain import decision_dict
from pointsman.routing.request import RouteRequest, RoutingContext
from pointsman.simulator import Simulator

AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
MINI, FLASH, HAIKU = "openai/gpt-5.4-mini", "deepseek/deepseek-v4-flash", "anthropic/claude-haiku-4-5"
STANDARD = {
    "routing.rules": [{"id": "mine.standard", "reason": "try it", "when": {"kind": "transform"}, "tier": "standard"}]
}
AWAY = dict.fromkeys(("ollama", "vllm", "bedrock", "vertex"), "nothing listens there")
USAGE = Usage(input=1000, output=100)
SHORT = {"role": "user", "content": "Put this into one line."}
LONG = ({"role": "system", "content": "You put things into one line. " * 1500}, SHORT)


def settings(tmp_path: Path, flags: Mapping[str, Any] | None = None) -> Settings:
    return load(tmp_path, environ={}, flags=dict(flags or {}))


class Book:
    """A ledger filled by hand, its decisions made by the built-in policy."""

    def __init__(self, ledger: Ledger, made: Settings) -> None:
        self.ledger = ledger
        self.prices = PriceBook(made.models)
        self.policy = policy_of(made, catalogue(made, self.prices, datetime.fromtimestamp(AT, UTC)))
        self.number = 0

    def decided(
        self,
        run: str = "",
        unavailable: Mapping[str, str] | None = None,
        at: float = AT,
        evidence: Mapping[str, Any] | None = None,
        **facts: Any,
    ) -> DecisionRow:
        self.number += 1
        request = RouteRequest(
            id=f"d{self.number}",
            **{"messages": (SHORT,), "kind": StepKind.TRANSFORM, "task": "chat", **facts},
        )
        away = {**AWAY, **(unavailable or {})}
        reasons = {name: Because(RejectionCode.NO_KEY, why) for name, why in away.items()}
        now = RoutingContext(unavailable=reasons, **(evidence or {}))
        decision = decide(self.policy.features(request), self.policy, now)
        said = decision_dict(decision)
        texts = {name: json.dumps(said[name]) for name in ("candidates", "rejected", "rules", "features")}
        row = DecisionRow(
            id=request.id, run=run, step="s", agent="a", task=request.task, at=at, risk=said["risk"],
            floor=said["floor"], tier=said["tier"], model=said["model"], complexity=said["complexity"],
            confidence=said["confidence"], policy_hash=said["policy_hash"], price_version=said["price_version"],
            **texts,
        )  # fmt: skip
        self.ledger.record(row)
        return row

    def called(
        self, decision: DecisionRow, model: str | None = None, *, seconds: float = 1.0, usage: Usage | None = USAGE,
        failure: str | None = None, attempt: int = 1,
    ) -> CallRow:  # fmt: skip
        self.number += 1
        model = model or str(decision.model)
        cost = self.prices.price(model, usage, datetime.fromtimestamp(decision.at, UTC))
        row = CallRow(
            id=f"c{self.number}", decision=decision.id, run=decision.run, step="s", agent="a", attempt=attempt,
            model=model, tier=decision.tier, risk=decision.risk, at=decision.at, usage=usage, cost=cost,
            latency=seconds, failure=failure,
        )  # fmt: skip
        self.ledger.record(row)
        return row

    def price(self, model: str, usage: Usage = USAGE, at: float = AT) -> float:
        cost = self.prices.price(model, usage, datetime.fromtimestamp(at, UTC))
        assert cost is not None
        return cost / 1e12


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with Ledger(tmp_path / "ledger.db") as ledger:
        yield Book(ledger, settings(tmp_path))


def known(book: Book, model: str, times: int = 5, **call: Any) -> None:
    """Record calls of a model for the task chat, as decisions that ask for it by name."""
    for _ in range(times):
        book.called(book.decided(kind=StepKind.GATHER, model=model), model, **call)


def test_the_policy_it_was_decided_by_changes_nothing(book: Book, tmp_path: Path) -> None:
    for kind in StepKind:
        book.called(book.decided(kind=kind, effects=(Effect.READ,)))
    made = replay(book.ledger, settings(tmp_path))

    assert (made.decisions, made.same, made.other, made.none, made.skipped) == (4, 4, 0, 0, 0)
    assert made.cost is not None
    assert made.cost.recorded == pytest.approx(made.cost.new)
    assert (made.cost.change.low, made.cost.change.value, made.cost.change.high) == (0, 0, 0)
    assert all(tier.recorded == tier.new for tier in made.tiers)
    assert (made.choices, made.changes, made.below_floor) == ((), (), 0)


# The cheaper model of the economy tier had failed; the dearer one held the conversation.
FAILED = {"experience": {FLASH: TaskStats(200.0, 0.01, 1.0), MINI: TaskStats(200.0, 1.0, 1.0)}}
HELD = {"carried": frozenset({MINI})}


@pytest.mark.parametrize(("evidence", "rule"), [(FAILED, "history"), (HELD, "conversation.stays")])
def test_a_choice_that_rested_on_evidence_is_no_change_of_the_policy(
    book: Book, tmp_path: Path, evidence: Mapping[str, Any], rule: str
) -> None:
    row = book.decided(evidence=evidence, messages=LONG)
    assert (row.model, f'"{rule}"' in row.rules) == (MINI, True)
    assert book.decided(messages=LONG).model == FLASH
    found: list[Replayed] = []
    made = replay(book.ledger, settings(tmp_path), each=found.append)
    assert (made.decisions, made.same, made.other) == (2, 2, 0)
    assert (found[0].gained, found[0].lost) == ((), ())


def test_a_step_that_history_raised_is_no_change_of_the_policy_either(book: Book, tmp_path: Path) -> None:
    useless = TaskStats(50.0, 0.0, unusable=50.0)
    row = book.decided(evidence={"experience": {FLASH: useless, MINI: useless}}, messages=LONG)
    assert (row.tier, '"evidence.history"' in row.rules) == ("standard", True)
    found: list[Replayed] = []
    made = replay(book.ledger, settings(tmp_path), each=found.append)
    assert (made.same, made.other, found[0].gained, found[0].lost) == (1, 0, (), ())
    assert replay(book.ledger, settings(tmp_path, {"routing.history.enabled": False})).other == 1


def test_a_policy_that_goes_by_no_evidence_any_more_is_told_of_what_changes(book: Book, tmp_path: Path) -> None:
    book.decided(evidence=FAILED)
    assert replay(book.ledger, settings(tmp_path, {"routing.history.enabled": False})).other == 1
    assert replay(book.ledger, settings(tmp_path, STANDARD)).other == 1


def test_another_choice_costs_the_recorded_tokens_at_its_own_price_and_takes_its_own_time(
    book: Book, tmp_path: Path
) -> None:
    row = book.decided(unavailable={"google": "no key: set GOOGLE_API_KEY"})
    book.called(row, seconds=1.0)
    known(book, HAIKU, seconds=3.0)
    found: list[Replayed] = []
    made = replay(book.ledger, settings(tmp_path, STANDARD), each=found.append)

    first = found[0]
    assert (first.outcome, first.model, first.new_model) == ("other", FLASH, HAIKU)
    assert first.cost == pytest.approx(book.price(FLASH))
    assert first.new_cost == pytest.approx(book.price(HAIKU))
    assert (first.seconds, first.new_seconds) == (1.0, 3.0)
    assert (first.gained, first.lost) == (("mine.standard",), ("default.economy",))
    assert first.why == "tier economy is below the chosen tier standard"
    (choice,) = made.choices
    assert (choice.model, choice.calls, choice.supported, choice.p50, choice.p95) == (HAIKU, 5, True, 3.0, 3.0)
    (change,) = made.changes
    assert (change.decisions, change.example) == (1, row.id)


def test_a_model_that_was_above_the_highest_tier_asked_for_is_judged_anew(book: Book, tmp_path: Path) -> None:
    book.called(book.decided(max_tier=Tier.ECONOMY))
    found: list[Replayed] = []
    cheaper = {f"models.{HAIKU}.tier": "economy", "routing.strategy": "quality"}
    replay(book.ledger, settings(tmp_path, cheaper), each=found.append)

    assert (found[0].tier, found[0].new_tier, found[0].new_model) == ("economy", "economy", HAIKU)


def test_a_choice_hardly_tried_for_the_task_is_unsupported_and_not_guessed(book: Book, tmp_path: Path) -> None:
    book.called(book.decided(unavailable={"google": "no key"}))
    known(book, HAIKU, times=4)
    for _ in range(5):
        book.called(book.decided(task="summary", kind=StepKind.GATHER, model=HAIKU), HAIKU)
    found: list[Replayed] = []
    made = replay(book.ledger, settings(tmp_path, STANDARD), each=found.append)

    assert (found[0].new_cost, found[0].new_seconds, found[0].left_out) == (None, None, "unsupported")
    assert made.unsupported == 1
    (choice,) = made.choices
    assert (choice.calls, choice.supported) == (4, False)
    assert made.cost is not None
    assert made.cost.decisions == made.decisions - 1


def test_where_the_new_choice_used_to_fail_the_recorded_course_is_paid_on_top(book: Book, tmp_path: Path) -> None:
    row = book.decided(unavailable={"google": "no key"})
    book.called(row, seconds=1.0)
    known(book, HAIKU, times=6, seconds=2.0)
    known(book, HAIKU, times=2, seconds=2.0, failure="overloaded", usage=None)
    found: list[Replayed] = []
    replay(book.ledger, settings(tmp_path, STANDARD), each=found.append)

    assert found[0].new_cost == pytest.approx(book.price(HAIKU) + 0.25 * book.price(FLASH))
    assert found[0].new_seconds == pytest.approx(2.0 + 0.25 * 1.0)


def test_failed_attempts_count_as_recorded_and_the_usable_calls_tokens_are_used(book: Book, tmp_path: Path) -> None:
    row = book.decided(unavailable={"google": "no key"})
    wasted = Usage(input=1000, output=7)
    book.called(row, FLASH, usage=wasted, failure="truncated")
    book.called(row, MINI, attempt=2, seconds=0.5)
    known(book, HAIKU)
    found: list[Replayed] = []
    replay(book.ledger, settings(tmp_path, STANDARD), each=found.append)

    assert found[0].cost == pytest.approx(book.price(FLASH, wasted) + book.price(MINI))
    assert found[0].seconds == pytest.approx(1.5)
    assert found[0].new_cost == pytest.approx(book.price(HAIKU))


def test_prices_are_those_of_the_moment(book: Book, tmp_path: Path) -> None:
    moments = [datetime(2026, month, 1, hour, tzinfo=UTC).timestamp() for month in range(1, 12) for hour in (3, 20)]
    rows = [book.decided(unavailable={"openai": "no key"}, model=HAIKU, at=at) for at in moments]
    for row in rows:
        book.called(row)
    for _ in range(5):
        book.called(book.decided(kind=StepKind.GATHER, unavailable={"openai": "no key"}), FLASH)
    found: list[Replayed] = []
    replay(book.ledger, settings(tmp_path, {"routing.approved": [FLASH]}), each=found.append)

    changed = [one for one in found if one.outcome == "other"]
    assert len(changed) == len(moments)
    expected = [book.price(FLASH, at=at) for at in moments]
    assert [one.new_cost for one in changed] == pytest.approx(expected)


def test_what_could_not_be_asked_then_cannot_be_asked_now(book: Book, tmp_path: Path) -> None:
    book.decided(unavailable={"google": "no key: set GOOGLE_API_KEY", HAIKU: "circuit open for 3.0 s more"})
    made = replay(book.ledger, settings(tmp_path, STANDARD))
    (change,) = made.changes
    assert change.new_model is not None
    assert change.new_model.startswith("anthropic/claude-sonnet")


def test_a_provider_that_was_out_as_a_whole_is_out_for_models_nobody_looked_at(book: Book, tmp_path: Path) -> None:
    # On the floor of a high risk nobody asks whether a model of a lower tier had a key.
    book.decided(kind=StepKind.DECIDE, effects=(Effect.DESTRUCTIVE,), unavailable={"openai": "no key"})
    lower: dict[str, Any] = {f"risk.floors.{risk}": "economy" for risk in ("high", "critical", "unknown", "medium")}
    lower["routing.rules"] = [{"id": "cheap", "reason": "x", "when": {"kind": "decide"}, "tier": "economy"}]
    found: list[Replayed] = []
    made = replay(book.ledger, settings(tmp_path, lower), each=found.append)
    assert found[0].new_model is not None
    assert not found[0].new_model.startswith("openai/")
    assert made.floor is not None
    assert (made.floor.lower, made.floor.higher) == (1, 0)
    assert (made.below_floor, found[0].new_tier) == (1, "economy")


def test_in_rows_without_codes_every_lasting_reason_is_told_from_one_of_the_moment(book: Book, tmp_path: Path) -> None:
    from pointsman.evaluation.replay import _LASTING, _why_not

    def lasts(reason: str) -> bool:
        return _why_not({"model": "p/m", "reason": reason}).code in {*_LASTING, RejectionCode.BELOW_CHOSEN}

    flags: list[dict[str, Any]] = [
        {}, {"routing.approved": ["google"]}, {"routing.limits.tiers": ["frontier"]},
        {"routing.rules": [{"id": "x", "reason": "x", "avoid": ["openai"], "require": {"vision": 0.99}}]},
    ]  # fmt: skip
    facts: list[dict[str, Any]] = [
        {}, {"structured": True, "tools": 1}, {"kind": "transform", "max_output": 100_000},
        {"kind": "transform", "task": "review"},
        {"messages": ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},)},
        {"messages": ({"role": "user", "content": "word " * 1_500_000},)},
    ]  # fmt: skip
    heads = set()
    for flag in flags:
        made = settings(tmp_path, flag)
        policy = policy_of(made, catalogue(made, book.prices))
        for fact in facts:
            rejected = decide(policy.features(RouteRequest(**fact)), policy).rejected
            assert {one.code for one in rejected} <= {*_LASTING, RejectionCode.BELOW_CHOSEN}
            reasons = {one.reason for one in rejected}
            assert [reason for reason in reasons if not lasts(reason)] == []
            heads |= {re.sub(r"[\d.]+", "#", reason).split(" ")[0] for reason in reasons}
    assert {"tier", "not", "user", "avoided", "serves", "cannot", "context", "output", "vision"} <= heads
    for reason in ("no key: set OPENAI_API_KEY", "already tried", "circuit open for 3.0 s more: 5 failures in a row",
                   "one probe is under way: x", "switched off until 2026-11-21 10:00:00 UTC", "rate limited for 3 s",
                   "offline: it is not on this machine", "price unknown, and a budget has to be kept"):  # fmt: skip
        assert not lasts(reason)


def test_features_of_another_version_are_skipped_and_counted(book: Book, tmp_path: Path) -> None:
    row = book.decided()
    features = json.loads(row.features)
    for strange in ({**features, "mood": 1}, {k: v for k, v in features.items() if k != "tokens"}, {}, []):
        book.ledger.record(dataclasses.replace(row, id=f"x{len(strange)}", features=json.dumps(strange)))
    book.ledger.record(dataclasses.replace(row, id="y", features="not JSON"))
    made = replay(book.ledger, settings(tmp_path))
    assert (made.decisions, made.skipped, made.same) == (6, 5, 1)


def test_what_a_trained_router_would_have_measured_and_nobody_did_is_noted(book: Book, tmp_path: Path) -> None:
    row = book.decided()
    features = {**json.loads(row.features), "signals": []}
    book.ledger.record(dataclasses.replace(row, id="x", features=json.dumps(features)))
    assert replay(book.ledger, settings(tmp_path)).notes == ()


def test_a_rule_about_what_is_not_recorded_is_named(book: Book, tmp_path: Path) -> None:
    book.decided()
    rule = {"id": "poor", "reason": "x", "when": {"budget_left": {"max": 0.1}}, "tier": "frontier"}
    (note,) = replay(book.ledger, settings(tmp_path, {"routing.rules": [rule]})).notes
    assert note.endswith("these rules never applied: poor")


def test_a_policy_that_leaves_no_model_says_so(book: Book, tmp_path: Path) -> None:
    book.called(book.decided())
    made = replay(book.ledger, settings(tmp_path, {"routing.approved": []}))
    assert (made.none, made.left_out, made.cost) == (1, {"no model": 1}, None)
    assert made.changes[0].why == "not approved"


def test_an_unknown_price_is_left_out_and_never_zero(book: Book, tmp_path: Path) -> None:
    call = book.called(book.decided())
    book.ledger.record(dataclasses.replace(call, id="later", decision=book.decided().id, cost=None))
    made = replay(book.ledger, settings(tmp_path))
    assert made.left_out == {"price unknown": 1}
    assert made.cost is not None
    assert made.cost.decisions == 1


def test_since_and_run_narrow_what_is_decided_again_but_not_what_is_known(book: Book, tmp_path: Path) -> None:
    book.called(book.decided(run="one", unavailable={"google": "no key"}))
    book.called(book.decided(run="two", unavailable={"google": "no key"}, at=AT + 100))
    known(book, HAIKU)
    by_run = replay(book.ledger, settings(tmp_path, STANDARD), run="one")
    assert (by_run.decisions, by_run.other, by_run.unsupported) == (1, 1, 0)
    assert replay(book.ledger, settings(tmp_path, STANDARD), since=AT + 50).decisions == 1


@pytest.mark.slow
def test_intervals_hold_the_figure_are_repeatable_and_narrow_with_more_decisions(book: Book, tmp_path: Path) -> None:
    def width(seed: int = 0) -> tuple[float, float, float]:
        cost = replay(book.ledger, settings(tmp_path, STANDARD), seed=seed).cost
        assert cost is not None
        assert cost.share is not None
        assert cost.share.low < cost.share.value < cost.share.high
        return cost.share.low, cost.share.value, cost.share.high

    known(book, HAIKU)
    for number in range(12):
        row = book.decided(run=f"r{number}", unavailable={"google": "no key"})
        book.called(row, usage=Usage(input=500 * (number % 5 + 1), output=300 // (number % 3 + 1)))
    few = width()
    assert width() == few
    assert width(1) != few
    for number in range(240):
        row = book.decided(run=f"q{number}", unavailable={"google": "no key"})
        book.called(row, usage=Usage(input=500 * (number % 5 + 1), output=300 // (number % 3 + 1)))
    many = width()
    assert many[2] - many[0] < few[2] - few[0]
    assert replay(book.ledger, settings(tmp_path)).resampled == "runs"


def test_what_real_calls_recorded_can_be_replayed(
    dispatcher: Callable[..., Dispatcher], simulator: Simulator, tmp_path: Path
) -> None:
    home = dispatcher()
    for kind in ("transform", "gather", "decide"):
        RoutedChatModel(kind=StepKind(kind), dispatcher=home).invoke("Say hello to Ada")
    found: list[Replayed] = []
    made = replay(home.ledger, home.settings, each=found.append)

    assert (made.decisions, made.same, made.skipped, made.left_out) == (3, 3, 0, {})
    assert made.cost is not None
    assert made.cost.recorded == pytest.approx(sum(served.cost_usd or 0 for served in simulator.log))
