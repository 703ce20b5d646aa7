"""What a person at the command line sees of an act that waits, and how they answer: at a terminal, later, or piped."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman import runs
from pointsman.agents.result import Pending
from pointsman.cli.io.approval import Person, ask, described
from pointsman.simulator import Answer, Rule, Scenario, Simulator

Run = Callable[..., Any]
VENDORS = ("anthropic", "openai", "google")
COMMAND = ["-c", "from pointsman.cli.main import main; main()"]


@pytest.fixture(autouse=True)
def vendors(simulator: Simulator, desk: Path, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Three vendors on loopback, with keys; beside the clerk of the desk one that publishes, which is critical, too."""
    for vendor in VENDORS:
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    monkeypatch.setenv("POINTSMAN_RISK__CALL__EXTERNAL", "critical")
    with (desk / "desk.py").open("a") as file:
        file.write(
            '@tool(effect="external")\ndef publish(text: str) -> str:\n    """Publish a text."""\n'
            '    with open("deleted.txt", "a") as file:\n        file.write(text + "\\n")\n    return "published"\n'
            'editor = Agent("editor", instructions="Publish what you are told to.", tools=[publish], kind="act")\n'
        )
    return simulator


def _done(desk: Path) -> list[str]:
    file = desk / "deleted.txt"
    return file.read_text().splitlines() if file.exists() else []


def _deletes(vendors: Simulator, user: str) -> None:
    """Have the models delete this user, and then tell what they were told."""

    def answer(request: Any) -> Answer:
        if request.tool_results:
            return Answer(text="so it is")
        return Answer(tool_calls=[{"name": "delete_account", "arguments": {"user": user}}])

    vendors.scenario = Scenario(rules=[Rule(answer=answer)])


LEFT = "nothing was answered, so everything waits on"


class _Terminal:
    """A command at a terminal, as a person has it."""

    def __init__(self, programs: Any, *words: str) -> None:
        self._mine, theirs = pty.openpty()
        self.seen = ""
        self._program = programs.start([*COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    def until(self, words: str) -> None:
        """Read until it has said these words, after what was read before."""
        start = len(self.seen)
        while words not in self.seen[start:]:
            self.seen += os.read(self._mine, 65536).decode()

    def type(self, keys: str) -> None:
        os.write(self._mine, keys.encode())

    def signal(self, number: int) -> None:
        os.kill(self._program.pid, number)

    def end(self, leave: Callable[[], None] | None = None) -> int:
        """Wait for its end; leave again while it says nothing of it: what comes before it reads may be lost."""
        try:
            while True:
                if leave and LEFT not in self.seen and not select.select([self._mine], [], [], 0.2)[0]:
                    leave()
                    continue
                if not (got := os.read(self._mine, 65536).decode()):
                    break
                self.seen += got
        except OSError:  # nobody writes any more
            pass
        finally:
            os.close(self._mine)
        return int(self._program.wait())


@pytest.mark.slow
def test_without_a_terminal_it_waits_and_the_command_that_is_printed_answers_it(
    pointsman: Run, programs: Any, desk: Path
) -> None:
    # What is piped in is the input of a run, and no approval.
    (desk / "a b").mkdir()
    options = ["--workspace", "a b", "--set", "routing.strategy=quality"]
    ended = programs.run([*COMMAND, "run", "desk.py:clerk", "delete account bob", *options], input="y\ny\n")
    assert (ended.returncode, _done(desk)) == (4, [])
    (said,) = [line for line in ended.stderr.splitlines() if line.startswith("answer with: ")]
    words = shlex.split(said.removeprefix("answer with: ").partition("    ")[0])
    assert words[:2] == ["pointsman", "resume"]
    assert words[3:] == ["--workspace", f"{desk}/a b", "--set", "routing.strategy=quality", "--approve", "all"]
    assert pointsman(*words[1:]).exit_code == 0
    assert _done(desk) == ["delete account bob"]


@pytest.mark.slow
def test_at_a_terminal_a_person_asks_for_more_and_says_yes(programs: Any, desk: Path, vendors: Simulator) -> None:
    _deletes(vendors, "bob\u202e\u3164" + "x" * 2000 + "END")
    terminal = _Terminal(programs, "run", "desk.py:clerk", "delete account bob")
    terminal.until("[no]: ")
    assert "\\u202e\\u3164" in terminal.seen
    assert "characters left out, --full shows them" in terminal.seen.replace("\r\n", " ").replace("  ", " ")
    assert "END" in terminal.seen
    assert "agent clerk" in terminal.seen
    assert "always" not in terminal.seen.rpartition("approve? ")[2]
    assert "RIGHT-TO-LEFT OVERRIDE" in terminal.seen
    terminal.type("m\n")
    terminal.until("[no]: ")
    terminal.type("y\n")
    assert terminal.end() == 0
    assert len(_done(desk)) == 1


@pytest.mark.slow
def test_at_a_terminal_no_tells_the_agent_why_and_nothing_is_done(programs: Any, desk: Path) -> None:
    terminal = _Terminal(programs, "run", "desk.py:clerk", "delete account bob")
    terminal.until("[no]: ")
    terminal.type("n\nnot bob\n")
    assert terminal.end() == 1
    assert "a person refused this call: not bob" in terminal.seen.replace("\r\n", " ")
    assert _done(desk) == []


@pytest.mark.slow
@pytest.mark.parametrize("leave", ["Ctrl-C", "Ctrl-D"])
def test_leaving_the_question_does_nothing_and_all_waits_on(
    pointsman: Run, programs: Any, desk: Path, leave: str
) -> None:
    terminal = _Terminal(programs, "run", "desk.py:clerk", "delete account bob")
    terminal.until("[no]: ")
    left = {"Ctrl-C": lambda: terminal.signal(signal.SIGINT), "Ctrl-D": lambda: terminal.type("\x04")}
    assert terminal.end(left[leave]) == 4
    assert LEFT in terminal.seen
    (act,) = runs.pending()
    assert f"pointsman resume {act.run} --approve all" in terminal.seen.replace("\r\n", "\n")
    assert pointsman("resume", act.run, "--approve", act.id).exit_code == 0
    assert len(_done(desk)) == 1


@pytest.mark.slow
def test_answers_can_be_piped_as_json_and_a_graphs_own_question_too(pointsman: Run, desk: Path) -> None:
    stopped = json.loads(pointsman("run", "desk.py:clerk", "delete account bob", "--json").stdout)
    (act,) = stopped["pending"]
    for given, why in (
        ("{", "--answers must be JSON"),
        ('{"nobody": "approve"}', "nothing waits under the id 'nobody'"),
    ):
        ended = pointsman("resume", stopped["run"], "--answers", "-", stdin=given)
        assert (ended.exit_code, why in ended.stderr, _done(desk)) == (2, True, [])
    both = pointsman("resume", stopped["run"], "--answers", "-", "--approve", "all", stdin="{}")
    assert (both.exit_code, "give the answers either by" in both.stderr) == (2, True)
    edit = {"type": "edit", "args": {"user": "eve"}, "digest": act["digest"]}
    assert pointsman("resume", stopped["run"], "--answers", "-", stdin=json.dumps({act["id"]: edit})).exit_code == 0
    assert _done(desk) == ["eve"]

    (desk / "ask.py").write_text(
        "from typing import TypedDict\nfrom langgraph.graph import START, StateGraph\n"
        "from langgraph.types import interrupt\nfrom pointsman import Workflow\n"
        "class State(TypedDict, total=False):\n    task: str\n    output: str\n"
        "def build(runtime):\n    graph = StateGraph(State)\n"
        "    graph.add_node('ask', lambda state: {'output': interrupt('how old?')})\n"
        "    graph.add_edge(START, 'ask')\n    return graph\nflow = Workflow('asking', graph=build)\n"
    )
    asking = json.loads(pointsman("run", "ask.py:flow", "go", "--json").stdout)
    (desk / "answer.json").write_text('"very old"')
    assert pointsman("resume", asking["run"], "--answers", "answer.json").stdout == "very old\n"


@pytest.mark.slow
def test_the_queue_shows_an_act_whole_and_its_json_is_exact(pointsman: Run, desk: Path, vendors: Simulator) -> None:
    text = "bob\u202e" + "x" * 3000 + "END"
    _deletes(vendors, text)
    stopped = json.loads(pointsman("run", "desk.py:clerk", "delete account bob", "--json").stdout)
    (act,) = stopped["pending"]
    assert act["arguments"] == {"user": text}
    assert (act["run"], act["effect"], act["origin"]["agent"]) == (stopped["run"], "destructive", "clerk")
    (item,) = json.loads(pointsman("queue", "--json").stdout)
    assert item["act"] == act
    full = pointsman("queue", "--full").stdout
    assert json.dumps({"user": text})[1:-1] in full.replace("\n", "")
    assert "agent clerk" in full
    assert "\u202e" not in full + pointsman("queue").stdout


@pytest.mark.slow
def test_a_call_is_approved_for_always_listed_and_asked_about_again(pointsman: Run, desk: Path) -> None:
    assert pointsman("approvals").stdout == "no call is always allowed: pointsman resume RUN --always ID\n"
    destroys = json.loads(pointsman("run", "desk.py:clerk", "delete account bob", "--json").stdout)
    refused = pointsman("resume", destroys["run"], "--always", "all")
    assert (refused.exit_code, _done(desk)) == (2, [])
    assert "this may be approved once, and not always" in refused.stderr

    stopped = json.loads(pointsman("run", "desk.py:editor", "publish hello", "--json").stdout)
    assert pointsman("resume", stopped["run"], "--always", stopped["pending"][0]["id"]).exit_code == 0
    assert pointsman("run", "desk.py:editor", "publish hello").exit_code == 0
    assert _done(desk) == ["publish hello"] * 2
    (call,) = json.loads(pointsman("approvals", "--json").stdout)
    assert (call["tool"], json.loads(call["arguments"])) == ("publish", {"text": "publish hello"})
    assert call["id"][:12] in pointsman("approvals").stdout

    assert pointsman("approvals", "revoke", "nothing").exit_code == 2
    assert pointsman("approvals", "revoke", call["id"][:12]).exit_code == 0
    assert pointsman("run", "desk.py:editor", "publish hello").exit_code == 4
    assert len(_done(desk)) == 2


@pytest.mark.slow
def test_a_program_answers_what_a_run_of_the_command_line_waits_for(pointsman: Run, desk: Path) -> None:
    pointsman("run", "desk.py:clerk", "delete account bob")
    (act,) = runs.pending()
    assert runs.answer(act.run, {act.id: {"type": "approve", "digest": act.digest}}).status == "done"
    assert (_done(desk), runs.pending()) == (["delete account bob"], ())


def test_what_is_long_keeps_its_beginning_and_end_and_says_how_much_is_between() -> None:
    arguments = {"text": "a" * 5000 + "z", "items": [*range(500)], "short": "x\u00a0y", "key": "sk-" + "Ab3dEf6h" * 6}
    lines = [f"+{number}" for number in range(1000)]
    act = Pending("1", "write", arguments, "critical", "why\u2028", "d", preview="\n".join(lines))
    cut = "\n".join(described(act))
    assert "[… 3,801 characters left out, --full shows them …]" in cut
    assert "a" * 600 + " […" in cut
    assert cut.count("a" * 599 + "z") == 1
    assert "[… 440 items left out, --full shows them …]" in cut
    assert "[… 940 lines left out, --full shows them …]" in cut
    assert "+999" in cut
    assert "\\u2028" in cut
    assert '"x\\u00a0y"' in cut
    assert "Ab3dEf6hAb3dEf6h" not in cut
    full = "\n".join(described(act, full=True))
    assert "left out" not in full
    assert "a" * 5000 + "z" in full
    assert all(line in full for line in lines)


class _Typing(Person):
    """Somebody who types these lines; what stood in the line when they were asked."""

    def __init__(self, *lines: str) -> None:
        self.lines, self.said, self.stood = list(lines), list[str](), list[str]()

    def say(self, text: str) -> None:
        self.said.append(text)

    def asked(self, question: str, default: str = "", *, shown: bool = True) -> str:
        return self.lines.pop(0) or default

    def corrected(self, question: str, text: str) -> str:
        self.stood.append(text)
        return super().corrected(question, text)


ASKED = Pending("1", "write", {"path": "a.txt"}, "critical", "why", "d", allowed=("approve", "reject", "edit"))


def test_edited_arguments_with_a_slip_are_kept_to_be_corrected() -> None:
    slip, names, right = '{"path": "b.txt"', '{"file": "b.txt"}', '{"path": "b.txt"}'
    person = _Typing("edit", slip, names, right)
    answers = ask([ASKED], person)
    assert answers is not None
    assert answers["1"]["edited_action"]["args"] == {"path": "b.txt"}
    assert person.stood == ['{"path": "a.txt"}', slip, names]
    assert [line for line in person.said if line.startswith("  that is")] == [
        "  that is not JSON: Expecting ',' delimiter (character 17); an empty line asks again"
    ]


def test_a_slip_that_is_left_as_it_is_is_asked_about_again_and_still_kept() -> None:
    slip = '{"path": '
    person = _Typing("edit", slip, "", "edit", '{"path": "c.txt"}')
    answers = ask([ASKED], person)
    assert answers is not None
    assert answers["1"]["edited_action"]["args"] == {"path": "c.txt"}
    assert person.stood == ['{"path": "a.txt"}', slip, slip]
    person = _Typing("edit", slip, "", "no", "")
    assert ask([ASKED], person) == {"1": {"digest": "d", "type": "reject", "message": ""}}
