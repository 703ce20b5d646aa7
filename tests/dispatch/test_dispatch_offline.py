"""Offline: the hosted providers are simulated, everywhere and openly, and nothing of it passes for real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman import Agent, ConfigError, RoutedChatModel, Workflow
from pointsman.agents.runtime import Runtime
from pointsman.configs.loading.loader import load
from pointsman.dispatch.catalog import unavailable
from pointsman.dispatch.offline import SIMULATED, is_played
from pointsman.ledger.ledger import Ledger

REDIRECTS = "providers:\n  lab: {backend: openai_compatible, base_url: 'https://lab.example/v1', key: LAB_API_KEY}\n"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime that is offline and has a key that must not be used."""
    made = Runtime(load(tmp_path, environ={"POINTSMAN_OFFLINE": "1", "OPENAI_API_KEY": "sk-real"}))
    yield made
    made.close()


@pytest.mark.parametrize("model", ["anthropic/claude-opus-4-7", "openai/gpt-5.5", "google/gemini-3.1-pro"])
def test_every_vendor_answers_through_its_own_client_without_a_key(home: Runtime, model: str) -> None:
    said = RoutedChatModel(prefer=model, tier="advanced", dispatcher=home.dispatcher).invoke("Hello there")

    assert said.response_metadata["pointsman"]["model"] == model
    assert "Hello there" in said.text


@pytest.mark.slow
def test_streams_and_runs_work_and_the_result_says_that_it_is_simulated(home: Runtime) -> None:
    chunks = list(RoutedChatModel(dispatcher=home.dispatcher).stream("Hello there"))
    alone = Agent("one", instructions="Answer.").run("Hello", runtime=home)
    together = Workflow("flow", [Agent("one"), Agent("two")], plan="in_order").run("Hello", runtime=home)

    assert "Hello there" in "".join(str(chunk.text) for chunk in chunks)
    assert alone.notes == (SIMULATED,)
    assert SIMULATED in together.notes


def test_what_was_simulated_is_kept_apart_from_what_was_real(home: Runtime, tmp_path: Path) -> None:
    run = Agent("one", instructions="Answer.").run("Hello", runtime=home).run

    assert home.settings.state == tmp_path / ".pointsman" / "offline"
    assert home.ledger.run(run) is not None
    assert not (tmp_path / ".pointsman" / "ledger.db").exists()
    real = Runtime(load(tmp_path, environ={}))
    try:
        with pytest.raises(ConfigError, match="with --offline those that were simulated"):
            Workflow("flow", [Agent("one")]).resume(run, runtime=real)
    finally:
        real.close()


def test_no_key_and_no_option_that_leads_elsewhere_reaches_a_client(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(
        REDIRECTS + "models:\n  lab/m: {tier: economy, context: 90000, options: {openai_proxy: 'http://p.example'}}\n"
    )
    settings = load(tmp_path, environ={"POINTSMAN_OFFLINE": "1", "LAB_API_KEY": "sk-real"})
    home = Runtime(settings)
    try:
        said = RoutedChatModel(prefer="lab/m", dispatcher=home.dispatcher).invoke("Hello")
    finally:
        home.close()
    assert said.response_metadata["pointsman"]["model"] == "lab/m"


def test_what_cannot_be_simulated_is_not_used(home: Runtime) -> None:
    reasons = unavailable(home.settings)

    hosted = {name for name, entry in home.settings.providers.items() if not entry.local}
    assert {name for name in hosted if name in reasons} == {"bedrock", "vertex"}
    assert reasons["bedrock"].reason == "offline: it cannot be simulated on this machine"
    assert not is_played(home.settings, "ollama")


@pytest.mark.slow
def test_a_program_needs_one_variable_and_is_told_once_what_it_means(programs: Any, tmp_path: Path) -> None:
    code = (
        "from pointsman import Agent\n"
        "agent = Agent('one', instructions='Answer.')\n"
        "print([agent.run(f'Hello {n}').output for n in range(3)])\n"
    )
    environ = {**os.environ, "POINTSMAN_OFFLINE": "1"}
    done = programs.run(["-c", code], cwd=tmp_path, env=environ, check=True)

    assert "Hello 2" in done.stdout
    assert done.stderr.count(SIMULATED) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_a_simulator_of_its_own(home: Runtime) -> None:
    model = RoutedChatModel(dispatcher=home.dispatcher)
    model.invoke("Hello")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if "again" in str(model.invoke("Hello again").text) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_real_ledger_has_no_row_of_it(home: Runtime, tmp_path: Path) -> None:
    home.dispatcher.ledger.flush()
    with Ledger(tmp_path / ".pointsman" / "ledger.db") as ledger:
        assert list(ledger.runs()) == []
