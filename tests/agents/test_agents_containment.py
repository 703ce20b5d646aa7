"""What a tool of any make raises ends that tool: the model hears of it, and the loop and the process go on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from pointsman import Agent, Workflow, tool
from pointsman.agents.runtime import Runtime
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator
from pointsman.tools import ToolFailed, declare
from pydantic import BaseModel, PrivateAttr

Make = Callable[..., Runtime]
Ends = Callable[[Callable[[], Any]], Any]

MODEL = "anthropic/claude-haiku-4-5"


class Left(BaseException):
    """What a library of the user's may raise."""


EXITS = [
    SystemExit(3),
    KeyboardInterrupt(),
    StopIteration("dry"),
    StopAsyncIteration(),
    GeneratorExit(),
    asyncio.CancelledError(),
    concurrent.futures.CancelledError(),
    BaseExceptionGroup("two", [SystemExit(3), ValueError("x")]),
    Left("for good"),
    ToolFailed("no such order"),
]


def made(kind: str, like: BaseException) -> BaseTool:
    """A tool that raises, as people make them."""

    def leave() -> str:
        """Leave."""
        raise type(like)(*like.args)

    async def leave_async() -> str:
        """Leave."""
        await asyncio.sleep(0)
        return leave()

    class Own(BaseTool):
        name: str = "leave"
        description: str = "Leave."

        def _run(self) -> str:
            return leave()

    class OwnAsync(Own):
        async def _arun(self) -> str:
            return await leave_async()

    if kind == "ours":
        return tool(leave, effect="read")
    if kind == "ours, async":
        return tool(leave_async, effect="read", name="leave")
    if kind == "of a class":
        return declare(Own(), effect="read")
    if kind == "of a class, async":
        return declare(OwnAsync(), effect="read")
    if kind == "plain":
        return declare(StructuredTool.from_function(leave), effect="read")
    return declare(StructuredTool.from_function(coroutine=leave_async, name="leave"), effect="read")


PLACES = ["ours", "plain", "of a class"]


def each_both_ways(errors: list[BaseException]) -> list[Any]:
    """Every error from a sync and from an async tool, each of another make: who made a tool does not tell the errors
    apart, and every make meets several."""
    return [
        pytest.param(error, kind, id=f"{error!r}-{kind}")
        for at, error in enumerate(errors)
        for kind in (PLACES[at % 3], f"{PLACES[(at + 1) % 3]}, async")
    ]


def leaving(simulator: Simulator, name: str = "leave") -> None:
    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(contains_any_message="ended with"), answer=Answer(text="It left.")),
            Rule(match=Match(contains_any_message="no such order"), answer=Answer(text="It left.")),
            Rule(match=Match(contains="again"), answer=Answer(text="well")),
            Rule(answer=Answer(tool_calls=[{"name": name, "arguments": {}}])),
        ]
    )


@pytest.mark.parametrize(("error", "kind"), each_both_ways(EXITS))
def test_the_model_hears_how_the_tool_ended_and_the_run_goes_on(
    simulated: Make, simulator: Simulator, ends: Ends, error: BaseException, kind: str
) -> None:
    leaving(simulator)
    agent = Agent("host", model=MODEL, tools=[made(kind, error)]).on(simulated())
    for call in (lambda: agent.invoke("go"), lambda: asyncio.run(agent.ainvoke("go"))):
        messages = ends(call)["messages"]
        (heard,) = [message for message in messages if message.type == "tool"]
        assert heard.status == "error"
        assert type(error).__name__ in heard.text or str(error) == heard.text
        assert messages[-1].text == "It left."
    assert ends(lambda: agent.invoke("again"))["messages"][-1].text == "well"


@pytest.mark.parametrize(("error", "kind"), each_both_ways([SystemExit(3), KeyboardInterrupt(), GeneratorExit()]))
def test_a_workflow_goes_on_too(
    simulated: Make, simulator: Simulator, ends: Ends, error: BaseException, kind: str
) -> None:
    leaving(simulator)
    flow = Workflow("solo", agents=[Agent("host", model=MODEL, tools=[made(kind, error)])])
    home = simulated()
    for call in (lambda: flow.run("go", runtime=home), lambda: asyncio.run(flow.arun("go", runtime=home))):
        result = ends(call)
        assert (result.status, result.output) == ("done", "It left.")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_tool_of_a_class_keeps_its_state(simulated: Make, simulator: Simulator, ends: Ends, is_async: bool) -> None:
    class Nothing(BaseModel):
        pass

    class Counting(BaseTool):
        name: str = "count"
        args_schema: type[BaseModel] = Nothing
        description: str = "Count."
        count: int = 0
        _noted: int = PrivateAttr(default=0)

        def _run(self, config: RunnableConfig) -> str:
            self.count += 1
            self._noted += 1
            return f"ended with {self.count} in {config['metadata']['langgraph_node']}"

    class CountingAsync(Counting):
        async def _arun(self, config: RunnableConfig) -> str:
            return self._run(config)

    counter = CountingAsync() if is_async else Counting()
    leaving(simulator, "count")
    agent = Agent("host", model=MODEL, tools=[counter], kind="gather").on(simulated(**{"risk.call.destructive": "low"}))
    ends(lambda: agent.invoke("go"))
    messages = ends(lambda: agent.invoke("go"))["messages"]
    assert [message.text for message in messages if message.type == "tool"] == ["ended with 2 in tools"]
    assert (counter.count, counter._noted) == (2, 2)


class Order(BaseModel):
    number: int
    on: date


ORDER = Order(number=7, on=date(2026, 1, 2))


def giving(kind: str, result: Any) -> BaseTool:
    """A tool that returns an object, as people and adapters make them."""

    def give() -> Any:
        """Give."""
        return result

    async def give_async() -> Any:
        """Give."""
        return result

    class Own(BaseTool):
        name: str = "leave"
        description: str = "Give."

        def _run(self) -> Any:
            return result

    class OwnAsync(Own):
        async def _arun(self) -> Any:
            given = self._run()
            assert given is result
            return given

    form: Any = "content_and_artifact" if kind.startswith("with an artifact") else "content"
    if kind.startswith("of a class"):
        return OwnAsync() if kind.endswith("async") else Own()
    ways: dict[str, Any] = {"coroutine": give_async} if kind.endswith("async") else {"func": give}
    return StructuredTool.from_function(**ways, name="leave", response_format=form)


@pytest.mark.parametrize("kind", ["plain", "plain, async", "of a class", "of a class, async", "with an artifact",
                                  "with an artifact, async"])  # fmt: skip
def test_a_model_reads_json_of_what_any_tool_returns_and_the_artifact_stays_as_it_is(
    simulated: Make, simulator: Simulator, ends: Ends, kind: str
) -> None:
    simulator.scenario = Scenario(
        rules=[Rule(match=Match(contains_any_message="2026-01-02"), answer=Answer(text="Seen.")),
               Rule(answer=Answer(tool_calls=[{"name": "leave", "arguments": {}}]))]
    )  # fmt: skip
    has_artifact = kind.startswith("with an artifact")
    told = giving(kind, ({"orders": [ORDER]}, ORDER) if has_artifact else {"orders": [ORDER]})
    agent = Agent("host", model=MODEL, tools=[declare(told, effect="read")]).on(simulated())
    both = (lambda: agent.invoke("go"), lambda: asyncio.run(agent.ainvoke("go")))
    # A tool with async code alone cannot be called otherwise.
    for call in both[1:] if kind in ("plain, async", "with an artifact, async") else both:
        messages = ends(call)["messages"]
        (heard,) = [message for message in messages if message.type == "tool"]
        assert json.loads(heard.text) == {"orders": [{"number": 7, "on": "2026-01-02"}]}
        assert heard.artifact is (ORDER if has_artifact else None)
        assert messages[-1].text == "Seen."


def test_what_an_mcp_server_says_reaches_the_model_as_its_blocks(
    simulated: Make, simulator: Simulator, ends: Ends
) -> None:
    leaving(simulator)
    blocks = [{"type": "text", "text": "ended with 2"}, {"type": "image", "base64": "aGk=", "mime_type": "image/png"}]
    server = giving("with an artifact, async", (blocks, {"structured_content": {"orders": 2}}))
    agent = Agent("host", model=MODEL, tools=[declare(server, effect="read")]).on(simulated())
    (heard,) = [m for m in ends(lambda: asyncio.run(agent.ainvoke("go")))["messages"] if m.type == "tool"]
    assert (heard.content, heard.artifact) == (blocks, {"structured_content": {"orders": 2}})


@pytest.mark.parametrize("kind", ["plain", "plain, async"])
def test_a_tool_of_another_library_that_hangs_ends_when_its_declared_time_is_up(
    simulated: Make, simulator: Simulator, ends: Ends, kind: str
) -> None:
    never = threading.Event()

    def leave() -> str:
        """Leave."""
        never.wait()
        return "never heard"

    async def leave_async() -> str:
        """Leave."""
        await asyncio.Event().wait()
        return "never heard"

    made = {"func": leave} if kind == "plain" else {"coroutine": leave_async}
    hanging = declare(StructuredTool.from_function(**made, name="leave"), effect="read", timeout=0.05)
    call: Any = {"name": "leave", "arguments": {}}
    late = Match(contains_any_message="took longer than 0.05 s")
    simulator.scenario = Scenario(
        rules=[Rule(match=late, answer=Answer(text="It hung.")), Rule(answer=Answer(tool_calls=[call]))]
    )
    agent = Agent("host", model=MODEL, tools=[hanging]).on(simulated())
    calls = [lambda: asyncio.run(agent.ainvoke("go"))] + ([lambda: agent.invoke("go")] if kind == "plain" else [])
    assert [ends(each)["messages"][-1].text for each in calls] == ["It hung."] * len(calls)
    never.set()


CTRL_C = '''
import asyncio, faulthandler, os, signal, sys, threading
from pathlib import Path
from pointsman import Agent, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.loading.loader import load
faulthandler.dump_traceback_later(100, exit=True)
# A shell's background job begins with this signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def block(forever):
    print("inside", flush=True)
    forever()

@tool(effect="read")
def leave() -> str:
    """Block."""
    block(lambda: threading.Event().wait())
    return ""

@tool(effect="read", name="leave")
async def leave_async() -> str:
    """Wait."""
    print("inside", flush=True)
    await asyncio.Event().wait()
    return ""

home = Runtime(load(Path(sys.argv[1]), environ=os.environ))
tools = [leave_async if sys.argv[2] == "async" else leave]
agent = Agent("host", model="anthropic/claude-haiku-4-5", tools=tools).on(home)
try:
    if sys.argv[3] == "invoke":
        agent.invoke("go")
    else:
        asyncio.run(agent.ainvoke("go"))
except KeyboardInterrupt:
    print("ended", len(home.ledger.calls()), flush=True)
'''


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_ctrl_c_ends_the_run_and_its_calls_are_recorded(
    simulator: Simulator, programs: Any, tmp_path: Path, kind: str, how: str
) -> None:
    leaving(simulator)
    url = {"POINTSMAN_PROVIDERS__ANTHROPIC__BASE_URL": simulator.url("anthropic"), "ANTHROPIC_API_KEY": "none"}
    process = programs.start(
        ["-c", CTRL_C, tmp_path, kind, how],
        env={**os.environ, **url},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert (said, process.returncode) == ("ended 1\n", 0)


@pytest.mark.parametrize("failing", [False, True])
def test_a_tools_words_hold_nothing_that_a_terminal_would_obey(
    simulated: Make, simulator: Simulator, failing: bool
) -> None:
    odd = "a\x1b[2Jb\x00c\x1b]0;x\x07d"

    @tool(effect="read")
    def look() -> str:
        """Look."""
        if failing:
            raise ToolFailed(odd)
        return odd

    simulator.scenario = Scenario(
        rules=[
            Rule(match=Match(contains_any_message="abcd"), answer=Answer(text="done")),
            Rule(answer=Answer(tool_calls=[{"name": "look", "arguments": {}}])),
        ]
    )
    said = Agent("looker", model=MODEL, tools=[look]).on(simulated()).invoke("Look.")
    assert [message.text for message in said["messages"] if message.type == "tool"] == ["abcd"]
