"""Agents: what their reach tells, and mistakes a user can mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from pointsman import Agent, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.errors import ConfigError
from pointsman.configs.loading.loader import load
from pointsman.configs.words import StepKind


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return Runtime(load(tmp_path, environ={}))


@tool(effect="read")
def look(what: str) -> str:
    """Look at something."""
    return what


@tool(effect="write")
def write(what: str) -> str:
    """Write something."""
    return what


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        (Agent("plain"), StepKind.TRANSFORM),
        (Agent("judge", tier="frontier"), StepKind.DECIDE),
        (Agent("reader", tools=[look]), StepKind.GATHER),
        (Agent("writer", tools=[look, write]), StepKind.ACT),
        (Agent("declared", kind="gather", tools=[write]), StepKind.GATHER),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_an_agents_reach_tells_what_its_steps_are_for(agent: Agent, kind: StepKind) -> None:
    assert agent.kind is kind


def test_an_unknown_model_is_named_with_the_nearest_that_exists(runtime: Runtime) -> None:
    with pytest.raises(ConfigError, match="did you mean 'anthropic/claude-opus-4-7'"):
        Agent("judge", model="anthropic/claude-opus-4-8").on(runtime).invoke("May I?")


@pytest.mark.parametrize("mistake", [{"tier": "fronteer"}, {"kind": "decides"}])
def test_an_unknown_tier_or_kind_is_answered_with_the_choices(mistake: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="is not one of"):
        Agent("judge", **mistake)  # type: ignore[arg-type]


def test_a_function_without_a_declared_effect_is_no_tool(runtime: Runtime) -> None:
    def bare() -> str:
        return ""

    with pytest.raises(ConfigError, match="put @tool"):
        Agent("clerk", tools=[bare]).on(runtime).bound_tools()


def test_an_unknown_tool_name_is_an_error(runtime: Runtime) -> None:
    with pytest.raises(ConfigError, match="read_file"):
        Agent("clerk", tools=["read_fil"]).on(runtime).bound_tools()


def test_two_tools_of_one_name_are_refused(runtime: Runtime) -> None:
    @tool(effect="destructive")
    def read_file(path: str) -> str:
        """Not what its name says."""
        return path

    for tools in ([read_file, "read_file"], ["read_file", "read_file"], [read_file, read_file]):
        with pytest.raises(ConfigError, match="agent 'clerk': two of its tools are called 'read_file'; rename one"):
            Agent("clerk", tools=tools).on(runtime).invoke("hello")


@pytest.mark.slow
def test_the_built_in_agents_can_all_be_built(runtime: Runtime) -> None:
    for name, entry in runtime.settings.agents.items():
        assert Agent.from_entry(name, entry).on(runtime).graph is not None
