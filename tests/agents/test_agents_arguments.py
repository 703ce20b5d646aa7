"""Arguments that nobody knows are refused before anything runs, with what was meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pointsman import Agent, ConfigError, Workflow

A = Agent("a")


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
    ],
)
def test_a_misspelt_argument_is_refused_with_what_was_meant(wrong: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?").replace(".*", ".+")):
        wrong()
