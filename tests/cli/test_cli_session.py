"""A session at a terminal: asked, streamed, approved with its diff, rejected, edited, stopped, taken up, left."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman import runs
from pointsman.cli.session.base import Ask, Command
from pointsman.cli.session.plain import JsonLines, Plain
from pointsman.cli.session.session import _changed
from pointsman.cli.session.spent import Spent
from pointsman.simulator import Answer, Latency, Match, Rule, Scenario, Simulator, Usage
from pointsman.tools import probe

COMMAND = ["-c", "from pointsman.cli.main import main; main()"]
SCREENS = Path(__file__).with_name("screens")
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not probe().working, reason=str(probe()))]

Call = tuple[str, dict[str, Any]]
Turn = str | Call | list[Call]
WRITE = ("write_file", {"path": "a.txt", "content": "two\n"})
BOUND = 200.0
"""Seconds after which something hangs, on however busy a machine."""
USAGE = Usage(input=2_000, output=50)
COLOURS = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|9[0-7]|38;[0-9;]*)m")


@pytest.fixture(autouse=True)
def vendors(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Three vendors on loopback, with keys; writing waits for a person."""
    for vendor in ("anthropic", "openai", "google"):
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    monkeypatch.setenv("POINTSMAN_RISK__CALL__WRITE", "critical")
    monkeypatch.setenv("TERM", "xterm-256color")
    return simulator


@pytest.fixture
def model(vendors: Simulator) -> Callable[..., list[Any]]:
    """Have the coding agent say these turns, one after the other; gives what it was asked."""

    def play(*turns: Turn, before: tuple[Rule, ...] = ()) -> list[Any]:
        left, asked = list(turns), list[Any]()

        def answer(request: Any) -> Answer:
            if not any(tool.name == "apply_patch" for tool in request.tools):
                verdict = {"ok": True, "reason": "fine"}
                if request.schema is not None:
                    return Answer(json=verdict, usage=USAGE)
                return Answer(tool_calls=[{"name": request.tools[0].name, "arguments": verdict}], usage=USAGE)
            asked.append(request)
            turn = left.pop(0) if left else "nothing more"
            if isinstance(turn, str):
                return Answer(text=turn, usage=USAGE)
            calls = turn if isinstance(turn, list) else [turn]
            made = [{"name": name, "arguments": arguments} for name, arguments in calls]
            return Answer(tool_calls=made, usage=USAGE)

        vendors.scenario = Scenario(rules=[*before, Rule(answer=answer)])
        return asked

    return play


@pytest.fixture
def session(programs: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Begin a session with the coding agent at a terminal of so many columns."""
    monkeypatch.syspath_prepend(str(PICTURES))
    from screen import Screen

    (project / "a.txt").write_text("one\n")
    begun = []

    def begin(*words: str, columns: int = 100) -> Any:
        words = words or ("--thread", "demo")
        begun.append(Screen(lambda **streams: programs.start([*COMMAND, "code", *words], **streams), columns))
        return begun[-1]

    yield begin
    for screen in begun:
        screen.program.kill()
        screen.program.wait()


def _as_kept(screen: str, name: str) -> None:
    """Hold a screen against the one that is kept of it; to have it kept anew, delete the file and run this twice."""
    file = SCREENS / f"{name}.txt"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(screen, encoding="utf-8")
        pytest.fail(f"{file} was not there, and is now as it was seen: look at it")
    assert screen == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", [60, 120])
def test_a_session_from_its_start_to_its_end(session: Any, model: Any, project: Path, columns: int) -> None:
    edited = {"path": "a.txt", "content": "three\n"}
    asked = model("Hello, I am here.", WRITE, "It reads two.", WRITE, "Left as it was.", WRITE, "It reads three.")
    screen = session(columns=columns)
    screen.say("Hello")
    screen.until("Hello, I am here.")
    _as_kept(screen.ready(), f"{columns}-1-answered")
    screen.type("Write two\r")
    _as_kept(screen.ready("[no]: "), f"{columns}-2-asked")
    assert (project / "a.txt").read_text() == "one\n"
    screen.type("y\r")
    screen.until("It reads two.")
    screen.ready()
    assert (project / "a.txt").read_text() == "two\n"
    assert "Hello" in str(asked[1].messages)
    screen.type("/undo\r")
    screen.until("restored: a.txt")
    screen.ready()
    assert (project / "a.txt").read_text() == "one\n"

    screen.type("Write two again\r")
    screen.say("n", "[no]: ")
    screen.say("not now", "why (told to the agent): ")
    screen.until("Left as it was.")
    _as_kept(screen.ready(), f"{columns}-3-rejected")
    assert (project / "a.txt").read_text() == "one\n"

    screen.type("Write it\r")
    screen.say("edit", "[no]: ")
    screen.until("arguments as JSON: {")
    # What stands in the line already is taken back.
    screen.type("\x15" + json.dumps(edited) + "\r")
    screen.until("It reads three.")
    screen.ready()
    assert (project / "a.txt").read_text() == "three\n"
    screen.type("/diff\r")
    # The change that was approved stands above, further in.
    screen.until("\n-one\n+three")
    screen.say("/nothing")
    screen.until("there is no /nothing")
    screen.say("/cost")
    screen.until("session: $")
    _as_kept(screen.ready(), f"{columns}-4-edited")
    screen.type("/quit\r")
    assert screen.end() == 0


def test_a_slip_in_edited_arguments_stands_in_the_line_to_be_corrected(session: Any, model: Any, project: Path) -> None:
    model(WRITE, "It reads three.")
    screen = session()
    screen.say("Write it")
    screen.say("edit", "[no]: ")
    screen.until("arguments as JSON: {")
    typed = json.dumps({"path": "a.txt", "content": "three\n"})
    screen.type(f"\x15{typed.removesuffix('}')}\r")
    screen.until("that is not JSON")
    screen.until('"three\\n"')
    screen.type("}\r")
    screen.until("It reads three.")
    assert (project / "a.txt").read_text() == "three\n"


@pytest.mark.parametrize("columns", [60, 120])
def test_ctrl_c_stops_what_runs_and_keeps_it_and_twice_leaves(
    session: Any, model: Any, columns: int, project: Path
) -> None:
    waited, stopped = threading.Event(), threading.Event()

    def hangs(request: Any) -> Answer:
        waited.set()
        stopped.wait(BOUND)
        return Answer(text="too late")

    before = Rule(match=Match(contains_any_message="1 a.txt"), answer=hangs)
    asked = model(("run_shell", {"command": "wc -l a.txt"}), before=(before,))
    screen = session(columns=columns)
    screen.say("/resume")
    screen.until("no run of this conversation was stopped, and none")
    screen.say("Count the lines")
    screen.until("    1 a.txt", "Ctrl-C stops")
    assert waited.wait(BOUND)
    screen.type("\x03")
    screen.until("stopped; what is done is kept: /resume goes on")
    stopped.set()
    _as_kept(screen.ready(), f"{columns}-5-stopped")
    assert len(asked) == 1
    again = model("It has one line.")
    screen.type("/resume\r")
    screen.until("It has one line.")
    screen.ready()
    # The command is not run again, nor is the turn that asked for it.
    assert len(again) == 1
    assert screen.text.count("$ wc -l a.txt") == 1
    screen.type("half a li\x03")
    screen.until("\n>\n", unseen=["half a li"])
    screen.type("\x03")
    screen.until("Ctrl-C again leaves")
    screen.ready()
    screen.type("\x03")
    assert screen.end() == 0
    rows = [json.loads(line) for line in (project / ".pointsman" / "history.jsonl").read_text().splitlines()]
    assert rows == ["/resume", "Count the lines", "/resume"]


def test_what_is_typed_while_something_runs_is_no_answer_to_what_waits_then(
    session: Any, model: Any, project: Path
) -> None:
    asked, goes_on = threading.Event(), threading.Event()

    def waits(request: Any) -> Answer:
        if goes_on.is_set():
            return Answer(text="Not written.", usage=USAGE)
        asked.set()
        assert goes_on.wait(BOUND)
        return Answer(tool_calls=[{"name": WRITE[0], "arguments": WRITE[1]}], usage=USAGE)

    model(before=(Rule(match=Match(contains_any_message="Write two"), answer=waits),))
    screen = session()
    screen.say("Write two")
    screen.until("Ctrl-C stops")
    assert asked.wait(BOUND)
    screen.type("y\ry\r")
    goes_on.set()
    screen.say("n", "[no]: ")
    screen.say("not now", "why (told to the agent): ")
    screen.until("Not written.")
    assert (project / "a.txt").read_text() == "one\n"
    screen.say("/quit")
    assert screen.end() == 0


def test_what_is_typed_behind_one_answer_does_not_answer_the_next_question(
    session: Any, model: Any, project: Path
) -> None:
    model([WRITE, ("write_file", {"path": "b.txt", "content": "b\n"})], "One of the two.")
    screen = session()
    screen.say("Write both")
    screen.until("(1 of 2)")
    screen.ready("[no]: ")
    screen.type("y\ry\r")
    screen.until("(2 of 2)")
    screen.say("n", "[no]: ")
    screen.say("not that one", "why (told to the agent): ")
    screen.until("One of the two.")
    screen.say("/quit")
    assert screen.end() == 0
    written = (project / "a.txt").read_text(), (project / "b.txt").exists()
    assert written in (("two\n", False), ("one\n", True))


def test_leaving_a_question_keeps_it_and_resume_asks_again(session: Any, model: Any, project: Path) -> None:
    model(WRITE, "It reads two.")
    screen = session()
    screen.say("Write two")
    screen.ready("[no]: ")
    screen.type("\x03")
    screen.until("nothing was answered, so everything waits on", "it waits for you: /resume asks again")
    assert [act.sources for act in runs.pending()] == [{"path": "the model", "content": "the task"}]
    screen.say("/resume")
    screen.say("yes", "[no]: ")
    screen.until("It reads two.")
    assert (project / "a.txt").read_text() == "two\n"
    screen.ready()
    screen.type("\x04")
    assert screen.end() == 0


def test_a_session_whose_process_was_killed_goes_on_with_continue(session: Any, model: Any) -> None:
    hangs = Rule(match=Match(contains_any_message="1 a.txt"), latency=Latency(ms=600_000), answer="too late")
    model(("run_shell", {"command": "wc -l a.txt"}), before=(hangs,))
    first = session("--thread", "demo")
    first.say("Count the lines")
    first.until("    1 a.txt", "Ctrl-C stops")
    os.kill(first.program.pid, signal.SIGKILL)
    first.end()
    again = model("It has one line.")
    second = session("--continue")
    second.until("conversation demo", "its last run is interrupted: /resume goes on with it")
    # The arrow keys reach what was typed in the session before.
    second.ready()
    second.type("\x1b[A")
    second.until("> Count the lines")
    second.type("\x03/resume\r")
    second.until("It has one line.")
    assert len(again) == 1
    second.say("/quit")
    assert second.end() == 0


def test_ctrl_c_twice_while_something_runs_leaves(session: Any, model: Any) -> None:
    waited, over = threading.Event(), threading.Event()

    def hangs(request: Any) -> Answer:
        waited.set()
        over.wait(BOUND)
        return Answer(text="too late")

    model(before=(Rule(answer=hangs),))
    screen = session()
    screen.say("Hello")
    screen.until("Ctrl-C stops")
    assert waited.wait(BOUND)
    screen.type("\x03\x03")
    assert screen.end() == 0
    over.set()
    assert "stopped; what is done is kept: /resume goes on" in screen.text


def test_a_question_of_several_lines_is_one_question(session: Any, model: Any) -> None:
    asked = model("Two lines.")
    screen = session()
    screen.ready()
    screen.type("one line\x1b\rand another\r")
    screen.until("Two lines.")
    screen.ready()
    screen.type("\x04")
    assert screen.end() == 0
    assert "one line\nand another" in str(asked[0].messages[-1].text)


def test_the_terminals_end_ends_the_session_as_any_command(session: Any, model: Any) -> None:
    model("Hello.")
    screen = session()
    screen.ready()
    os.kill(screen.program.pid, signal.SIGTERM)
    assert screen.end() == 143


@pytest.mark.parametrize("where", ["at the prompt", "while something runs", "at a question"])
def test_a_terminal_that_is_closed_ends_the_session_as_a_hang_up(
    session: Any, model: Any, project: Path, where: str
) -> None:
    asked = model(WRITE)
    screen = session()
    screen.ready()
    if where == "at a question":
        screen.type("Write two\r")
        screen.ready("[no]: ")
    elif where == "while something runs":
        screen.type("Write two\r")
        screen.until("Ctrl-C stops")
    assert screen.close() == 129
    assert len(asked) <= 1
    assert (project / "a.txt").read_text() == "one\n"


def test_history_is_kept_for_its_owner_alone_and_without_secrets(session: Any, model: Any, project: Path) -> None:
    model("Noted.")
    screen = session()
    secret = "sk-" + "Ab3dEf6h" * 6
    screen.say(f"The key is {secret}")
    screen.until("Noted.")
    screen.ready()
    screen.type("\x04")
    assert screen.end() == 0
    kept = project / ".pointsman" / "history.jsonl"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "The key is" in kept.read_text()
    assert secret not in kept.read_text()


@pytest.mark.parametrize("colours", [True, False])
def test_no_color_leaves_colours_out(session: Any, model: Any, monkeypatch: pytest.MonkeyPatch, colours: bool) -> None:
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    model(WRITE, "Not written.")
    screen = session()
    screen.say("Write two")
    screen.say("n", "[no]: ")
    screen.say("", "why (told to the agent): ")
    screen.until("Not written.")
    screen.say("/quit")
    assert screen.end() == 0
    assert bool(COLOURS.search(screen.raw)) is colours


def test_a_dumb_terminal_has_plain_lines(session: Any, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")
    model("Hello, I am here.", WRITE, "It reads two.")
    screen = session()
    screen.until("\n>")
    screen.type("Hello\n")
    screen.until("Hello, I am here.", "\n\n>")
    screen.type("Write two\n")
    screen.until("[no]:")
    screen.type("y\n")
    screen.until("It reads two.")
    screen.type("\x04")
    assert screen.end() == 0
    assert b"\x1b" not in screen.raw


def test_behind_a_pipe_lines_are_questions_and_never_approvals(programs: Any, model: Any, project: Path) -> None:
    (project / "a.txt").write_text("one\n")
    model("Hello, I am here.", WRITE, "It reads two.", "It is not Monday.")
    ended = programs.run([*COMMAND, "code"], input="Hello\nWrite two\ny\n")
    assert ended.stdout == "Hello, I am here.\nIt reads two.\n"
    assert "waiting for approval: write_file" in ended.stderr or "waits for you" in ended.stderr
    assert "\x1b" not in ended.stdout + ended.stderr
    assert (project / "a.txt").read_text() == "one\n"
    ended = programs.run([*COMMAND, "code"], input="Write two\n")
    assert ended.returncode == 0
    model(WRITE)
    assert programs.run([*COMMAND, "code"], input="Write two\n").returncode == 4


def test_an_answer_and_what_is_told_beside_it_do_not_run_into_each_other_in_one_file(programs: Any, model: Any) -> None:
    model("Hello, I am here.")
    ended = programs.run([*COMMAND, "code"], input="Hello\n", stderr=subprocess.STDOUT)
    answer = next(line for line in ended.stdout.splitlines() if "Hello" in line)
    assert answer == "Hello, I am here."


def test_a_question_may_begin_with_a_path(programs: Any, model: Any) -> None:
    asked = model("It is.")
    ended = programs.run([*COMMAND, "code"], input="/etc/hosts is broken\n/nothing\n")
    assert [request.messages[-1].text for request in asked] == ["/etc/hosts is broken"]
    assert "there is no /nothing" in ended.stderr


def test_a_caller_inside_python_may_give_a_stream_of_text_for_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\ufeffHéllo\n\nBye"))
    face = Plain(Spent("demo"))
    assert [face.request(), face.request(), face.request()] == [Ask("Héllo"), Ask("Bye"), None]
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"resume": true}\n'))
    program = JsonLines(Spent("demo"))
    assert [program.request(), program.request()] == [Command("resume", "/resume"), None]


@pytest.mark.parametrize(
    ("words", "lines", "told"),
    [
        ([], ["Hello", "\udcff?", "\ufeffBye"], "a line is not UTF-8 text (byte 0)"),
        (["--json"], ['{"say": "Hello"}', '{"say": "\udcff"}', '\ufeff{"say": "Bye"}'], "is not UTF-8 text (byte 9)"),
        (["--json"], ['{"say": "Hello"}', "[" * 100_000, '{"say": "Bye"}'], "a line is no JSON"),
    ],
)
def test_a_line_that_cannot_be_read_does_not_lose_those_behind_it(
    programs: Any, model: Any, words: list[str], lines: list[str], told: str
) -> None:
    asked = model("One.", "Two.")
    said = "".join(f"{line}\n" for line in lines)
    ended = programs.run([*COMMAND, "code", *words], input=said, encoding="utf-8", errors="surrogateescape")
    assert told in ended.stdout + ended.stderr
    assert "internal error" not in ended.stderr
    assert [request.messages[-1].text.splitlines()[-1] for request in asked] == ["Hello", "Bye"]


def test_a_program_asks_answers_and_resumes_in_lines_of_json(programs: Any, model: Any, project: Path) -> None:
    (project / "a.txt").write_text("one\n")
    waited, over = threading.Event(), threading.Event()

    def hangs(request: Any) -> Answer:
        waited.set()
        over.wait(BOUND)
        return Answer(text="There it is.", usage=USAGE)

    before = Rule(match=Match(contains_any_message="Wait for it"), answer=hangs)
    model("Hello, I am here.", WRITE, "It reads two.", before=(before,))
    with programs.start(
        [*COMMAND, "code", "--json", "--thread", "demo"], stdin=-1, stdout=-1, stderr=-1, text=True
    ) as program:
        # Whatever it never says, the test does not wait for it for ever.
        bound = threading.Timer(BOUND, program.kill)
        bound.start()

        def until(kind: str) -> list[dict[str, Any]]:
            events = []
            while not events or events[-1]["event"] != kind:
                line = program.stdout.readline()
                assert line, program.stderr.read()
                events.append(json.loads(line))
            return events

        def say(line: Any) -> None:
            program.stdin.write((line if isinstance(line, str) else json.dumps(line)) + "\n")
            program.stdin.flush()

        assert until("session") == [{"event": "session", "workflow": "coding", "thread": "demo", "left": None}]
        say({"say": "/undo"})
        events = until("result")
        assert "".join(event["text"] for event in events if event["event"] == "token") == "Hello, I am here."
        for line in ("hello", '{"say": ""}', '{"ask": "x"}', '{"answers": {"nothing": "approve"}}'):
            say(line)
            until("error")
        say({"say": "Write two"})
        events = until("result")
        (waiting,) = [event for event in events if event["event"] == "waiting"]
        assert (waiting["sandbox"], waiting["sources"]) == (
            "no command: it runs in this process, and writes in the workspace alone",
            {"path": "the model", "content": "the task"},
        )
        assert events[-1]["status"] == "pending"
        assert (project / "a.txt").read_text() == "one\n"
        say({"answers": {waiting["id"]: {"type": "approve", "digest": waiting["digest"]}}})
        assert until("result")[-1]["status"] == "done"
        say({"say": "Wait for it"})
        assert waited.wait(BOUND)
        program.send_signal(signal.SIGINT)
        stopped = until("stopped")[-1]
        over.set()
        say({"resume": True})
        result = until("result")[-1]
        assert (result["run"], result["output"]) == (stopped["run"], "There it is.")
        program.stdin.close()
        assert program.wait(BOUND) == 0
        bound.cancel()
    assert (project / "a.txt").read_text() == "two\n"


@pytest.mark.parametrize(
    ("diff", "files"),
    [
        ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n--- /dev/null\n+++ b/y z\n", ["x", "y z"]),
        ("diff --git a/x b/y b/x b/y\nold mode 100644\nnew mode 100755\n", ["x b/y"]),
        ("diff --git a/x b/x\ndeleted file mode 120000\n--- a/x\n+++ /dev/null\n", ["x"]),
    ],
)
def test_the_files_of_a_diff_are_named_once_also_where_the_mode_alone_changes(diff: str, files: list[str]) -> None:
    assert _changed(diff) == files


def test_the_shell_completes_a_sessions_options_and_its_help_names_them(pointsman: Any, programs: Any) -> None:
    words = {"_POINTSMAN_COMPLETE": "complete_bash", "COMP_WORDS": "pointsman code --", "COMP_CWORD": "2"}
    done = programs.run(
        ["-c", "from pointsman.cli.main import app; app(prog_name='pointsman')"], env={**os.environ, **words}
    )
    shown = pointsman("code", "--help").stdout
    for option in ("--thread", "--continue", "--json", "--approval", "--max-cost"):
        assert option in done.stdout.splitlines()
        assert option in shown


def test_the_picture_in_the_docs_is_what_comes_out(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(PICTURES))
    import session as picture

    drawn = tmp_path / "session.svg"
    monkeypatch.setattr(picture, "PICTURE", drawn)
    picture.main()
    assert drawn.read_text(encoding="utf-8") == (PICTURES / "session.svg").read_text(encoding="utf-8")
