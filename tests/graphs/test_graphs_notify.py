"""Somebody is told when an act comes to wait, and a run never fails for it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman import Agent, Workflow, runs, tool
from pointsman.agents.runtime import Runtime
from pointsman.cli.main import app
from pointsman.configs.errors import ConfigError
from pointsman.ledger import points
from pointsman.ledger.points import Point
from pointsman.simulator import Answer, Rule, Scenario, Simulator
from typer.testing import CliRunner

Make = Callable[..., Runtime]
SECRET = "sk-proj-Ab3dEf6hIj9kLmN0pQrStUvWxYz12345"
ran: list[str] = []


@tool(effect="destructive")
def send(text: str) -> str:
    """Send a text."""
    ran.append(text)
    return "sent"


@pytest.fixture
def flow(simulator: Simulator) -> Workflow[Any]:
    ran.clear()

    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": "send", "arguments": {"text": f"{name} {SECRET}"}} for name in "AB"])

    simulator.scenario = Scenario(rules=[Rule(answer=answer)])
    return Workflow("sender", [Agent("sender", tools=[send])])


def test_a_program_reads_what_waits_without_secrets_or_keys_and_once(
    flow: Workflow[Any], runtime: Make, tmp_path: Path
) -> None:
    code = (
        "import json, os, sys; told = json.load(sys.stdin); told['env'] = dict(os.environ); "
        "print(json.dumps(told), file=open(sys.argv[1], 'a'))"
    )
    heard = tmp_path / "heard $(touch x); &"
    home = runtime(**{"approval.notify.command": [sys.executable, "-c", code, str(heard)]})
    stopped = flow.run("go", runtime=home)
    (line,) = heard.read_text().splitlines()
    told = json.loads(line)
    assert (told["run"], told["target"]) == (stopped.run, "sender")
    assert told["answer"] == f"pointsman resume {stopped.run} --approve ID"
    assert {act["id"] for act in told["pending"]} == {act.id for act in stopped.pending}
    assert {act["arguments"]["text"][:1] for act in told["pending"]} == {"A", "B"}
    assert SECRET not in line
    assert not [name for name in told["env"] if name.endswith("_API_KEY")]
    assert stopped.notes == ()

    first, second = stopped.pending
    still = flow.resume(stopped.run, {first.id: "approve"}, runtime=home)
    assert (still.status, len(ran)) == ("pending", 1)
    flow.resume(stopped.run, {second.id: "approve"}, runtime=home)
    assert (len(ran), len(heard.read_text().splitlines())) == (2, 1)


@pytest.mark.slow
def test_an_address_that_is_a_secret_stands_in_an_environment_variable(
    flow: Workflow[Any], runtime: Make, serve: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    url = serve(lambda request: (asked.append(request), (204, {}, b""))[1])
    secret = "services/T0/B0/Ab3dEf6hIj9kLmN0pQrStUvWx"
    policy = {"approval.notify.url": "MY_HOOK"}
    for held, note in (
        ("", "the environment variable MY_HOOK is not set"),
        (
            "http://example.com/",
            "must be https, or http on this machine, since what is sent there can be read on the way",
        ),
        (f"{url}/{secret}", ""),
    ):
        monkeypatch.setenv("MY_HOOK", held)
        stopped = flow.run("go", runtime=runtime(**policy))
        assert [said.rpartition("waits: ")[2] for said in stopped.notes] == ([note] if note else [])
    (request,) = asked
    assert request.path == f"/{secret}"


@pytest.mark.slow
def test_an_address_is_sent_what_waits_and_leads_nowhere_else(
    flow: Workflow[Any], runtime: Make, serve: Callable[[Any], str]
) -> None:
    asked: list[Any] = []

    def answer(request: Any) -> Any:
        asked.append(request)
        return (302, {"location": "/elsewhere"}, b"") if request.path == "/moved" else (204, {}, b"")

    url = serve(answer)
    stopped = flow.run("go", runtime=runtime(**{"approval.notify.url": f"{url}/hook"}))
    (request,) = asked
    assert (request.method, request.path, request.headers["content-type"]) == ("POST", "/hook", "application/json")
    assert (request.json()["run"], len(request.json()["pending"])) == (stopped.run, 2)
    assert SECRET.encode() not in request.body

    moved = flow.run("go", runtime=runtime(**{"approval.notify.url": f"{url}/moved"}))
    assert [one.path for one in asked] == ["/hook", "/moved"]
    assert moved.notes == ("approval.notify.url did not tell that an act waits: the server answered 302",)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({"approval.notify.command": ["/nowhere/at-all"]}, "command did not tell that an act waits: .*No such file"),
        ({"approval.notify.command": [sys.executable, "-c", "raise SystemExit(3)"]}, "command .*: it ended with 3"),
        (
            {"approval.notify.command": ["sh", "-c", "sleep 600 & sleep 600"], "approval.notify.timeout": 0.05},
            "command .*: it took longer than 0.05 s",
        ),
        ({"approval.notify.url": "http://127.0.0.1:9/x"}, "url .*: .*refused"),
    ],
    ids=str,
)
def test_who_cannot_be_told_is_a_note_and_the_run_waits_all_the_same(
    flow: Workflow[Any], runtime: Make, policy: dict[str, Any], why: str
) -> None:
    stopped = flow.run("go", runtime=runtime(**policy))
    (note,) = stopped.notes
    assert (stopped.status, len(stopped.pending)) == ("pending", 2)
    assert re.search(why, note)


@pytest.mark.parametrize("url", ["http://example.com/x", "http://localhost.evil.example/", "ftp://x", "https://"])
def test_an_address_that_others_could_read_along_is_refused(runtime: Make, url: str) -> None:
    with pytest.raises(ConfigError, match="must be https, or http on this machine"):
        runtime(**{"approval.notify.url": url})


@pytest.mark.parametrize("sees", ["runs.pending", "resume", "pointsman queue"])
def test_what_nobody_was_told_of_since_the_run_was_killed_is_told_by_whoever_sees_it_first(
    flow: Workflow[Any], runtime: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sees: str
) -> None:
    heard = tmp_path / "heard"
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"
    hook = [sys.executable, "-c", code, str(heard)]
    home = runtime(**{"approval.notify.command": hook})

    def watch(point: Point) -> None:
        if point is Point.WAITING:
            raise KeyboardInterrupt

    monkeypatch.setattr(points, "watcher", watch)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(flow.arun("go", runtime=home))
    monkeypatch.setattr(points, "watcher", None)
    (row,) = home.ledger.runs()
    assert (len(home.ledger.handoffs(open_only=True, run=row.id)), heard.exists()) == (2, False)

    def look() -> None:
        if sees == "resume":
            assert flow.resume(row.id, runtime=home).status == "pending"
        elif sees == "runs.pending":
            assert len(runs.pending(runtime=home)) == 2
        else:
            monkeypatch.chdir(tmp_path)
            monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
            mine = tmp_path / "mine" / "pointsman" / "risk.yaml"
            mine.parent.mkdir(parents=True, exist_ok=True)
            mine.write_text(json.dumps({"approval": {"notify": {"command": hook}}}))
            assert CliRunner().invoke(app, ["queue"]).exit_code == 0

    look()
    (line,) = heard.read_text().splitlines()
    told = json.loads(line)
    assert (told["run"], told["target"], len(told["pending"])) == (row.id, "sender", 2)
    look()
    assert len(heard.read_text().splitlines()) == 1
    assert len(runs.pending(runtime=home)) == 2
    assert len(heard.read_text().splitlines()) == 1
