"""`pointsman run`, `resume` and `runs` against the real SDKs and the simulator."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pointsman.cli.main import COMMANDS, app
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator, Usage
from pointsman.simulator.request import ToolCall

Run = Callable[..., Any]
VENDORS = ("anthropic", "openai", "google")


@pytest.fixture
def vendors(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Three vendors on loopback, with keys."""
    for vendor in VENDORS:
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    return simulator


@pytest.fixture
def plants(pointsman: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project that `init` writes, to stand in."""
    assert pointsman("init", "plants").exit_code == 0
    monkeypatch.chdir("plants")
    return Path.cwd()


def test_a_run_prints_its_output_and_shows_every_call_on_stderr(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    ended = pointsman("run", "desk.py:helper", "good morning")

    assert ended.exit_code == 0, ended.stderr
    assert ended.stdout == "You said: good morning\n"
    (call,) = vendors.log
    assert f"helper       openai/{call.model}" in ended.stderr
    assert f"{call.input_tokens}+{call.output_tokens} tok" in ended.stderr


@pytest.mark.slow
def test_the_json_of_a_run_agrees_with_the_providers_log(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    made = json.loads(pointsman("run", "desk.py:flow", "good morning", "--json", "--user", "ann", "--tag", "a").stdout)

    assert (made["status"], len(made["steps"]), made["pending"]) == ("done", 2, [])
    assert made["unpriced"] == 0
    assert made["cost"] == pytest.approx(sum(call["cost"] for call in made["calls"])) != 0
    assert [(c["model"].partition("/")[2], c["usage"]["input"], c["usage"]["output"]) for c in made["calls"]] == [
        (served.model, served.input_tokens, served.output_tokens) for served in vendors.log
    ]
    assert {"id", "risk", "tier", "model", "candidates", "rejected", "rules"} <= set(made["decisions"][0])
    (listed,) = json.loads(pointsman("runs", "--json").stdout)
    assert (listed["run"], listed["user"], listed["tags"][0]) == (made["run"], "ann", "a")


@pytest.mark.parametrize("given", ["piped", "dash", "file"])
def test_the_input_may_come_from_a_pipe_or_a_file(pointsman: Run, desk: Path, vendors: Simulator, given: str) -> None:
    (desk / "in.txt").write_text("from a file, ü\n")
    words = {"piped": ["desk.py:helper"], "dash": ["desk.py:made", "-"], "file": ["desk.py:helper", "@in.txt"]}[given]
    ended = pointsman("run", *words, stdin="from a file, ü\n")

    assert ended.exit_code == 0, ended.stderr
    assert ended.stdout == "You said: from a file, ü\n"


@pytest.mark.slow
def test_tokens_are_printed_as_they_come_and_not_again(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    assert pointsman("run", "desk.py:helper", "good morning", "--stream").stdout == "You said: good morning\n"

    lines = pointsman("run", "desk.py:helper", "good morning", "--stream", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert "".join(e["text"] for e in events if e["event"] == "token") == "You said: good morning"
    assert events[-1]["event"] == "result"
    assert events[-1]["output"] == "You said: good morning"


@pytest.mark.slow
def test_a_critical_act_waits_for_approval_and_happens_once(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    asked = pointsman("run", "desk.py:clerk", "delete account bob")
    assert asked.exit_code == 4
    assert asked.stdout == ""
    assert "delete_account is destructive with these arguments" in asked.stderr
    (row,) = json.loads(pointsman("runs", "--json").stdout)
    assert f"pointsman resume {row['run']} --approve all" in asked.stderr
    assert not (desk / "deleted.txt").exists()
    spent = len(vendors.log)

    shown = pointsman("resume", row["run"])
    assert shown.exit_code == 4
    assert "delete_account" in shown.stderr
    assert len(vendors.log) == spent
    assert not (desk / "deleted.txt").exists()

    done = pointsman("resume", row["run"], "--approve", "all")
    assert done.exit_code == 0, done.stderr
    assert "is deleted" in done.stdout
    assert (desk / "deleted.txt").read_text().count("\n") == 1

    assert pointsman("resume", row["run"]).exit_code == 0
    assert (desk / "deleted.txt").read_text().count("\n") == 1
    (after,) = json.loads(pointsman("runs", "--json").stdout)
    assert (after["status"], after["tags"]) == ("done", row["tags"])


@pytest.mark.slow
def test_a_rejection_reaches_the_agent_with_its_reason(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    pending = json.loads(pointsman("run", "desk.py:clerk", "delete account bob", "--json").stdout)
    (act,) = pending["pending"]
    assert (pending["status"], act["tool"], act["risk"]) == ("pending", "delete_account", "critical")
    unknown = pointsman("resume", pending["run"], "--reject", "nobody")
    assert (unknown.exit_code, act["id"] in unknown.stderr) == (2, True)

    done = pointsman("resume", pending["run"], "--reject", act["id"], "--reason", "bob pays well")
    assert done.exit_code == 1
    assert "bob pays well" in done.stdout
    assert "rejected, 1 steps" in done.stderr
    assert not (desk / "deleted.txt").exists()


@pytest.mark.slow
def test_with_approval_denied_nothing_critical_happens(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    ended = pointsman("run", "desk.py:clerk", "delete account bob", "--approval", "deny")

    assert ended.exit_code == 1
    assert "rejected, 1 steps" in ended.stderr
    assert not (desk / "deleted.txt").exists()


@pytest.mark.slow
def test_a_provider_that_is_overloaded_is_fallen_back_from_and_the_report_says_so(
    pointsman: Run, desk: Path, vendors: Simulator
) -> None:
    vendors.scenario = Scenario(rules=(Rule(match=Match(vendor="openai"), fault=Fault("overloaded")),))
    ended = pointsman("run", "desk.py:helper", "good morning")

    assert ended.exit_code == 0, ended.stderr
    assert "overloaded" in ended.stderr
    report = json.loads(pointsman("report", "--json").stdout)
    assert [(f["model"].partition("/")[0], f["kind"]) for f in report["failures"]] == [("openai", "overloaded")]
    assert report["escalated"] == 1
    told = pointsman("report").stdout
    assert "overloaded" in told
    assert "against anthropic/claude-opus-4-7" in told


def test_when_every_provider_fails_it_is_one_line_and_code_1(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    vendors.scenario = Scenario(rules=(Rule(fault=Fault("auth")),))
    ended = pointsman("run", "desk.py:helper", "good morning")

    assert ended.exit_code == 1
    assert ended.stdout == ""
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "no model answered helper" in errors[0]
    assert "sk-simulated" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_run_that_fails_gives_what_was_done_as_json(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    vendors.scenario = Scenario(rules=(Rule(match=Match(contains="step:s1"), fault=Fault("auth")),))
    ended = pointsman("run", "desk.py:flow", "good morning", "--json")
    said = json.loads(ended.stdout)
    assert (ended.exit_code, said["status"], [step["id"] for step in said["steps"]]) == (1, "failed", ["s1"])
    assert "no model answered" in said["error"]
    assert f"error: {said['error']}" in ended.stderr


@pytest.mark.slow
def test_a_run_that_takes_too_long_ends_with_code_1_and_can_be_taken_up(
    pointsman: Run, desk: Path, vendors: Simulator, leap: Any
) -> None:
    vendors.scenario = Scenario(rules=(Rule(match=Match(contains="step:s1"), fault=Fault("hang")),))
    with leap.when(lambda: any(served.fault == "hang" for served in vendors.log), 101):
        ended = pointsman("run", "desk.py:flow", "good morning", "--timeout", "100")
    assert ended.exit_code == 1
    assert "error: the run took longer than it may (timeout: 100 s)" in ended.stderr
    row = json.loads(pointsman("runs", "--json").stdout)[0]
    assert f"pointsman resume {row['run']}" in ended.stderr
    assert [served.fault for served in vendors.log] == [None, "hang"]

    vendors.scenario = Scenario()
    done = pointsman("resume", row["run"])
    assert done.exit_code == 0, done.stderr
    assert "You said: good morning" in done.stdout
    assert [served.fault for served in vendors.log] == [None, "hang", None]


def test_without_any_key_a_chat_is_a_usage_error_that_names_the_keys(pointsman: Run, desk: Path) -> None:
    ended = pointsman("run", "desk.py:helper", "good morning")

    assert ended.exit_code == 2
    assert "set DEEPSEEK_API_KEY or OPENAI_API_KEY or ANTHROPIC_API_KEY, or simulate" in ended.stderr
    assert "with --offline" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_offline_needs_no_key_and_every_line_says_that_it_is_simulated(pointsman: Run, desk: Path) -> None:
    ended = pointsman("run", "desk.py:flow", "good morning", "--offline")

    assert ended.exit_code == 0
    calls = [line for line in ended.stderr.splitlines() if " tok " in line]
    assert len(calls) == 2
    assert all("(simulated)" in line for line in calls)
    assert "note: offline: hosted providers are simulated on this machine" in ended.stderr
    record = json.loads(pointsman("run", "desk.py:flow", "good morning", "--offline", "--json").stdout)
    assert [step["simulated"] for step in record["steps"]] == [True, True]
    assert [call["simulated"] for call in record["calls"]] == [True, True]
    assert pointsman("runs", "--json").stdout.strip() == "[]"


def test_what_was_simulated_is_found_by_what_the_command_said_of_it(pointsman: Run, desk: Path) -> None:
    ended = pointsman("run", "desk.py:helper", "good morning", "--offline", "--json", "--timeout", "0.001")
    said = next(one for one in ended.stderr.splitlines() if "go on with: pointsman " in one)
    words = shlex.split(said.partition("go on with: pointsman ")[2])
    resumed = pointsman(*words, "--timeout", "100")
    assert resumed.exit_code == 0, resumed.stderr
    run = words[1]
    refused = pointsman("runs", "show", run)
    assert refused.exit_code == 2
    assert refused.stderr.strip().endswith("and with --offline those that were simulated")
    assert run in pointsman("runs", "--offline").stdout
    for told in (["runs", "show", run], ["runs", "undo", run], ["report", "--run", run], ["queue"]):
        found = pointsman(*told, "--offline")
        assert found.exit_code == 0, found.stderr
    assert json.loads(pointsman("runs", "--json").stdout) == []


def test_every_command_that_reads_the_configuration_can_be_told_to_be_offline() -> None:
    def lacking(command: Any, name: str) -> Iterator[str]:
        for inner, one in getattr(command, "commands", {}).items():
            yield from lacking(one, f"{name} {inner}")
        options = [parameter.name for parameter in command.params]
        if "config" in options and options.count("offline") != 1:
            yield name

    group: Any = typer.main.get_command(app)
    assert [one for name in COMMANDS for one in lacking(group.get_command(None, name), name)] == ["trust"]


def test_a_tool_that_raises_is_one_line_with_its_run(pointsman: Run, desk: Path) -> None:
    with (desk / "desk.py").open("a") as file:
        file.write(
            "\n@tool(effect='read')\ndef opening_hours(day: str) -> str:\n    'Tell the opening hours.'\n"
            "    raise ValueError('no such day')\n"
            "porter = Agent('porter', tools=[opening_hours])\n"
        )
    ended = pointsman("run", "desk.py:porter", "What are the opening_hours?", "--offline")

    assert ended.exit_code == 1
    assert "error: ValueError: no such day (in run 20" in ended.stderr
    assert "internal error" not in ended.stderr


def test_a_tool_that_raises_what_cannot_say_itself_is_one_line_too(pointsman: Run, desk: Path) -> None:
    with (desk / "desk.py").open("a") as file:
        file.write(
            "\nclass Odd(Exception):\n    def __str__(self):\n        raise RuntimeError('no words')\n"
            "@tool(effect='read')\ndef opening_hours(day: str) -> str:\n    'Tell the opening hours.'\n    raise Odd\n"
            "porter = Agent('porter', tools=[opening_hours])\n"
        )
    ended = pointsman("run", "desk.py:porter", "What are the opening_hours?", "--offline")

    assert ended.exit_code == 1
    assert "error: Odd: no further details (in run 20" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_offline_holds_for_models_that_the_users_own_code_asks(
    pointsman: Run, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "own.py").write_text(
        "from langgraph.graph import END, START, StateGraph\nfrom typing import TypedDict\n"
        "from pointsman import RoutedChatModel, Workflow\n"
        "class State(TypedDict, total=False):\n    task: str\n    output: str\n"
        "def ask(state):\n    return {'output': str(RoutedChatModel().invoke(state['task']).text)}\n"
        "def graph(runtime):\n    made = StateGraph(State)\n    made.add_node('ask', ask)\n"
        "    made.add_edge(START, 'ask')\n    made.add_edge('ask', END)\n    return made\n"
        "flow = Workflow('own', graph=graph)\n"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    ended = pointsman("run", "own.py:flow", "good morning", "--offline")

    assert ended.exit_code == 0, ended.stderr
    assert "good morning" in ended.stdout
    assert "POINTSMAN_OFFLINE" not in os.environ


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nothing.py:flow", "error: nothing.py: there is no such file"),
        ("dsk.py:flow", "did you mean 'desk.py'?"),
        ("desk.py:flwo", "error: desk.py: there is no 'flwo' in it; did you mean 'flow'?"),
        ("desk.py:number", "error: desk.py: 'number' is a int, not a Workflow or an Agent"),
        ("no.such.module:flow", "error: there is no module 'no.such.module'"),
        ("broken.py:flow", "error: broken.py:2: is not valid Python"),
        ("failing.py:flow", "error: failing.py:3: cannot be loaded: ZeroDivisionError: "),
        ("missing.py:flow", "error: missing.py:1: cannot be loaded: ModuleNotFoundError: No module named 'nothing_"),
        ("leaving.py:flow", "error: leaving.py:1: cannot be loaded: SystemExit: 3"),
        ("image.py:flow", "error: image.py"),
        ("desk.txt:flow", "error: there is no module 'desk.txt'"),
    ],
)
def test_a_target_that_cannot_be_run_is_told_in_one_line(pointsman: Run, desk: Path, spec: str, said: str) -> None:
    (desk / "broken.py").write_text("flow = 1\nflow = = 2\n")
    (desk / "failing.py").write_text("\n\nflow = 1 // 0\n")
    (desk / "missing.py").write_text("import nothing_here\n")
    (desk / "leaving.py").write_text("raise SystemExit(3)\n")
    (desk / "image.py").write_bytes(b"\x89PNG\x00\x01")
    ended = pointsman("run", spec, "good morning")

    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "desk.py:flow", "  "], "is empty"),
        (["run", "desk.py:flow", "@nothing.txt"], "nothing.txt: cannot be read"),
        (["run", "desk.py:flow", "@big.txt"], "larger than 1,000,000 bytes"),
        (["run", "desk.py:flow", "@image.png"], "is not UTF-8 text"),
        (["run", "desk.py:flow", "x", "--batch", "messages.csv"], "not both"),
        (["run", "desk.py:flow", "--batch", "nothing.csv"], "nothing.csv: cannot be read"),
        (["run", "desk.py:flow", "x", "--set", "routing.strategy"], "must have the form key=value"),
        (["run", "desk.py:flow", "x", "--set", "routing.stratgy=cost"], "stratgy"),
        (["run", "desk.py:flow", "x", "--set", "routing.strategy=best"], "routing.strategy"),
        (["run", "desk.py:flow", "x", "--config", "nowhere"], "nowhere"),
        (["run", "desk.py:flow", "x", "--workspace", "nowhere"], "nowhere: --workspace must name a folder that exists"),
        (["run", "desk.py:flow"], "standard input is empty"),
        (["resume", "nothing"], "there is no run 'nothing'"),
        (["report", "--run", "nothing"], "there is no run 'nothing'"),
        (["report", "--since", "yesterday"], "--since takes a span"),
        (["queue", "done", "nothing"], "nothing in the queue has the id 'nothing'"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do_and_code_2(
    pointsman: Run, desk: Path, words: list[str], said: str
) -> None:
    (desk / "big.txt").write_bytes(b"x" * 10_000_000)
    (desk / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff\x00")
    ended = pointsman(*words)

    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert said in ended.stderr
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["run"], ["run", "good morning"]])
def test_without_a_project_the_way_to_one_is_told(pointsman: Run, project: Path, words: list[str]) -> None:
    ended = pointsman(*words)

    assert ended.exit_code == 2
    assert ended.stderr.startswith("error: there is no desk.py here: make a project with 'pointsman init my-desk'")


def test_debug_shows_the_traceback(pointsman: Run, desk: Path) -> None:
    ended = pointsman("--debug", "run", "nothing.py:flow", "good morning")

    assert ended.exit_code == 2
    assert ended.stderr.startswith("Traceback (most recent call last):\n")
    assert ended.stderr.splitlines()[-1].startswith("error: ")


def test_a_mistake_in_a_configuration_file_is_told_with_its_line(pointsman: Run, desk: Path) -> None:
    (desk / "models.yaml").write_text("models:\n  openai/gpt-5.5:\n    teir: economy\n")
    ended = pointsman("run", "desk.py:flow", "good morning")

    assert ended.exit_code == 2
    assert "models.yaml:3" in ended.stderr
    assert "did you mean 'tier'" in ended.stderr


@pytest.mark.slow
def test_what_init_writes_runs_its_samples_without_a_key(pointsman: Run, plants: Path) -> None:
    ended = pointsman("run")

    assert ended.exit_code == 0, ended.stderr
    assert "13 messages in" in ended.stdout
    assert "accuracy against the labels" in ended.stdout
    assert "No key was found, so only models on this machine ran (ondevice)" in ended.stdout
    assert "waiting for a person" in ended.stdout
    assert "needs the frontier tier" in ended.stderr
    for number in range(1, 14):
        assert f"{number:>2}/13  " in ended.stderr

    queue = json.loads(pointsman("queue", "--json").stdout)
    assert {item["risk"] for item in queue} == {"high", "low"}
    finished = pointsman("queue", "done", queue[0]["id"][:8])
    assert "is done" in finished.stdout
    assert len(json.loads(pointsman("queue", "--json").stdout)) == len(queue) - 1
    assert queue[0]["id"][:8] in pointsman("queue", "--all").stdout


@pytest.mark.slow
def test_the_summary_of_a_batch_adds_up(pointsman: Run, plants: Path) -> None:
    (plants / "two.csv").write_text("text,label\nHow long does delivery take?,delivery\nhow much is shipping,return\n")
    made = json.loads(pointsman("run", "--batch", "two.csv", "--jobs", "1", "--json").stdout)

    assert (made["messages"], made["labelled"], made["correct"], made["accuracy"]) == (2, 2, 1, 0.5)
    assert made["answered"] + made["handed_over"] == 2
    assert [row["line"] for row in made["rows"]] == [2, 3]
    assert sum(entry["share"] for entry in made["routing"]) == pytest.approx(1)
    assert {entry["tier"] for entry in made["routing"]} == {"ondevice"}
    assert (made["cost"], made["unpriced"]) == (0.0, 0)
    assert made["flagship_cost"] > 0


def test_a_batch_goes_on_after_a_message_that_fails_and_ends_with_code_1(
    pointsman: Run, desk: Path, vendors: Simulator
) -> None:
    vendors.scenario = Scenario(rules=(Rule(match=Match(contains="poison"), fault=Fault("bad_request")),))
    (desk / "some.csv").write_text("text\nfine one\npoison\nfine two\n")
    ended = pointsman("run", "desk.py:helper", "--batch", "some.csv", "--json")

    assert ended.exit_code == 1
    made = json.loads(ended.stdout)
    assert (made["answered"], made["failed"]) == (2, 1)
    assert [row["status"] for row in made["rows"]] == ["done", "failed", "done"]
    assert made["rows"][1]["error"]
    assert made["providers"] == ["openai"]
    assert made["said"] == "Providers used: openai."


def test_a_broken_csv_runs_nothing(pointsman: Run, desk: Path) -> None:
    (desk / "some.csv").write_text("text,label\nfine,a\nnot, fine,b\n")
    ended = pointsman("run", "--batch", "some.csv")

    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr == "error: some.csv:3: has 3 fields where the header names 2: put text with commas in quotes\n"
    assert not (desk / ".pointsman").exists()


@pytest.mark.parametrize("cap", [("--max-cost", "0.000001"), ("--max-tokens", "100")])
def test_a_batch_stops_when_its_cap_is_used_up_and_ends_with_code_3(
    pointsman: Run, desk: Path, vendors: Simulator, cap: tuple[str, str]
) -> None:
    (desk / "some.csv").write_text("text\none\ntwo\nthree\n")
    ended = pointsman("run", "desk.py:helper", "--batch", "some.csv", *cap, "--json")

    assert ended.exit_code == 3
    assert json.loads(ended.stdout)["messages"] == len(vendors.log) < 3
    assert "messages were not worked on" in ended.stderr
    assert "error: the budget of run:" in ended.stderr


@pytest.mark.slow
def test_a_person_at_the_terminal_sees_the_exact_arguments_and_can_change_them(
    desk: Path, programs: Any, vendors: Simulator
) -> None:
    mine, theirs = pty.openpty()
    command = ["-c", "from pointsman.cli.main import main; main()"]
    try:
        os.write(mine, b'perhaps\nedit\n{"nobody": 1}\nedit\n{"user": "eve"}\n')
        done = programs.run(
            [*command, "run", "desk.py:clerk", "delete account \x1b[31mbob"], stdin=theirs, stderr=theirs
        )
        shown = os.read(mine, 100_000).decode()
    finally:
        os.close(mine)
        os.close(theirs)

    assert done.returncode == 0, shown
    assert '"user": "delete account \\u001b[31mbob"' in shown
    assert "delete_account is destructive with these arguments" in shown
    assert "give an object with no other names than user" in shown
    assert (desk / "deleted.txt").read_text() == "eve\n"


@pytest.mark.slow
def test_one_run_uses_three_vendors_and_the_ledger_agrees_with_their_log(
    pointsman: Run, project: Path, own: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for vendor in VENDORS:
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    urls = "\n".join(f"  {vendor}: {{base_url: '{simulator.url(vendor)}'}}" for vendor in VENDORS)
    (own / "models.yaml").write_text(f"providers:\n{urls}\n")
    (project / "trio.py").write_text(
        "from pointsman import Agent, Workflow\n"
        "models = ['google/gemini-3.5-flash', 'openai/gpt-5.4-mini', 'anthropic/claude-haiku-4-5']\n"
        "agents = [Agent(m.partition('/')[0], model=m, kind='transform') for m in models]\n"
        "flow = Workflow('trio', agents, plan='in_order')\n"
    )
    made = json.loads(pointsman("run", "trio.py:flow", "good morning", "--json").stdout)

    assert [step["model"] for step in made["steps"]] == [
        "google/gemini-3.5-flash", "openai/gpt-5.4-mini", "anthropic/claude-haiku-4-5",
    ]  # fmt: skip
    called = [(c["model"], c["usage"]["input"], c["usage"]["output"], c["cost"]) for c in made["calls"]]
    assert called == [
        (f"{served.vendor}/{served.model}", served.input_tokens, served.output_tokens, pytest.approx(served.cost_usd))
        for served in simulator.log
    ]
    report = json.loads(pointsman("report", "--run", made["run"], "--json").stdout)
    assert {share["name"]: share["totals"]["cost"] for share in report["models"]} == {
        model: pytest.approx(cost) for model, _, _, cost in called
    }


@pytest.mark.parametrize("cap", ["inf", "nan", "-1", "-inf", "1e999"])
def test_a_cap_that_bounds_nothing_is_refused_before_anything_runs(
    pointsman: Run, desk: Path, vendors: Simulator, cap: str
) -> None:
    ended = pointsman("run", "desk.py:helper", "hello", f"--max-cost={cap}")

    assert (ended.exit_code, ended.stdout, len(vendors.log)) == (2, "", 0)
    assert "is not valid: give USD" in ended.stderr or "greater than or equal to 0" in ended.stderr


CLASSES = "routing:\n  classes:\n    guest: {max_cost: 0.00001}\n    gold: {max_cost: 2}\n"


@pytest.fixture
def classes(desk: Path) -> Path:
    """A project whose routing knows classes of users."""
    (desk / "configs").mkdir()
    (desk / "configs" / "routing.yaml").write_text(CLASSES)
    return desk


def _listed(pointsman: Run) -> list[Any]:
    made: list[Any] = json.loads(pointsman("runs", "--json").stdout)
    return made


@pytest.mark.slow
def test_every_flag_of_run_reaches_the_run_and_resume_keeps_it(
    pointsman: Run, classes: Path, vendors: Simulator
) -> None:
    words = ["--max-cost", "1.5", "--max-steps", "40", "--timeout", "90", "--user", "ann", "--user-class", "gold"]
    words += ["--max-tokens", "90000"]
    asked = pointsman("run", "desk.py:clerk", "delete account bob", *words, "--tag", "a", "--tag", "b")
    assert asked.exit_code == 4
    from pointsman.ledger import Ledger

    def row() -> Any:
        with Ledger(classes / ".pointsman" / "ledger.db") as ledger:
            return ledger.runs()[0]

    before = row()
    kept = (before.max_cost, before.max_steps, before.timeout, before.user, before.user_class, before.tags)
    assert kept[:5] == (1_500_000_000_000, 40, 90.0, "ann", "gold")
    assert before.max_tokens == 90_000
    assert kept[5][:2] == ("a", "b")
    done = pointsman("resume", before.id, "--approve", "all")
    assert done.exit_code == 0, done.stderr
    after = row()
    assert (after.max_cost, after.max_steps, after.timeout, after.user, after.user_class, after.tags) == kept
    assert after.max_tokens == 90_000

    pointsman(
        "resume", before.id, "--max-cost", "3", "--max-steps", "9", "--timeout", "8", "--user", "eve", "--tag", "c"
    )
    new = row()
    assert (new.max_cost, new.max_steps, new.timeout, new.user) == (3 * 10**12, 9, 8.0, "eve")
    assert (new.user_class, new.tags) == ("gold", (*kept[5], "c"))


@pytest.mark.slow
@pytest.mark.parametrize("batch", [False, True], ids=["run", "batch"])
def test_the_bounds_of_a_class_of_users_hold(pointsman: Run, classes: Path, vendors: Simulator, batch: bool) -> None:
    (classes / "some.csv").write_text("text\ngood morning\n")
    what = ["--batch", "some.csv"] if batch else ["good morning"]
    ended = pointsman("run", "desk.py:helper", *what, "--user-class", "guest", "--user", "ann", "--tag", "a")
    assert ended.exit_code == 3
    assert "$0.00001" in ended.stderr
    (row,) = _listed(pointsman)
    assert (row["user"], row["tags"][0]) == ("ann", "a")
    wrong = pointsman("run", "desk.py:helper", *what, "--user-class", "guets")
    assert (wrong.exit_code, "did you mean 'guest'" in wrong.stderr) == (2, True)


@pytest.mark.slow
def test_what_a_verifier_doubts_ends_with_code_4_alone_and_in_a_batch(
    pointsman: Run, desk: Path, vendors: Simulator
) -> None:
    (desk / "judge.py").write_text(
        "from pointsman import Agent\njudge = Agent('judge', tier='economy', kind='decide', instructions='Judge.')\n"
    )
    doubt = {"name": "Verdict", "arguments": {"ok": False, "reason": "it is made up"}}
    vendors.scenario = Scenario(
        rules=(
            Rule(match=Match(contains_any_message="You check another"), answer=Answer(tool_calls=(ToolCall(**doubt),))),
        )
    )
    ended = pointsman("run", "judge.py:judge", "add it up")
    assert ended.exit_code == 4
    assert "step s1 (judge) was handed over" in ended.stdout
    assert "handed over to a person: pointsman queue" in ended.stderr
    (desk / "some.csv").write_text("text\nadd it up\n")
    batch = pointsman("run", "judge.py:judge", "--batch", "some.csv", "--json")
    assert batch.exit_code == 4
    assert json.loads(batch.stdout)["handed_over"] == 1
    assert json.loads(batch.stdout)["rows"][0]["steps"][0]["doubt"] == "it is made up"
    assert len(json.loads(pointsman("queue", "--json").stdout)) == 2


@pytest.mark.slow
def test_what_failed_counts_against_the_cap_of_a_batch(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    # The second step of each row fails after the first, which is dear, has been paid.
    dear = Answer(text="so it is", usage=Usage(input=20_000, output=4_000))
    vendors.scenario = Scenario(
        rules=(Rule(match=Match(contains="step:s1"), fault=Fault("bad_request")), Rule(answer=dear))
    )
    (desk / "some.csv").write_text("text\n" + "good morning\n" * 40)
    ended = pointsman("run", "desk.py:flow", "--batch", "some.csv", "--max-cost", "0.3", "--json")
    assert ended.exit_code == 3
    worked = len(json.loads(ended.stdout)["rows"])
    assert 0 < worked < 40
    from pointsman.ledger import Ledger

    with Ledger(desk / ".pointsman" / "ledger.db") as ledger:
        assert 0 < sum(row.cost or 0 for row in ledger.calls()) <= 0.3 * 10**12


@pytest.mark.slow
def test_the_cap_of_a_batch_holds_for_its_rows_when_they_are_taken_up(
    pointsman: Run, desk: Path, vendors: Simulator
) -> None:
    dear = Usage(input=1000, output=1000)
    told = Answer(tool_calls=(ToolCall("delete_account", {"user": "bob"}),), usage=dear)
    vendors.scenario = Scenario(
        rules=(
            Rule(match=Match(contains_any_message="is deleted"), answer=Answer(text="done", usage=dear)),
            Rule(answer=told),
        )
    )
    (desk / "some.csv").write_text("text\n" + "delete account bob\n" * 6)
    asked = json.loads(pointsman("run", "desk.py:clerk", "--batch", "some.csv", "--max-cost", "0.3", "--json").stdout)
    waiting = [row["run"] for row in asked["rows"] if row["pending"]]
    assert len(waiting) == 6
    codes = [pointsman("resume", run, "--approve", "all").exit_code for run in waiting]
    assert set(codes) == {0, 3}
    from pointsman.ledger import Ledger

    with Ledger(desk / ".pointsman" / "ledger.db") as ledger:
        (around,) = [row for row in ledger.runs() if not row.parent]
        assert 0 < sum(call.cost or 0 for call in ledger.calls()) <= around.max_cost
        assert len(ledger.calls()) == len(ledger.calls(around.id, inner=True)) == len(vendors.log)
        assert (around.max_cost, around.status, around.target) == (3 * 10**11, "pending", "clerk")
        assert {row.parent for row in ledger.runs()} == {"", around.id}


PROGRAM = "import signal; {}from pointsman.cli.main import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "hung up"), (signal.SIGINT, 130, "interrupted")],
)
@pytest.mark.parametrize(
    "words",
    [
        ["desk.py:helper", "good morning", "--max-cost", "1"],
        ["desk.py:flow", "good morning", "--stream"],
        ["desk.py:flow", "--batch", "some.csv", "--max-cost", "2"],
        ["desk.py:helper", "--batch", "some.csv", "--jobs", "3"],
    ],
    ids=["agent", "stream", "batch under a cap", "batch"],
)
def test_a_signal_ends_a_run_cleanly_with_its_calls_booked(
    desk: Path, programs: Any, vendors: Simulator, words: list[str], number: signal.Signals, code: int, said: str
) -> None:
    _ended_by(desk, programs, vendors, words, number, code, said, at_once=3 if "--jobs" in words else 1)


@pytest.mark.slow
def test_a_signal_ends_a_run_cleanly_where_ctrl_c_is_ignored(desk: Path, programs: Any, vendors: Simulator) -> None:
    before = "signal.signal(signal.SIGINT, signal.SIG_IGN); "
    _ended_by(desk, programs, vendors, ["desk.py:helper", "hello"], signal.SIGTERM, 143, "terminated", before)


def _ended_by(
    desk: Path,
    programs: Any,
    vendors: Simulator,
    words: list[str],
    number: signal.Signals,
    code: int,
    said: str,
    before: str = "",
    at_once: int = 1,
) -> None:
    """See how a run ends that gets a signal while its requests are at the provider."""
    vendors.scenario = Scenario(rules=(Rule(fault=Fault("hang")),))
    (desk / "some.csv").write_text("text\n" + "good morning\n" * 3)
    command = ["-c", PROGRAM.format(before), "run", *words]
    with programs.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ran:
        try:
            until = time.monotonic() + 240
            while len(vendors.log) < at_once and ran.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
            ran.send_signal(number)
            _, errors = ran.communicate(timeout=240)
        finally:
            ran.kill()
    assert ran.returncode == code, errors
    assert [line for line in errors.splitlines() if "error" in line] == [f"error: {said}"]
    from pointsman.ledger import Ledger
    from pointsman.ledger.budgets.budgets import Budgets

    with Ledger(desk / ".pointsman" / "ledger.db") as ledger:
        calls, runs = ledger.calls(), ledger.runs()
    assert [call.failure for call in calls] == ["cancelled"] * at_once
    assert {(run.status, run.ended is not None) for run in runs} == {("interrupted", True)}
    budgets = Budgets(desk / ".pointsman" / "ledger.db")
    try:
        day = f"day:{time.strftime('%Y-%m-%d', time.gmtime(calls[0].at))}"
        assert budgets.totals(day)[1] == 0
    finally:
        budgets.close()
