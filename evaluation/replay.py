"""Replay: decide every recorded step again under another policy, and report what that would have changed.

No model is called. What the ledger does not record is counted and left out, never guessed: a choice that was not tried
often enough for the same task, a step without a call, an unknown price.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from ..configs.errors import ConfigError
from ..configs.schema import Settings
from ..dispatch.catalog import catalogue, policy_of
from ..ledger.ledger import Ledger
from ..ledger.prices import PICODOLLARS, PriceBook
from ..ledger.rows import DecisionRow
from ..routing import explain
from ..routing.decision import Because, Decision
from ..routing.decision import RejectionCode as Code
from ..routing.evidence import HISTORY
from ..routing.features.features import is_record
from ..routing.ordering import EVIDENCE, heeded
from ..routing.policy.policy import Policy
from ..routing.request import RoutingContext
from .recorded import Course, Floats, Recorded, Seen, evidence
from .replay_report import FEWEST_CALLS, Expected, Outcome, Replayed, ReplayReport, Tally

__all__ = ["ReplayReport", "Replayed", "replay"]

_FEWEST_RUNS: Final = 10
_LASTING: Final = frozenset(
    (Code.BELOW_FLOOR, Code.ABOVE_CEILING, Code.NOT_APPROVED, Code.USER_CLASS, Code.RULE, Code.CANNOT),
)
"""Rejections that do not depend on the moment; all others held at that time and are assumed to hold in the replay."""
# How version 0.1, which recorded no codes, worded lasting reasons.
_LASTING_THEN: Final = re.compile(
    r"tier \w+ is below |not approved$|user class |avoided by rule |serves only |cannot |context \d|output \d"
    r"|\w+ unknown, \d|\w+ \d\.\d\d < \d"
)
_NOT_CHOSEN_THEN: Final = re.compile(r"tier \w+ is below the chosen tier")


def replay(
    ledger: Ledger,
    settings: Settings,
    *,
    since: float | None = None,
    run: str | None = None,
    draws: int = 400,
    seed: int = 0,
    each: Callable[[Replayed], None] | None = None,
) -> ReplayReport:
    """Decide the recorded decisions again, using memory that does not grow with the ledger.

    A model that could not be used at that moment (no key, a breaker, a budget) counts as unavailable now too; the
    catalogue has the prices of that moment. If the first choice changes, its cost is that of the recorded tokens at
    its own price then, and its time the mean recorded for that model and task. In the share of cases in which it failed
    there, the recorded course is assumed to follow, with its cost and time on top.

    The content of history and which model carried the conversation are not recorded, only that they put a model first
    or raised the step. They are assumed to do so again wherever the policy still leaves that to evidence, so that such
    a difference is never attributed to the policy.

    Intervals are 95 % percentile intervals of a Poisson bootstrap over runs or decisions, and at the same time over
    the calls that a model's time and failures are estimated from (Chamandy et al., "Estimating Uncertainty for Massive
    Data Streams", Google, 2012).

    Args:
        ledger: The ledger to read.
        settings: What to decide by: policy, risk rules, catalogue.
        since: Only what happened at or after this, in seconds since the epoch.
        run: Only the decisions of this run; what is known of models still comes from all runs.
        draws: Number of resamples.
        seed: Seed of the resampling.
        each: Called with every decision that could be made again.
    """
    random = np.random.default_rng(seed)
    policies = _Policies(settings)
    query = Recorded(ledger, since, run)
    seen = evidence(query, random, draws)
    by_run = run is None and query.runs() >= _FEWEST_RUNS
    tally = Tally(draws)
    drawn: tuple[str, Floats] | None = None
    for row, course in query.decisions():
        tally.read += 1
        policy = policies.at(row.at)
        decision = _again(row, policy)
        if decision is None:
            tally.skipped += 1
            continue
        if drawn is None or not by_run or not row.run or drawn[0] != row.run:
            drawn = (row.run, np.concatenate(([1.0], random.poisson(1.0, draws))))
        # A trained router judges by signals, which are recorded only if one was in use.
        tally.unmeasured += policy.unmeasured(decision.features)
        found, expected = _compare(row, course, decision, seen, policies.prices)
        tally.add(found, drawn[1], expected)
        if each is not None:
            each(found)
    return tally.report(policies.latest, seen, query, "runs" if by_run else "decisions")


class _Policies:
    """The policy as it would have been at any moment: only prices differ, so one is compiled per set of prices."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.prices = PriceBook(settings.models)
        self._made: dict[tuple[Any, ...], Policy] = {}
        self.latest = self.at(datetime.now(UTC).timestamp())

    def at(self, moment: float) -> Policy:
        at = datetime.fromtimestamp(moment, UTC)
        key = tuple(self.prices.token_prices(name, at) for name in self._settings.models)
        policy = self._made.get(key)
        if policy is None:
            policy = self._made[key] = policy_of(self._settings, catalogue(self._settings, self.prices, at))
        self.latest = policy
        return policy


def _again(row: DecisionRow, policy: Policy) -> Decision | None:
    try:
        recorded = json.loads(row.features)
        if not is_record(recorded):
            return None
        now = RoutingContext(unavailable=_unavailable(row))
        decision = explain.replay(recorded, policy, now)
        hits = {str(hit["id"]): str(hit["reason"]) for hit in json.loads(row.rules)}
        told = set(hits) & heeded(policy)
        if HISTORY in told:
            # The content of history is not recorded, only that it raised the step.
            raised = [HISTORY, hits[HISTORY].rpartition(": ")[0], None]
            recorded = {**recorded, "evidence": [*recorded.get("evidence", ()), raised]}
            decision = explain.replay(recorded, policy, now)
        # Evidence within a tier says nothing if the policy now chooses another tier.
        if told and decision.tier.value == row.tier:
            decision = explain.replay(recorded, policy, replace(now, proven=row.model))
        return decision
    except (ConfigError, KeyError, TypeError, ValueError):
        return None


def _unavailable(row: DecisionRow) -> dict[str, Because]:
    """Return what was unavailable at that moment: models with their recorded reason, and whole providers.

    A model rejected for a lasting reason was not checked for availability. If its provider had no candidate and one
    and the same reason for all its other models, that reason is assumed to hold for this model too.
    """
    candidates = {name.partition("/")[0] for name in json.loads(row.candidates)}
    reasons: dict[str, Because] = {}
    providers: dict[str, set[Because]] = {}
    for rejection in json.loads(row.rejected):
        name, why = str(rejection["model"]), _why_not(rejection)
        provider = name.partition("/")[0]
        if why.code is Code.BELOW_CHOSEN:
            candidates.add(provider)
        elif why.code not in _LASTING:
            reasons[name] = why
            providers.setdefault(provider, set()).add(why)
    for provider, said in providers.items():
        if len(said) == 1 and provider not in candidates:
            reasons[provider] = min(said)
    return reasons


def _why_not(rejection: Mapping[str, Any]) -> Because:
    reason = str(rejection["reason"])
    if "code" in rejection:
        return Because(Code(rejection["code"]), reason)
    if _NOT_CHOSEN_THEN.match(reason):
        return Because(Code.BELOW_CHOSEN, reason)
    return Because(Code.CANNOT if _LASTING_THEN.match(reason) else Code.UNREACHABLE, reason)


def _compare(
    row: DecisionRow, course: Course | None, decision: Decision, seen: Seen, prices: PriceBook
) -> tuple[Replayed, Expected]:
    outcome: Outcome = "same" if decision.model == row.model else "none" if decision.model is None else "other"
    then = [str(hit["id"]) for hit in json.loads(row.rules) if hit["id"] not in EVIDENCE]
    now = [hit.id for hit in decision.rules if hit.id not in EVIDENCE]
    expected, left_out = _expect(row, course, decision.model, outcome, seen, prices)
    found = Replayed(
        decision=row.id,
        run=row.run,
        task=row.task,
        outcome=outcome,
        model=row.model,
        new_model=decision.model,
        tier=row.tier,
        new_tier=decision.tier.value,
        risk=row.risk,
        new_risk=decision.risk.value,
        floor=row.floor,
        new_floor=decision.floor.value,
        cost=course.cost if course else None,
        new_cost=None if expected.cost is None else float(expected.cost[0]),
        seconds=course.seconds if course else None,
        new_seconds=None if expected.seconds is None else float(expected.seconds[0]),
        left_out=left_out,
        why="" if outcome == "same" else _why(row.model, decision),
        gained=tuple(rule for rule in dict.fromkeys(now) if rule not in then),
        lost=tuple(rule for rule in dict.fromkeys(then) if rule not in now),
    )
    return found, expected


def _expect(
    row: DecisionRow,
    course: Course | None,
    model: str | None,
    outcome: Outcome,
    seen: Seen,
    prices: PriceBook,
) -> tuple[Expected, str]:
    """Return cost and seconds under the new choice, and why one of them is unknown."""
    if model is None:
        return Expected(None, None), "no model" if outcome == "none" else "no call"
    known = seen.get((row.task, model))
    if outcome == "other" and (known is None or known.calls < FEWEST_CALLS):
        return Expected(None, None), "unsupported"
    if course is None:
        return Expected(None, None), "no call"
    if outcome == "same" or known is None:
        cost = None if course.cost is None else np.array([course.cost])
        return Expected(cost, np.array([course.seconds])), "price unknown" if cost is None else ""
    seconds = known.mean + known.failed * course.seconds
    if course.cost is None or course.usage is None:
        return Expected(None, seconds), "price unknown" if course.usage else "tokens unknown"
    own = prices.price(model, course.usage, datetime.fromtimestamp(course.moment, UTC))
    if own is None:
        return Expected(None, seconds), "price unknown"
    return Expected(own / PICODOLLARS + known.failed * course.cost, seconds), ""


def _why(model: str | None, decision: Decision) -> str:
    if model is None:
        return "no model qualified then"
    if model in decision.candidates:
        return f"qualifies as number {decision.candidates.index(model) + 1}"
    fallen = (rejection.reason for rejection in decision.rejected if rejection.model == model)
    return next(fallen, "not in the catalogue any more")
