"""The newest calls with their tasks."""

from __future__ import annotations

from typing import Any

from pointsman.configs.catalog import Usage
from pointsman.ledger.experience import newest_calls
from pointsman.ledger.ledger import Ledger


def test_calls_come_with_the_task_of_their_decision(either: Ledger, make: Any) -> None:
    for task in ("chat", "code"):
        either.record(make.decision(id=task, task=task))
    calls = [make.call(decision=task, usage=Usage(10, 5), cost=7, latency=1.5) for task in ("code", "chat", "code")]
    for call in calls:
        either.record(call)
    assert newest_calls(either, 10) == list(zip(("code", "chat", "code"), calls, strict=True))


def test_only_the_newest_are_read_in_the_order_they_were_recorded(either: Ledger, make: Any) -> None:
    either.record(make.decision(id="d"))
    calls = [make.call(decision="d") for _ in range(30)]
    for call in calls:
        either.record(call)
    assert newest_calls(either, 4) == [("chat", call) for call in calls[-4:]]


def test_a_call_without_a_decision_has_no_task_and_is_left_out(either: Ledger, make: Any) -> None:
    either.record(make.call())
    assert newest_calls(either, 10) == []


def test_answers_out_of_batches_and_calls_broken_off_tell_nothing(either: Ledger, make: Any) -> None:
    either.record(make.decision(id="d"))
    for detail in ("batch b1", "batch b1: it was refused", "broken off: another model answered first"):
        either.record(make.call(decision="d", detail=detail))
    either.record(kept := make.call(decision="d", detail="no complete answer in time", failure="timeout"))
    assert newest_calls(either, 10) == [("chat", kept)]
