"""The command is interrupted at any moment, and its output cannot be written: it ends quietly, by the right code."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

LOADING = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Interrupting())
sys.modules.pop({module!r}, None)
import runpy
runpy.run_module("pointsman", run_name="__main__", alter_sys=False)
"""
MAIN = "from pointsman.cli.entry import main; main()"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("module", "completing"),
    [("pointsman.cli.main", False), ("pointsman.cli.commands.agents", False), ("pointsman.cli.commands.agents", True)],
    ids=["the command line", "a command", "completion"],
)
def test_a_signal_while_modules_load_ends_without_a_word(
    programs: Any, number: signal.Signals, module: str, completing: bool
) -> None:
    completion = {"_POINTSMAN_COMPLETE": "complete_bash", "COMP_WORDS": "pointsman models --", "COMP_CWORD": "2"}
    ended = programs.run(
        ["-c", LOADING.format(module=module, number=int(number)), "models"],
        env={**os.environ, **(completion if completing else {})},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, "", "")


@pytest.mark.parametrize("words", [["models"], ["models", "--json"], ["--help"], ["--version"], ["run", "--help"]])
def test_output_that_cannot_be_written_is_one_line_and_a_failure(programs: Any, words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = programs.run(["-c", MAIN, *words], stdout=full)
    assert ended.returncode == 1
    assert ended.stderr == "error: standard output cannot be written: No space left on device\n"


def test_a_mistake_is_told_by_its_code_whatever_the_streams_take(programs: Any) -> None:
    with Path("/dev/full").open("w") as full:
        assert programs.run(["-c", MAIN, "nosuch"], stdout=full).returncode == 2
        assert programs.run(["-c", MAIN, "nosuch"], stderr=full).returncode == 2


def test_a_pipe_whose_reader_has_gone_ends_quietly(programs: Any) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = programs.run(["-c", MAIN, "models"], stdout=writing)
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.slow
def test_an_encoding_without_a_character_shows_it_as_an_escape(programs: Any) -> None:
    western = "import sys; sys.stdout = sys.__stdout__ = open(1, 'w', encoding='latin-1'); "
    ended = programs.run(["-c", western + MAIN, "agents"])
    assert ended.returncode == 0, ended.stderr
    assert "\\u2026" in ended.stdout


LEAVING = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
from pointsman.cli import ending
ending._SECONDS = 0.1
def leave():
    {leaves}
starter = threading.Thread(target=leave, daemon={daemon})
starter.start()
starter.join()
"""


@pytest.mark.parametrize("daemon", [False, True])
@pytest.mark.parametrize(
    "leaves",
    ["threading.Thread(target=time.sleep, args=(9999,)).start()", "ThreadPoolExecutor().submit(time.sleep, 9999)"],
)
def test_a_thread_that_a_tool_has_left_behind_does_not_keep_the_command_from_ending(
    leaves: str, daemon: bool, programs: Any
) -> None:
    code = LEAVING.format(leaves=leaves, daemon=daemon) + MAIN
    ended = programs.run(["-c", code, "--version"])
    assert ended.returncode == 0
    assert ended.stdout.startswith("pointsman ")


HELD = """
import asyncio, os, signal, threading, time
from typing import Annotated, Any, TypedDict
from langgraph.graph import END, START, StateGraph
from pointsman import Workflow
from pydantic import BeforeValidator, TypeAdapter
def hold(value):
    held.set()
    while True:
        time.sleep(0.0001)
# Pydantic's own code, which is compiled, holds the thread.
held, holding = threading.Event(), TypeAdapter(Annotated[Any, BeforeValidator(hold)])
threading.Thread(target=holding.validate_python, args=(1,), daemon=True).start()
held.wait()
class State(TypedDict):
    task: str
async def node(state):
    os.kill(os.getpid(), signal.{signal})
    await asyncio.Event().wait()
def build(home):
    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph
flow = Workflow("held", graph=build)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_the_code_is_that_of_the_signal_whatever_compiled_code_a_thread_is_in(
    name: str, code: int, programs: Any, tmp_path: Path
) -> None:
    (tmp_path / "held.py").write_text(HELD.replace("{signal}", name))
    env = {**os.environ, "POINTSMAN_STATE": str(tmp_path / "state")}
    ended = [
        programs.run(["-c", MAIN, "run", "held.py:flow", "Go", "--offline"], cwd=tmp_path, env=env) for _ in range(5)
    ]
    assert [one.returncode for one in ended] == [code] * 5, ended[0].stderr
