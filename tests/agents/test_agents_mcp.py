"""Agents name tools of MCP servers, which run as long as their runtime."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pointsman import Agent, ConfigError, Workflow
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Simulator

Make = Callable[..., Runtime]

OLD = str(Path(__file__).parents[1] / "tools" / "mcp" / "old_server.py")


@pytest.fixture
def home(simulated: Make, tmp_path: Path) -> Runtime:
    """A runtime with a server, ``old``, that notes in ``notes`` what it is asked."""
    (tmp_path / "notes").touch()
    args = ["-IS", OLD, str(tmp_path / "notes")]
    return simulated(mcp={"old": {"command": sys.executable, "args": args, "effects": {"echo": "read"}}})


def _noted(folder: Path, what: str) -> int:
    return sum(line.startswith(what) for line in (folder / "notes").read_text(encoding="utf-8").splitlines())


def _is_gone(pid: int) -> bool:
    for _ in range(2_000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.slow
def test_an_agent_calls_a_tool_by_its_name_and_the_server_ends_with_the_runtime(home: Runtime, tmp_path: Path) -> None:
    reader = Agent("reader", instructions="Read.", tools=["mcp__old__echo"], tier="frontier")
    assert reader.run('Please mcp__old__echo "hello".', runtime=home).status == "done"
    assert (_noted(tmp_path, "started"), _noted(tmp_path, "call echo hello")) == (1, 1)
    pid = int((tmp_path / "notes").read_text().split()[1])
    os.kill(pid, 0)
    home.close()
    assert _is_gone(pid)


@pytest.mark.slow
def test_what_nobody_declared_waits_for_a_person(home: Runtime, tmp_path: Path) -> None:
    clerk = Agent("clerk", instructions="Wipe.", tools=["mcp__old__wipe"], kind="act")
    result = Workflow("clerks", agents=[clerk], plan="in_order").run('Please mcp__old__wipe "all".', runtime=home)
    assert [(act.tool, dict(act.arguments)) for act in result.pending] == [("mcp__old__wipe", {"text": "all"})]
    assert _noted(tmp_path, "call") == 0


@pytest.mark.slow
def test_a_server_that_cannot_be_used_ends_the_run_before_any_model_is_asked(
    simulated: Make, simulator: Simulator
) -> None:
    home = simulated(mcp={"gone": {"command": "no-such-program-4711"}})
    with pytest.raises(ConfigError, match="the MCP server 'gone' cannot be used: there is no program"):
        Agent("reader", tools=["mcp__gone__x"]).run("Please read.", runtime=home)
    assert len(simulator.log) == 0
