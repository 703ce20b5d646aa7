"""The record of a step: the model that actually ran, its risk, its acts, how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage

from ..configs.words import Risk, Trust
from ..dispatch.context import current
from .approval.acts import account_of, acts_of, open_acts
from .result import Act, Outcome, Status, StepRecord

if TYPE_CHECKING:
    from .spec.described import Described

__all__ = ["record_of"]

_EVIDENCE = "evidence."
"""Prefix of the ids of routing rules that raised a step because of what has happened."""


def record_of(agent: Described, added: Mapping[str, Any], seconds: float) -> StepRecord:
    """Return the record of a step from what it added to the conversation.

    Args:
        agent: Who did it.
        added: As `Agent.ainvoke` returns it.
        seconds: Wall time it took.
    """
    messages: Sequence[BaseMessage] = added["messages"]
    tools = agent.bound_tools()
    last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
    accounts = [account for message in messages if (account := account_of(message))]
    account = accounts[-1] if accounts else {}
    risk = max((Risk(one["risk"]) for one in accounts), default=None)
    view = agent.view(messages)
    record = StepRecord(
        id=current().step or agent.name,
        agent=agent.name,
        model=account.get("model"),
        risk=risk.value if risk else "",
        output=added.get("structured_response") if agent.output else (str(last.text) if last else ""),
        note=_risen(accounts),
        seconds=seconds,
        confidence=account.get("confidence"),
        tier=account.get("tier", ""),
        acts=acts_of(messages, tools),
        trust=min(view.trust, current().trust, Trust.TOOL).value,
        evidence=view.evidence,
    )
    return _judged(record, open_acts(messages, tools))


def _risen(accounts: Sequence[Mapping[str, Any]]) -> str:
    """Return why a step left its declared tier or its first model."""
    failed = dict.fromkeys(failure for account in accounts for failure in account.get("failed") or ())
    rules = dict.fromkeys(rule for account in accounts for rule in account.get("rules") or ())
    evidence = [rule for rule in rules if rule.startswith(_EVIDENCE)]
    parts = [f"after {'; '.join(failed)}" if failed else "", f"risen on {', '.join(evidence)}" if evidence else ""]
    return "; ".join(part for part in parts if part)


def _judged(record: StepRecord, left: Sequence[Act]) -> StepRecord:
    """Return the record, completed with what its acts say about how it ended.

    Args:
        record: The step.
        left: The acts that were not carried out and that nothing replaces.
    """
    unverified = [
        f"the call of {act.tool} was not verified: {act.reason}"
        for act in record.acts
        if act.outcome is Outcome.DONE and act.reason
    ]
    settled = [
        f"{act.tool} was {act.outcome} at first: {act.reason}"
        for act in record.acts
        if act.outcome in (Outcome.DOUBTED, Outcome.REJECTED) and act not in left
    ]
    failed = [f"a call of {act.tool} failed" for act in record.acts if act.outcome is Outcome.FAILED]
    refused = [f"{act.tool} was rejected: {act.reason}" for act in left if act.outcome is Outcome.REJECTED]
    doubted = [f"the call of {act.tool}: {act.reason}" for act in left if act.outcome is Outcome.DOUBTED]
    record = replace(record, unverified="; ".join(unverified)).noted(
        *settled, *dict.fromkeys(failed), *unverified, *refused
    )
    if doubted:
        return replace(record, status=Status.HANDED_OVER, doubt=doubted[-1])
    return replace(record, status=Status.REJECTED) if refused else record
