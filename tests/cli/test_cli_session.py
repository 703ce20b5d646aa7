"""A session at a terminal: asked, streamed, approved with its diff, rejected, edited, stopped, taken up, quit."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.simulator import Answer, Latency, Match, Rule, Scenario, Simulator
from pointsman.tools import probe

COMMAND = ["-c", "from pointsman.cli.main import main; main()"]
pytestmark = pytest.mark.skipif(not probe().working, reason=str(probe()))

BOUND = 200.0
"""Seconds without a word after which it hangs, on however busy a machine."""
Turn = str | tuple[str, dict[str, Any]]
WRITE = ("write_file", {"path": "a.txt", "content": "two\n"})


class _Screen:
    """A session at a terminal of so many columns."""

    def __init__(self, programs: Any, columns: int, *words: str) -> None:
        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.seen = ""
        self._place = 0
        self._program = programs.start([*COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    def until(self, words: str) -> str:
        """Read until it has said these words, and give what it said since the last time."""
        while words not in self.seen[self._place :]:
            if not select.select([self._mine], [], [], BOUND)[0]:
                pytest.fail(f"it never says {words!r}, but:\n{self.seen}")
            self.seen += os.read(self._mine, 65536).decode().replace("\r\n", "\n")
        end = self.seen.index(words, self._place) + len(words)
        said, self._place = self.seen[self._place : end], end
        return said

    def type(self, keys: str) -> None:
        os.write(self._mine, keys.encode())

    def say(self, line: str) -> None:
        """Type a line once it is asked for: what is typed before may be lost."""
        self.until("\n> ")
        self.type(f"{line}\n")

    def interrupt(self) -> None:
        os.kill(self._program.pid, signal.SIGINT)

    def interrupt_until(self, words: str) -> None:
        """Press Ctrl-C until it says these words: a signal between two reads of a line is heard at the next key."""
        for _ in range(int(BOUND)):
            self.interrupt()
            if select.select([self._mine], [], [], 1)[0]:
                break
        self.until(words)

    def end(self) -> int:
        try:
            while got := os.read(self._mine, 65536).decode():
                self.seen += got.replace("\r\n", "\n")
        except OSError:  # nobody writes any more
            pass
        finally:
            os.close(self._mine)
        return int(self._program.wait())


@pytest.fixture(autouse=True)
def vendors(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Three vendors on loopback, with keys; writing waits for a person."""
    for vendor in ("anthropic", "openai", "google"):
        monkeypatch.setenv(f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL", simulator.url(vendor))
        monkeypatch.setenv(f"{vendor.upper()}_API_KEY", f"sk-simulated-{vendor}")
    monkeypatch.setenv("POINTSMAN_RISK__CALL__WRITE", "critical")
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
                    return Answer(json=verdict)
                return Answer(tool_calls=[{"name": request.tools[0].name, "arguments": verdict}])
            asked.append(request)
            turn = left.pop(0) if left else "nothing more"
            if isinstance(turn, str):
                return Answer(text=turn)
            return Answer(tool_calls=[{"name": turn[0], "arguments": turn[1]}])

        vendors.scenario = Scenario(rules=[*before, Rule(answer=answer)])
        return asked

    return play


@pytest.fixture(params=[60, 120])
def screen(request: pytest.FixtureRequest, programs: Any, project: Path) -> _Screen:
    (project / "a.txt").write_text("one\n")
    made = _Screen(programs, request.param, "code")
    made.until("/help says more")
    return made


def test_a_session_from_its_start_to_its_end(screen: _Screen, model: Any, project: Path) -> None:
    edited = {"path": "a.txt", "content": "three\n"}
    asked = model("Hello, I am here.", WRITE, "It reads two.", WRITE, "Left as it was.", WRITE, "It reads three.")
    screen.say("Hello")
    said = screen.until("-- session:")
    assert said.count("Hello, I am here.") == 1
    assert "-- anthropic/claude" in said
    screen.say("Write two")
    said = screen.until("[reject]: ")
    assert "-one" in said
    assert "+two" in said
    screen.type("y\n")
    screen.until("It reads two.")
    screen.until("-- session:")
    assert (project / "a.txt").read_text() == "two\n"
    assert "Hello" in str(asked[1].messages)
    screen.say("/undo")
    screen.until("restored: a.txt")
    assert (project / "a.txt").read_text() == "one\n"

    screen.say("Write two again")
    screen.until("[reject]: ")
    screen.type("n\n")
    screen.until("why (told to the agent)")
    screen.type("not now\n")
    screen.until("-- session:")
    assert (project / "a.txt").read_text() == "one\n"

    screen.say("Write it")
    screen.until("[reject]: ")
    screen.type("edit\n")
    screen.until("arguments as JSON")
    screen.type(json.dumps(edited) + "\n")
    screen.until("-- session:")
    assert (project / "a.txt").read_text() == "three\n"
    screen.say("/diff")
    screen.until("+three")
    screen.say("/nothing")
    screen.until("there is no /nothing")
    screen.say("/quit")
    assert screen.end() == 0


def test_ctrl_c_stops_what_runs_and_keeps_it(screen: _Screen, model: Any, project: Path) -> None:
    hangs = Rule(match=Match(contains_any_message="1 a.txt"), latency=Latency(ms=600_000), answer="too late")
    asked = model(("run_shell", {"command": "wc -l a.txt"}), before=(hangs,))
    screen.until("> ")
    screen.interrupt_until("Ctrl-D ends the session")
    screen.say("/resume")
    screen.until("no run of this conversation was stopped")
    screen.say("Count the lines")
    screen.until("    1 a.txt")
    screen.interrupt()
    screen.until("stopped; what is done is kept: /resume goes on")
    assert len(asked) == 1
    again = model("It has one line.")
    screen.say("/resume")
    screen.until("It has one line.")
    screen.until("\n> ")
    # The command is not run again, nor is the turn that asked for it.
    assert len(again) == 1
    screen.type("\x04")
    assert screen.end() == 0
    assert screen.seen.count("wc -l a.txt") == 1
