"""Errors go from one process to another."""

from __future__ import annotations

import pickle

import pytest
from pointsman import Agent, AllFailed, BackendError, PointsmanError, ThreadBusy
from pointsman.agents import RepeatedCall, RunTimeout, TurnLimit
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import FailureKind, Risk
from pointsman.ledger import BudgetExceeded


def unknown_argument() -> PointsmanError:
    with pytest.raises(PointsmanError) as told:
        Agent("a", toolz=[])  # type: ignore[call-overload]
    return told.value


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("no such tier", file="agents.yaml", line=3),
        unknown_argument(),
        BackendError(FailureKind.TIMEOUT, "too slow", status=504),
        AllFailed([], [("a/b", "unhealthy")], Risk.HIGH),
        BudgetExceeded("run:r1", 5, 3, 4),
        RunTimeout("r1", 2.5),
        TurnLimit("a", 3),
        RepeatedCall("a", "look", 5),
        ThreadBusy("t", "another run"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_out_of_another_process_as_it_was(error: PointsmanError) -> None:
    error.run = "r1"
    restored = pickle.loads(pickle.dumps(error))
    assert type(restored) is type(error)
    assert (str(restored), vars(restored)) == (str(error), vars(error))
