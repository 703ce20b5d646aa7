"""Runs that wait, are killed, or are taken up again: `resume`, `queue` and `runs show` as a person meets them."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import app
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator
from pointsman.simulator.request import ToolCall

Run = Callable[..., Any]
VENDORS = ("anthropic", "openai", "google")
COMMAND = ["-c", "from pointsman.cli.main import main; main()"]


@pytest.fixture(autouse=True)
def vendors(simulator: Simulator, desk: Path, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Three vendors on loopback, with keys, and a flow whose second step deletes an account."""
    for vendor in VENDORS:
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    with (desk / "desk.py").open("a") as file:
        file.write("two = Workflow('two', [Agent('first', kind='transform'), clerk], plan='in_order')\n")
    return simulator


def _stopped(pointsman: Run, target: str = "desk.py:clerk") -> Any:
    ended = pointsman("run", target, "delete account bob", "--json")
    assert ended.exit_code == 4, ended.stderr
    return json.loads(ended.stdout)


def _deleted(desk: Path) -> list[str]:
    file = desk / "deleted.txt"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.slow
def test_three_resumes_at_once_delete_once(pointsman: Run, programs: Any, desk: Path) -> None:
    run = _stopped(pointsman)["run"]
    command = [*COMMAND, "resume", run, "--approve", "all"]
    started = [programs.start(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    ended = [(*process.communicate(timeout=240), process.returncode) for process in started]
    assert len(_deleted(desk)) == 1
    assert 0 in [code for _, _, code in ended]
    for _, said, code in ended:
        # Whoever came too late found it owned, answered, or ended.
        assert code in (0, 1, 2), said
        if code:
            assert "is being worked on by process" in said or "waits for no answer" in said or "nothing waits" in said


@pytest.mark.slow
def test_the_queue_shows_what_a_run_waits_for_until_it_is_answered(pointsman: Run) -> None:
    stopped = _stopped(pointsman)
    shown = pointsman("queue").stdout
    assert stopped["run"] in shown
    assert "approval" in shown
    assert 'delete_account {"user": "delete account bob"}' in shown
    (item,) = json.loads(pointsman("queue", "--json").stdout)
    assert (item["run"], item["state"], item["risk"]) == (stopped["run"], "approval", "critical")
    refused = pointsman("queue", "done", item["id"])
    assert refused.exit_code == 2
    assert f"it waits for an answer: pointsman resume {stopped['run']} --approve ID" in refused.stderr
    assert pointsman("resume", stopped["run"], "--approve", stopped["pending"][0]["id"][:8]).exit_code == 0
    assert pointsman("queue").stdout == "nothing waits for a person\n"


@pytest.mark.slow
def test_a_killed_run_shows_as_interrupted_and_goes_on(
    pointsman: Run, programs: Any, desk: Path, vendors: Simulator
) -> None:
    look = Answer(tool_calls=(ToolCall("look", {"text": "here"}),))
    vendors.scenario = Scenario(
        rules=(
            Rule(match=Match(contains_any_message="it is seen"), answer=Answer(text="so it is")),
            Rule(answer=look),
        )
    )
    (desk / "killed.py").write_text(
        "import os, signal\nfrom pointsman import Agent, Workflow, tool\nfrom pathlib import Path\n"
        '@tool(effect="read")\ndef look(text: str) -> str:\n    """Look."""\n'
        "    if not Path('once').exists():\n        Path('once').touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n    return 'it is seen'\n"
        "flow = Workflow('killed', [Agent('looker', tools=[look])])\n"
    )
    done = programs.run([*COMMAND, "run", "killed.py:flow", "look"])
    assert done.returncode < 0
    (row,) = json.loads(pointsman("runs", "--json").stdout)
    assert row["status"] == "interrupted"
    (item,) = json.loads(pointsman("queue", "--json").stdout)
    assert (item["run"], item["state"]) == (row["run"], "interrupted")
    assert f"pointsman resume {row['run']}" in pointsman("queue", "--full").stdout
    assert f"run        {row['run']}: interrupted" in pointsman("runs", "show", row["run"]).stdout
    assert pointsman("resume", row["run"]).exit_code == 0
    assert pointsman("queue").stdout == "nothing waits for a person\n"
    assert json.loads(pointsman("runs", "--json").stdout)[0]["status"] == "done"


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_graph_began_is_in_the_queue_and_begins(
    pointsman: Run, programs: Any, desk: Path
) -> None:
    (desk / "killed.py").write_text(
        "import os, signal\nfrom langgraph.graph import END, START, MessagesState, StateGraph\n"
        "from pathlib import Path\nfrom pointsman import Workflow\n"
        "def build(home):\n"
        "    if not Path('once').exists():\n        Path('once').touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    graph = StateGraph(MessagesState)\n"
        "    graph.add_node('echo', lambda state: {'messages': [('ai', state['messages'][-1].text.upper())]})\n"
        "    graph.add_edge(START, 'echo')\n    graph.add_edge('echo', END)\n    return graph\n"
        "flow = Workflow('killed', graph=build)\n"
    )
    done = programs.run([*COMMAND, "run", "killed.py:flow", "look"])
    assert done.returncode < 0
    (item,) = json.loads(pointsman("queue", "--json").stdout)
    assert item["state"] == "interrupted"
    resumed = pointsman("resume", item["run"])
    assert (resumed.exit_code, resumed.stdout) == (0, "LOOK\n"), resumed.stderr
    assert pointsman("queue").stdout == "nothing waits for a person\n"
    assert json.loads(pointsman("runs", "--json").stdout)[0]["status"] == "done"


@pytest.mark.slow
def test_a_call_that_was_under_way_when_its_run_was_killed_is_told_and_counted(
    pointsman: Run, programs: Any, desk: Path, vendors: Simulator
) -> None:
    vendors.scenario = Scenario(rules=(Rule(fault=Fault("hang")),))
    state = desk / ".pointsman" / "ledger.db"
    with programs.start([*COMMAND, "run", "desk.py:helper", "good morning", "--max-cost", "1"]) as started:
        deadline = time.monotonic() + 240
        while not _reserved(state) and time.monotonic() < deadline:
            time.sleep(0.01)
        started.kill()
    (row,) = json.loads(pointsman("runs", "--json").stdout)
    (call,) = json.loads(pointsman("runs", "show", row["run"], "--json").stdout)["calls"]
    assert call["failure"] == "lost"
    report = json.loads(pointsman("report", "--json").stdout)
    assert (report["totals"]["calls"], [one["kind"] for one in report["failures"]]) == (1, ["lost"])
    assert not _reserved(state)


def _reserved(state: Path) -> bool:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as file:
        return bool(file.execute("SELECT 1 FROM reservations").fetchone())
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_run_ended_by_a_signal_is_interrupted_and_goes_on_with_each_step_once(
    pointsman: Run, programs: Any, desk: Path, vendors: Simulator, name: str, code: int
) -> None:
    _interrupted(programs, desk, vendors, name, code)
    (row,) = json.loads(pointsman("runs", "--json").stdout)
    assert row["status"] == "interrupted"
    assert "interrupted" in pointsman("runs").stdout
    (item,) = json.loads(pointsman("queue", "--json").stdout)
    assert (item["run"], item["state"]) == (row["run"], "interrupted")
    assert f"go on with: pointsman resume {row['run']}" in pointsman("runs", "show", row["run"]).stdout
    assert pointsman("resume", row["run"]).exit_code == 0
    story = json.loads(pointsman("runs", "show", row["run"], "--json").stdout)
    assert (story["status"], [step["agent"] for step in story["steps"]]) == ("done", ["first", "looker"])
    assert Path("begun").read_text() == "xx"
    assert pointsman("queue").stdout == "nothing waits for a person\n"


def _interrupted(programs: Any, desk: Path, vendors: Simulator, name: str, code: int) -> None:
    """Have a run of two steps end by a signal in the second of them."""
    look = Answer(tool_calls=(ToolCall("look", {"text": "here"}),))
    vendors.scenario = Scenario(
        rules=(
            Rule(match=Match(contains_any_message="it is seen"), answer=Answer(text="so it is")),
            Rule(match=Match(contains_any_message="LOOK"), answer=look),
            Rule(answer=Answer(text="the first is done")),
        )
    )
    (desk / "stopped.py").write_text(
        "import asyncio, os, signal\nfrom pointsman import Agent, Workflow, tool\nfrom pathlib import Path\n"
        '@tool(effect="read")\nasync def look(text: str) -> str:\n    """Look."""\n'
        "    with open('begun', 'a') as file:\n        file.write('x')\n"
        "    if Path('begun').read_text() == 'x':\n"
        f"        os.kill(os.getpid(), signal.{name})\n        await asyncio.sleep(240)\n    return 'it is seen'\n"
        "first = Agent('first', kind='transform')\n"
        "looker = Agent('looker', instructions='LOOK', tools=[look])\n"
        "flow = Workflow('stopped', [first, looker], plan='in_order')\n"
    )
    done = programs.run([*COMMAND, "run", "stopped.py:flow", "go"])
    assert done.returncode == code, done.stderr


@pytest.mark.slow
def test_the_summary_of_resume_tells_this_part_from_the_whole(pointsman: Run) -> None:
    stopped = _stopped(pointsman, "desk.py:two")
    done = pointsman("resume", stopped["run"], "--approve", "all")
    assert done.exit_code == 0
    assert "this part: 1 steps, 1 calls, " in done.stderr
    assert f"run {stopped['run']}: done, 2 steps, 3 calls, " in done.stderr
    assert done.stderr.rstrip().endswith(" in all")

    again = json.loads(pointsman("resume", stopped["run"], "--json").stdout)
    assert (again["part"], len(again["calls"])) == ({"steps": 0, "calls": 0, "tokens": 0, "cost": 0, "unpriced": 0}, 3)
    assert "in all" not in pointsman("run", "desk.py:helper", "hello").stderr


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False], ids=["with its id", "without"])
def test_resume_can_edit_what_waits(pointsman: Run, desk: Path, named: bool) -> None:
    stopped = _stopped(pointsman)
    given = '{"user": "eve = the other"}'
    words = f"{stopped['pending'][0]['id']}={given}" if named else given
    assert pointsman("resume", stopped["run"], "--edit", words).exit_code == 0
    assert _deleted(desk) == ["eve = the other"]


_OWN = """
from typing import Any, TypedDict
from langgraph.graph import START, StateGraph
from pointsman import Workflow, tool

class State(TypedDict, total=False):
    task: str
    output: Any

@tool(effect="write")
def charge(order: str) -> dict[str, int]:
    \"\"\"Charge an order.\"\"\"
    with open("charged.txt", "a") as file:
        file.write(order)
    raise OSError("cut off")

def build(_):
    graph = StateGraph(State)
    graph.add_node("pay", lambda state: {"output": charge.invoke({"order": "A"})["id"]})
    graph.add_edge(START, "pay")
    return graph

pay = Workflow("pay", graph=build)
"""


@pytest.mark.slow
def test_a_refusal_names_the_command_that_goes_on(pointsman: Run, project: Path) -> None:
    (project / "own.py").write_text(_OWN)
    assert pointsman("run", "own.py:pay", "go").exit_code == 1
    run = json.loads(pointsman("runs", "--json").stdout)[0]["run"]
    assert f"did you mean {run}? pointsman runs lists them" in pointsman("resume", f"{run}x").stderr
    assert f"it is failed: go on with: pointsman resume {run}" in pointsman("resume", run, "--approve", "all").stderr
    (project / "own.py").rename(project / "moved.py")
    gone = pointsman("resume", run)
    assert (gone.exit_code, f"pointsman resume {run} --target FILE.py:NAME" in gone.stderr) == (2, True)
    assert pointsman("resume", run, "--target", "moved.py:pay").exit_code == 4
    (project / "own.py").write_text(_OWN + "# changed")
    changed = pointsman("resume", run)
    assert f"name it with pointsman resume {run} --target {project / 'own.py'}:pay" in changed.stderr


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False], ids=["with its id", "without"])
def test_resume_says_of_an_act_that_it_was_done_and_with_what_result(
    pointsman: Run, project: Path, named: bool
) -> None:
    (project / "own.py").write_text(_OWN)
    assert pointsman("run", "own.py:pay", "go").exit_code == 1
    run = json.loads(pointsman("runs", "--json").stdout)[0]["run"]
    asked = pointsman("resume", run)
    assert asked.exit_code == 4
    assert "may have been done already" in asked.stderr
    assert "--respond ID=RESULT" in asked.stderr
    act = json.loads(pointsman("resume", run, "--json").stdout)["pending"][0]["id"]
    given = '{"id": 17}'
    done = pointsman("resume", run, "--respond", f"{act[:8]}={given}" if named else given)
    assert (done.exit_code, done.stdout.strip()) == (0, "17")
    assert (project / "charged.txt").read_text() == "A"


@pytest.mark.slow
def test_an_answer_that_cannot_be_meant_does_nothing(pointsman: Run, desk: Path) -> None:
    stopped = _stopped(pointsman)
    act = stopped["pending"][0]["id"]
    for words, why in [
        (["--edit", "{user: eve}"], "--edit must give the arguments as JSON"),
        (["--edit", "eve"], "must have the form ID={…}"),
        (["--edit", "ID=[1]"], "--edit must give the arguments as a JSON object"),
        (["--edit", "nobody={}"], "nothing waits under the id 'nobody'; these do: "),
        (["--edit", 'all={"user": "eve"}'], "--edit gives arguments for one act"),
        (["--edit", '{"name": "eve"}'], "delete_account has no argument 'name', it has user"),
        (["--edit", '{"user": "eve"}', "--approve", "ID"], "has two different answers: give one"),
        (["--approve", "ID", "--reject", "ID"], "has two different answers: give one"),
        (["--approve", "all", "--reject", "all"], "all that waits has two different answers: give one"),
        (["--approve", ""], "nothing waits under the id ''"),
        (["--respond", "done"], "delete_account is yet to be called: answer with --approve, --reject or --edit"),
        (["--respond", "c0ffee=done"], "nothing waits under the id 'c0ffee'; these do: "),
    ]:
        ended = pointsman("resume", stopped["run"], *(word.replace("ID", act) for word in words))
        assert (ended.exit_code, _deleted(desk)) == (2, []), words
        assert why in ended.stderr
    # All are answers to one run, which waits as it did before them.
    assert pointsman("resume", stopped["run"]).exit_code == 4


@pytest.mark.slow
def test_an_edit_the_tool_does_not_take_is_asked_again(pointsman: Run, desk: Path) -> None:
    stopped = _stopped(pointsman)
    ended = pointsman("resume", stopped["run"], "--edit", '{"user": 7}')
    assert (ended.exit_code, _deleted(desk)) == (4, [])
    assert "delete_account does not take these arguments (user: Input should be a valid string)" in ended.stderr
    assert pointsman("resume", stopped["run"], "--approve", "all").exit_code == 0
    assert _deleted(desk) == ["delete account bob"]


@pytest.mark.slow
@pytest.mark.parametrize("answer", [(), ("--approve", "all")], ids=["alone", "with an answer"])
def test_a_run_is_not_taken_up_by_a_workflow_of_another_name(
    pointsman: Run, desk: Path, answer: tuple[str, ...]
) -> None:
    with (desk / "desk.py").open("a") as file:
        file.write("other = Workflow('other', two.agents, plan='in_order')\n")
    run = _stopped(pointsman, "desk.py:two")["run"]
    refused = pointsman("resume", run, "--target", "desk.py:other", *answer)
    assert refused.exit_code == 2
    assert f"run {run} belongs to workflow 'two', and this one is 'other'" in refused.stderr
    assert not _deleted(desk)
    assert pointsman("resume", run, "--target", "desk.py:two", "--approve", "all").exit_code == 0
    assert len(_deleted(desk)) == 1


@pytest.mark.slow
def test_answering_a_run_that_waits_for_nothing_is_a_mistake(pointsman: Run, desk: Path) -> None:
    run = _stopped(pointsman)["run"]
    assert pointsman("resume", run, "--approve", "all").exit_code == 0
    for words in (["--approve", "all"], ["--approve", "zzz"], ["--reject", "all"], ["--edit", '{"user": "eve"}']):
        again = pointsman("resume", run, *words)
        assert (again.exit_code, again.stderr) == (
            2,
            f"error: run {run} waits for no answer; it is done: what was answered and done is told by: "
            f"pointsman runs show {run}\n",
        )
    assert len(_deleted(desk)) == 1


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("out", [_Terminal, io.StringIO], ids=["terminal", "pipe"])
def test_a_story_has_colours_on_a_terminal_and_nowhere_else(
    pointsman: Run, desk: Path, monkeypatch: pytest.MonkeyPatch, out: type[io.StringIO]
) -> None:
    run = _stopped(pointsman)["run"]
    monkeypatch.setattr(sys, "stdout", out())
    monkeypatch.setattr(sys, "stderr", _Terminal())
    with pytest.raises(SystemExit) as ended:
        app(["runs", "show", run])
    said = sys.stdout.getvalue()  # type: ignore[attr-defined]
    assert (ended.value.code, "high" in said, "\x1b[31mhigh" in said) == (0, True, out is _Terminal)
    assert "u001b" not in said


@pytest.mark.slow
def test_the_story_of_a_run_has_its_steps_decisions_calls_acts_approvals_and_cost(pointsman: Run, desk: Path) -> None:
    stopped = _stopped(pointsman, "desk.py:two")
    act = stopped["pending"][0]["id"]
    waiting = pointsman("runs", "show", stopped["run"]).stdout
    assert f"run        {stopped['run']}: pending" in waiting
    assert f"  {act[:8]}  delete_account" in waiting
    assert f"go on with: pointsman resume {stopped['run']}" in waiting

    pointsman("resume", stopped["run"], "--edit", '{"user": "eve"}')
    made = json.loads(pointsman("runs", "show", stopped["run"], "--json").stdout)
    assert (made["status"], [step["status"] for step in made["steps"]]) == ("done", ["done", "done"])
    assert (len(made["decisions"]), len(made["calls"])) == (3, 3)
    assert [(row["tool"], row["outcome"]) for row in made["acts"]] == [("delete_account", "done")]
    assert [(row["done"], row["reason"]) for row in made["approvals"]] == [(True, 'edited: {"user": "eve"}')]
    assert made["total_cost"] == pytest.approx(sum(call["cost"] for call in made["calls"])) != 0

    told = pointsman("runs", "show", stopped["run"]).stdout
    for row in made["decisions"]:
        assert f"decision {row['id']}  " in told
        assert pointsman("route", "explain", row["id"]).exit_code == 0
    assert "step s1 (first): done" in told
    assert "act      delete_account (destructive): done" in told
    assert 'edited: {"user": "eve"}' in told
    assert "2 steps, 3 calls, " in told


@pytest.mark.slow
def test_the_story_of_a_run_that_does_not_exist_is_a_mistake(pointsman: Run) -> None:
    run = _stopped(pointsman)["run"]
    ended = pointsman("runs", "show", run[:-1] + "g")
    assert (ended.exit_code, f"did you mean {run}?" in ended.stderr) == (2, True)
    assert pointsman("runs", "show").exit_code == 2


def test_a_graph_that_asks_something_of_its_own_waits_and_is_answered_in_python(pointsman: Run, desk: Path) -> None:
    (desk / "ask.py").write_text(
        "from typing import TypedDict\nfrom langgraph.graph import START, StateGraph\n"
        "from langgraph.types import interrupt\nfrom pointsman import Workflow\n"
        "class State(TypedDict, total=False):\n    task: str\n    output: str\n"
        "def build(runtime):\n    graph = StateGraph(State)\n"
        "    graph.add_node('ask', lambda state: {'output': interrupt('how old?')})\n"
        "    graph.add_edge(START, 'ask')\n    return graph\n"
        "flow = Workflow('asking', graph=build)\n"
    )
    ended = pointsman("run", "ask.py:flow", "go")
    assert ended.exit_code == 4
    assert "waiting for an answer" in ended.stderr
    assert "answer in Python, workflow.resume(" in ended.stderr
    (item,) = json.loads(pointsman("queue", "--json").stdout)
    refused = pointsman("resume", item["run"], "--approve", "all")
    assert (refused.exit_code, "is a question of the graph's own" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_an_agent_alone_in_a_workflow_of_code_ends_with_code_4(pointsman: Run, desk: Path) -> None:
    (desk / "alone.py").write_text(
        "import desk\nfrom pointsman import Workflow\n"
        "from typing import TypedDict\nfrom langgraph.graph import START, StateGraph\n"
        "class State(TypedDict, total=False):\n    task: str\n    output: str\n"
        "def build(runtime):\n    graph = StateGraph(State)\n"
        "    async def work(state):\n        record = await desk.clerk.on(runtime).step(state['task'])\n"
        "        return {'output': record.output}\n"
        "    graph.add_node('work', work)\n    graph.add_edge(START, 'work')\n    return graph\n"
        "flow = Workflow('code', graph=build)\n"
    )
    stopped = _stopped(pointsman, "alone.py:flow")
    assert pointsman("resume", stopped["run"], "--approve", "all").exit_code == 0
    assert len(_deleted(desk)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True], ids=["json", "json lines"])
def test_a_rejection_and_a_doubt_are_never_code_0(pointsman: Run, desk: Path, vendors: Simulator, stream: bool) -> None:
    words = ["--json", "--stream"] if stream else ["--json"]
    assert pointsman("run", "desk.py:two", "delete account bob", "--approval", "deny", *words).exit_code == 1
    (desk / "some.csv").write_text("text\ndelete account bob\n")
    denied = pointsman("run", "desk.py:clerk", "--batch", "some.csv", "--approval", "deny", *words)
    assert (denied.exit_code, json.loads(denied.stdout)["rejected"]) == (1, 1)
    waiting = pointsman("run", "desk.py:clerk", "--batch", "some.csv", *words)
    assert (waiting.exit_code, json.loads(waiting.stdout)["pending"]) == (4, 1)

    doubt = ToolCall("Verdict", {"ok": False, "reason": "it is made up"})
    checks = Match(contains_any_message="You check another")
    vendors.scenario = Scenario(rules=(Rule(match=checks, answer=Answer(tool_calls=(doubt,))),))
    (desk / "judge.py").write_text(
        "from pointsman import Agent\njudge = Agent('judge', tier='economy', kind='decide', instructions='Judge.')\n"
    )
    assert pointsman("run", "judge.py:judge", "add it up", *words).exit_code == 4
    assert pointsman("run", "judge.py:judge", "--batch", "some.csv", *words).exit_code == 4


def test_an_error_about_a_decision_says_how_to_have_it_explained(
    pointsman: Run, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for vendor in VENDORS:
        monkeypatch.delenv(f"{vendor.upper()}_API_KEY")
    ended = pointsman("run", "desk.py:clerk", "delete account bob")
    assert ended.exit_code == 2
    asked = ended.stderr.rstrip().removesuffix(" tells more)").rpartition("pointsman route explain ")[2]
    assert "no model may run this step" in pointsman("route", "explain", asked).stdout


def test_nothing_of_a_lock_is_left_behind(pointsman: Run, desk: Path) -> None:
    _stopped(pointsman)
    assert os.listdir(desk / ".pointsman" / "owners") == []
