"""`pointsman drill`: providers broken on purpose, on this machine, under the user's own policy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.commands.drill import _sealed
from pointsman.cli.drills.faults import DRILLS, played
from pointsman.configs.loading.loader import load

Run = Callable[..., Any]


def drilled(pointsman: Run, *words: str, code: int = 0) -> dict[str, Any]:
    ended = pointsman("drill", "--json", *words)
    assert ended.exit_code == code, ended.stderr
    made: dict[str, Any] = json.loads(ended.stdout)
    return made


@pytest.mark.slow
def test_every_first_choice_is_broken_in_turn_and_nothing_is_silently_wrong(pointsman: Run, project: Path) -> None:
    (project / "routing.yaml").write_text("routing: {approved: [anthropic, openai]}\n")
    made = drilled(pointsman, "--calls", "5")

    plain, streamed = made["undisturbed"]
    assert (plain["streamed"], streamed["streamed"]) == (False, True)
    assert (plain["failed"], streamed["failed"], plain["steps"]) == (0, 0, 5)
    victims = list(plain["asked_first"])
    assert set(victims) == {"openai", "anthropic"}
    assert {(one["drill"], one["provider"]) for one in made["drills"]} == {
        (drill.name, victim) for drill in DRILLS for victim in victims
    }
    by_name = {(one["drill"], one["provider"]): one for one in made["drills"]}
    assert all(one["wrong"] == 0 for one in made["drills"])
    assert all(one["answered"] + one["failed"] == 5 for one in made["drills"])
    assert all(sum(one["person"].values()) == one["failed"] for one in made["drills"])

    outage = by_name["outage", "openai"]
    assert (outage["answered"], outage["wasted_tokens"]) == (5, 0)
    assert 0 < outage["asked"] <= outage["usual"]
    assert outage["still_asked"] == outage["asked"] / outage["usual"]
    slow = by_name["slow", "openai"]
    # The undisturbed ones may take as long on a busy machine; a slow one never takes less than it is told to.
    assert slow["p95"] > 0.1
    assert slow["added_p95"] == pytest.approx(slow["p95"] - plain["p95"])
    assert by_name["garbage", "anthropic"]["wasted_tokens"] > 0
    assert by_name["stream cuts", "openai"]["wasted_tokens"] > 0
    assert not (project / ".pointsman").exists()


@pytest.mark.slow
def test_a_policy_without_an_alternative_shows_what_would_reach_a_person(pointsman: Run, project: Path) -> None:
    (project / "routing.yaml").write_text("routing: {approved: [anthropic]}\n")
    ended = pointsman("drill", "--calls", "5", "--scenario", _script(project, "overloaded"))
    assert ended.exit_code == 0, ended.stderr
    (row,) = [line for line in ended.stdout.splitlines() if line.startswith("scenario")]
    assert row.split()[:5] == ["scenario", "-", "0/5", "5", "0"]
    assert "overloaded" in row
    assert "no answer was silently wrong" in ended.stdout


def _script(project: Path, fault: str) -> str:
    file = project / "scenario.yaml"
    file.write_text(f"rules:\n  - {{match: {{vendor: anthropic}}, fault: {fault}}}\n")
    return str(file)


@pytest.mark.slow
def test_an_answer_that_is_silently_wrong_is_found_and_ends_with_code_1(pointsman: Run, project: Path) -> None:
    # A slow rule is no part of the undisturbed run, and this one also lies.
    (project / "lie.yaml").write_text("rules:\n  - {match: {vendor: anthropic}, latency: 1, answer: a lie}\n")
    (project / "routing.yaml").write_text("routing: {approved: [anthropic]}\n")
    made = drilled(pointsman, "--calls", "5", "--scenario", "lie.yaml", code=1)
    assert made["drills"][0]["wrong"] > 0


@pytest.mark.slow
def test_a_workflow_of_ones_own_is_drilled_without_its_tools_acting(pointsman: Run, desk: Path) -> None:
    words = ("--target", "desk.py:clerk", "--input", "delete_account bob", "--calls", "2", "--scenario")
    script = _script(desk, "overloaded")
    made = drilled(pointsman, *words, script)
    assert made["drills"][0]["person"] == {"approval pending": 2}
    assert made["drills"][0]["wrong"] == 0

    (desk / "reader.py").write_text(
        "import pathlib\n"
        "from pointsman import Agent, tool\n"
        "@tool(effect='read')\n"
        "def peek(name: str) -> str:\n"
        "    'Peek.'\n"
        "    pathlib.Path('peeked.txt').touch()\n"
        "    return 'seen'\n"
        "peeker = Agent('peeker', instructions='Peek.', tools=[peek])\n"
    )
    words = ("--target", "reader.py:peeker", "--input", "please peek", "--calls", "2", "--scenario", script)
    assert drilled(pointsman, *words)["drills"][0]["answered"] == 2
    assert not (desk / "peeked.txt").exists()
    assert drilled(pointsman, *words, "--run-tools")["drills"][0]["answered"] == 2
    assert (desk / "peeked.txt").exists()


def test_what_cannot_be_drilled_is_refused_in_one_line(pointsman: Run, desk: Path) -> None:
    (desk / "graphs.py").write_text(
        "from pointsman import Workflow\nflow = Workflow('mine', graph=lambda runtime: None)\n"
    )
    for words, said in (
        (["--target", "desk.py:helper"], "--target needs an input to run on"),
        (["--input", "x"], "--input and --run-tools are for a workflow"),
        (["--target", "graphs.py:flow", "--input", "x"], "'mine' builds its own graph"),
        (["--scenario", "none.yaml"], "none.yaml: cannot read the scenario"),
        (["--calls", "0"], "--calls"),
    ):
        ended = pointsman("drill", *words)
        assert (ended.exit_code, said in ended.stderr) == (2, True), ended.stderr
        assert ended.stderr.count("\n") == 1


def test_where_no_model_may_run_the_drill_says_so_and_fails(pointsman: Run, project: Path) -> None:
    ended = pointsman("drill", "--calls", "2", "--usable")
    assert ended.exit_code == 1
    assert ended.stderr.splitlines()[-1] == ("error: all 2 steps fail although every provider is well: 2 no model")


def test_every_provider_that_is_drilled_is_on_this_machine_and_has_no_real_key(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(
        "providers:\n"
        "  lab: {backend: openai_compatible, base_url: 'https://lab.example/v1', key: LAB_API_KEY,"
        " options: {openai_proxy: 'http://proxy.example', default_headers: {a: b}}}\n"
        "  openai: {base_url: 'https://gateway.example/v1'}\n"
        "models: {lab/m: {tier: economy, context: 9, options: {base_url: 'https://else.example', temperature: 0.1}}}\n"
    )
    environ = {"LAB_API_KEY": "sk-real", "OPENAI_API_KEY": "sk-real", "POINTSMAN_OFFLINE": "1"}
    settings = load(tmp_path, environ=environ, trust=True)
    there, left_out = played(settings, "http://127.0.0.1:1", tmp_path / "state", {"vllm": "nothing listens"})

    assert left_out == ("bedrock", "vertex")
    able = {name: entry for name, entry in there.providers.items() if entry.enabled}
    assert set(able) == set(settings.providers) - {"bedrock", "vertex", "vllm"}
    assert {str(entry.base_url).split("/")[2] for name, entry in able.items() if name != "ondevice"} == {"127.0.0.1:1"}
    assert able["lab"].base_url == "http://127.0.0.1:1/lab/v1"
    assert able["lab"].options == {"default_headers": {"a": "b"}}
    assert there.models["lab/m"].options == {"temperature": 0.1}
    assert {secret.get_secret_value() for secret in there.secrets.values()} == {"drill-placeholder"}
    assert there.state == tmp_path / "state"
    assert (there.routing, there.risk, there.offline) == (settings.routing, settings.risk, False)


def test_proxies_and_tracers_are_kept_out_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    from langsmith.utils import tracing_is_enabled

    kept = {"HTTPS_PROXY": "http://proxy.example", "https_proxy": "x", "LANGSMITH_TRACING": "true"}
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    with _sealed():
        assert not set(kept) & set(os.environ)
        assert not tracing_is_enabled()
    assert {name: os.environ[name] for name in kept} == kept
