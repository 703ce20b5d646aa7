"""Arguments that nobody knows are refused before anything runs, with what was meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pointsman import (
    Agent,
    ConfigError,
    Ensemble,
    RoutedDecisionModel,
    Workflow,
    batch,
    cascade,
    code_fix,
    decided,
    document_extraction,
    extraction,
    runs,
    tool,
    vote,
)
from pydantic import BaseModel

A = Agent("a")
FLOW = Workflow("w", [A])


class Bill(BaseModel):
    total: int


def look() -> str:
    """Look."""
    return ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            lambda: Workflow("w", [Agent("a")]).run("t", max_costs=1),
            "no argument 'max_costs'; did you mean 'max_cost'?",
        ),
        (lambda: A.run("t", max_stps=1), "no argument 'max_stps'; did you mean 'max_steps'?"),
        (lambda: Agent("a", tier="econmy"), "'econmy' is not one of .*; did you mean 'economy'?"),  # type: ignore[call-overload]
        (lambda: Agent("a", teir="economy"), "no argument 'teir'; did you mean 'tier'?"),  # type: ignore[call-overload]
        (lambda: Agent("a", kind="gathr"), "'gathr' is not one of .*; did you mean 'gather'?"),  # type: ignore[call-overload]
        (lambda: list(FLOW.stream("t", max_costs=1)), "Workflow.stream has no argument 'max_costs'"),
        (lambda: FLOW.run("t", max_costs=1), "Workflow.run has no argument 'max_costs'"),
        (lambda: runs.pending(runtme=1), "^pending has no argument 'runtme'; did you mean 'runtime'?"),
        (lambda: A.invoke("t", max_cost=0.1), "^Agent.invoke starts no run that max_cost could hold for: use run"),
        (lambda: list(A.stream("t", max_steps=1)), "^Agent.invoke starts no run that max_steps could hold for"),
        (lambda: A.invoke("t", contxt={}), "^Agent.invoke has no argument 'contxt'; did you mean 'context'?"),
        (lambda: FLOW.dry_run("t", fles=[]), "no argument 'fles'; did you mean 'files'?"),
        (lambda: FLOW.validate(runtme=None), "no argument 'runtme'; did you mean 'runtime'?"),
        (lambda: batch("b", A, job=1), "no argument 'job'; did you mean 'jobs'?"),
        (lambda: cascade("c", A, chek=None), "no argument 'chek'; did you mean 'check'?"),
        (lambda: code_fix("c", tst=""), "no argument 'tst'; did you mean 'test'?"),
        (lambda: decided("d", A, rsk="high"), "no argument 'rsk'; did you mean 'risk'?"),
        (lambda: document_extraction("d", Bill, chek=None), "did you mean 'check'?"),
        (lambda: extraction("e", Bill, teir="economy"), "did you mean 'tier'?"),
        (lambda: vote("v", [A, Agent("b")], judg=True), "no argument 'judg'; did you mean 'judge'?"),
        (lambda: Ensemble([], qorum=2), "Ensemble has no argument 'qorum'; did you mean 'quorum'?"),
        (lambda: document_extraction("d", dict), "output=dict is not a pydantic class"),
        (lambda: RoutedDecisionModel(treshold=1), "no argument 'treshold'; did you mean 'threshold'?"),
        (lambda: RoutedDecisionModel(threshold=2), "^threshold=2 cannot be used: input should be less"),
        (lambda: tool(look, effect="read", trust="tol"), "tool 'look': trust='tol' cannot be used: .* 'tool'"),
        (lambda: tool(look, effect="read", risk_of="high"), "risk_of='high' cannot be used"),
    ],
)
def test_a_misspelt_argument_is_refused_with_what_was_meant(wrong: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?").replace(".*", ".+")):
        wrong()
