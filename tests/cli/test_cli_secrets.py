"""Secrets in prompts, tools' output, arguments, errors and tags: none is in any file written or stream printed."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator
from pointsman.simulator.brain import think
from pointsman.simulator.request import ToolCall

Run = Callable[..., Any]
Secrets = dict[str, tuple[str, str]]

DESK = """
import json, os
from pathlib import Path
from pointsman import Agent, Workflow, tool
from pointsman.tools.base import ToolFailed

SECRETS = Path(os.environ["FAKE_SECRETS"]).read_text()

@tool(effect="read")
def look_up_notes(topic: str) -> str:
    \"\"\"Look up the notes.\"\"\"
    return SECRETS

@tool(effect="read")
def open_safe(topic: str) -> str:
    \"\"\"Open the safe.\"\"\"
    raise ToolFailed("the safe says: " + SECRETS)

@tool(effect="read")
def break_down(topic: str) -> str:
    \"\"\"Break down.\"\"\"
    raise RuntimeError("broken by: " + SECRETS)

@tool(effect="destructive")
def delete_account(user: str, note: str) -> str:
    \"\"\"Delete the account of a user.\"\"\"
    with open(os.environ["DELETED"], "a") as file:
        file.write(json.dumps([user, note]) + chr(10))
    return "deleted, said " + note

reader = Agent("reader", instructions="Help.", tools=[look_up_notes, open_safe, break_down], kind="gather")
clerk = Agent("clerk", instructions="Delete what you are told to.", tools=[delete_account], kind="act")
flow = Workflow("two", [Agent("first", kind="transform"), Agent("second", kind="transform")], plan="in_order")
"""


@pytest.fixture
def secrets(fake_secrets: Secrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    """The secrets, in a file outside the project, where its tools find them."""
    outside = tmp_path / "outside.txt"
    outside.write_text(everything(fake_secrets))
    monkeypatch.setenv("FAKE_SECRETS", str(outside))
    monkeypatch.setenv("DELETED", str(tmp_path / "deleted.txt"))
    return fake_secrets


@pytest.fixture
def desk(project: Path, secrets: Secrets, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose tools, and whose model, say secrets."""
    for vendor in ("anthropic", "openai", "google"):
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    (project / "vault.py").write_text(DESK)
    note = {"user": "bob", "note": everything(secrets)}
    call = Answer(tool_calls=(ToolCall(name="delete_account", arguments=note),))
    simulator.scenario = Scenario(rules=(Rule(match=Match(contains="delete account bob", first=1), answer=call),))
    return project


def everything(secrets: Secrets) -> str:
    return "\n".join(text for text, _ in secrets.values())


def told(secrets: Secrets, said: str) -> list[str]:
    """The kinds of secret in a text, as they are or in JSON."""
    return [kind for kind, (_, secret) in secrets.items() if secret in said or json.dumps(secret)[1:-1] in said]


def kept(secrets: Secrets, *folders: Path) -> list[tuple[str, str]]:
    """The files below folders and the kinds of secret in each."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "checkpoints.db" for path in files)
    return [(path.name, kind) for path in files for kind in told(secrets, inside(path))]


def inside(path: Path) -> str:
    """All that a file holds; of a database also each value, since a long one lies in pieces in the file."""
    held = [path.read_bytes().decode("utf-8", "replace")]
    if held[0].startswith("SQLite format 3"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.text_factory = bytes
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                for row in connection.execute(f'SELECT * FROM "{table.decode()}"'):
                    held += [value.decode("utf-8", "replace") for value in row if isinstance(value, bytes)]
    return "\n".join(held)


def home() -> Path:
    return Path(os.environ["HOME"])


@pytest.mark.slow
def test_no_secret_is_written_or_printed_wherever_it_came_from(
    pointsman: Run, desk: Path, secrets: Secrets, tmp_path: Path
) -> None:
    text = everything(secrets)
    notes = tmp_path / "notes.md"
    notes.write_text(f"# Notes\n\n{text}\n")
    rows = tmp_path / "rows.csv"
    rows.write_text('text\n"' + text.replace('"', '""') + '"\n')
    asked = tmp_path / "asked.jsonl"
    message = {"role": "user", "content": text}
    asked.write_text(json.dumps({"id": "1", "kind": "transform", "messages": [message]}) + "\n")
    tags = [word for part, _ in secrets.values() for word in ("--tag", part)]
    leaks: list[tuple[str, list[str]]] = []

    def ran(*words: str, code: int | None = None) -> Any:
        ended = pointsman(*words)
        assert code is None or ended.exit_code == code, (words, ended.stderr)
        name = " ".join(word[:30] for word in words[:4])
        leaks.extend((name, found) for said in (ended.stdout, ended.stderr) if (found := told(secrets, said)))
        return ended

    ran("run", "vault.py:flow", text, *tags, "--user", secrets["url"][0], code=0)
    ran("run", "vault.py:flow", f"again {text}", "--json", code=0)
    ran("run", "vault.py:flow", f"once more {text}", "--stream", code=0)
    ran("run", "vault.py:flow", f"and once more {text}", "--stream", "--json", code=0)
    ran("run", "vault.py:reader", "look up notes", "--json", code=0)
    ran("run", "vault.py:reader", "open safe", "--json", code=0)
    for debug in ([], ["--debug"]):
        assert "broken by: " in ran(*debug, "run", "vault.py:reader", "break down", code=1).stderr
    ran("run", "--batch", str(rows), "vault.py:flow")
    ran("run", "vault.py:flow", f"kept {text}", "--set", "routing.cache.mode=exact", code=0)
    waiting = json.loads(ran("run", "vault.py:clerk", "delete account bob", "--json", code=4).stdout)
    assert waiting["pending"][0]["arguments"]["note"].startswith("[redacted]\n[redacted]\n")
    ran("resume", waiting["run"], code=4)
    ran("queue")
    ran("queue", "--json")
    assert kept(secrets, desk, home()) == []
    ran("resume", waiting["run"], "--approve", "all", "--json", code=0)
    batch = ran("batch", "submit", str(asked), code=0).stdout.strip()
    ran("batch", "show", batch, "--json")
    assert kept(secrets, desk, home()) == []
    ran("batch", "collect", batch, "--wait", "--json")
    ran("memory", "add", str(notes), code=0)
    for words in (["search", "notes"], ["list", "--namespace", "knowledge"]):
        ran("memory", *words, code=0)
        ran("memory", *words, "--json", code=0)
    ran("runs", "--json", code=0)
    ran("runs", code=0)
    ran("report", "--json", code=0)
    ran("--debug", "run", "nothing.py:flow", text, code=2)
    ran("--debug", "run", f"no-such-file-{secrets['github'][0]}.py:flow", "x", code=2)
    ran("run", "vault.py:flow", "x", f"--{secrets['github'][0]}", code=2)

    assert leaks == []
    assert kept(secrets, desk, home()) == []
    # The tool itself was given what the model had said.
    assert json.loads((tmp_path / "deleted.txt").read_text()) == ["bob", text]
    shared = [path for path in (desk / ".pointsman").rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert shared == []
    assert stat.S_IMODE(next(home().rglob("state.key")).stat().st_mode) == 0o600


@pytest.mark.slow
def test_the_model_sees_what_it_was_given(pointsman: Run, desk: Path, secrets: Secrets, simulator: Simulator) -> None:
    text, seen = everything(secrets), list[str]()

    def answer(request: Any) -> Answer:
        seen.append("\n".join(message.text for message in request.messages))
        return think(request)

    simulator.scenario = Scenario(rules=(Rule(answer=answer),))
    assert pointsman("run", "vault.py:reader", f"look up notes and {text}").exit_code == 0
    assert [(told(secrets, one), one.count(text)) for one in seen] == [(list(secrets), 1), (list(secrets), 2)]


KILLED = """
import os, signal, sys
from typing import Any, TypedDict
from langgraph.graph import END, START, StateGraph
from pointsman import Workflow

class State(TypedDict, total=False):
    task: str
    seen: str
    output: str

def first(state):
    with open("first.txt", "a") as file:
        file.write("once" + chr(10))
    return {"seen": open(os.environ["FAKE_SECRETS"]).read()}

def second(state):
    if not os.path.exists("killed.txt"):
        open("killed.txt", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    with open(os.environ["DELETED"], "w") as file:
        file.write(state["task"] + state["seen"])
    return {"output": "done"}

def graph(_):
    made = StateGraph(State)
    made.add_node("first", first)
    made.add_node("second", second)
    made.add_edge(START, "first")
    made.add_edge("first", "second")
    made.add_edge("second", END)
    return made

flow = Workflow("killed", graph=graph)
"""


@pytest.mark.slow
def test_a_killed_run_is_taken_up_exactly_and_only_with_its_key(
    pointsman: Run, programs: Any, project: Path, secrets: Secrets, tmp_path: Path
) -> None:
    (project / "killed.py").write_text(KILLED)
    text = everything(secrets)
    command = "from pointsman.cli.main import main; main()"
    died = programs.run(["-c", command, "run", "killed.py:flow", text])
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert kept(secrets, project, home()) == []
    (run,) = re.findall(r"\d{8}-\d{6}-[0-9a-f]{8}", pointsman("runs", "--json").stdout)

    key = next(home().rglob("state.key"))
    key.rename(tmp_path / "moved.key")
    refused = pointsman("resume", run)
    assert refused.exit_code == 2
    assert "or your key is another now), so nothing in it is obeyed" in refused.stderr
    assert refused.stderr.count("\n") == 1

    (tmp_path / "moved.key").rename(key)
    resumed = pointsman("resume", run)
    assert resumed.exit_code == 0, resumed.stderr
    assert (tmp_path / "deleted.txt").read_text() == text + text
    assert (project / "first.txt").read_text() == "once\n"


ASIDE = """
import logging, os, threading, warnings
SECRETS = open(os.environ["FAKE_SECRETS"]).read()
logging.getLogger("somebody").warning("logged %s", SECRETS)
try:
    raise ValueError("traced " + SECRETS)
except ValueError:
    logging.getLogger("somebody").exception("failed")
warnings.warn("warned " + SECRETS)

def fails():
    raise RuntimeError("threaded " + SECRETS)

thread = threading.Thread(target=fails)
thread.start()
thread.join()
raise RuntimeError("raised " + SECRETS) from ValueError("caused by " + SECRETS)
"""


@pytest.mark.slow
@pytest.mark.parametrize("debug", [[], ["--debug"]], ids=["plain", "debug"])
def test_what_logs_warnings_and_threads_say_past_the_commands_holds_no_secret(
    programs: Any, project: Path, secrets: Secrets, debug: list[str]
) -> None:
    (project / "vault.py").write_text(ASIDE)
    command = "from pointsman.cli.main import main; main()"
    ended = programs.run(["-c", command, *debug, "run", "vault.py:flow", "x"])

    assert ended.returncode != 0
    assert told(secrets, ended.stdout + ended.stderr) == []
    for word in ("logged", "traced", "warned", "threaded", "raised", *(["caused by"] if debug else [])):
        assert f"{word} [redacted]" in ended.stderr, word
