"""How evidence raises a step above the tier that declared facts gave it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ...configs.words import Tier
from ..decision import RuleHit
from ..evidence import HISTORY, Finding
from ..experience import TaskStats
from ..features.features import Features
from .policy import CompiledCard

__all__ = ["demanded", "raised"]

# Below this share of usable replies, a paid call is more likely wasted than not.
_USABLE: Final = 0.5
_TIERS: Final = tuple(Tier)


def demanded(features: Features) -> Finding | None:
    """Return the finding with the highest ``at_least``, below which the step may not run; None if none has one."""
    naming = [finding for finding in features.evidence if finding.at_least is not None]
    return max(naming, key=lambda finding: finding.at_least or Tier.ONDEVICE, default=None)


def raised(
    features: Features,
    able: Sequence[CompiledCard],
    plain: Tier,
    known: Mapping[str, TaskStats],
    hits: list[RuleHit],
) -> Tier | None:
    """Return the lowest tier that evidence allows: one above the tier without evidence, or the one a finding names.

    Several findings together raise the step no further than one does. If no model above qualifies, the step keeps its
    tier unless a finding names one. History never counts against the on-device tier, whose model declines by itself.

    Args:
        features: Features of the step, with its findings.
        able: The models that qualify.
        plain: The tier without evidence.
        known: Model -> how it did at this task, for those with enough calls.
        hits: The findings that counted are appended to it.

    Returns:
        The tier; None if no evidence applies.
    """
    tiers: list[Tier] = []
    demand = demanded(features)
    if demand is not None and demand.at_least is not None:
        hits.append(RuleHit(demand.id, f"{demand.reason}: nothing below {demand.at_least.value}"))
        tiers.append(demand.at_least)
    ranks = sorted({entry.rank for entry in able})
    usual = next((rank for rank in ranks if rank >= plain.rank), None)
    above = next((rank for rank in ranks if usual is not None and rank > usual), None)
    findings = [finding for finding in features.evidence if finding.at_least is None]
    if usual and above is not None:
        findings += _failing([entry for entry in able if entry.rank == usual], known, features.task)
    if findings and usual is not None and above is not None:
        instead = f"{_TIERS[above].value} and not {_TIERS[usual].value}"
        hits.extend(RuleHit(finding.id, f"{finding.reason}: {instead}") for finding in findings)
        tiers.append(_TIERS[above])
    else:
        why = "but no model above qualifies"
        hits.extend(RuleHit("tier.highest", f"{finding.reason}, {why}") for finding in findings)
    return max(tiers, default=None)


def _failing(entries: Sequence[CompiledCard], known: Mapping[str, TaskStats], task: str) -> list[Finding]:
    """Return one finding if history speaks against every model of a tier; empty if it clears even one of them."""
    said: list[str] = []
    for entry in entries:
        one = known.get(entry.id)
        interval = None if one is None else one.usable
        if one is None or interval is None or interval[1] >= _USABLE:
            return []
        said.append(
            f"{entry.id} gave {one.calls * one.success:.0f} usable of {one.replies:.0f} {task} replies"
            f" (95 %: {100 * interval[0]:.0f} to {100 * interval[1]:.0f} %)"
        )
    return [Finding(HISTORY, "; ".join(said))] if said else []
