"""One agent uses what another has found: the coding agent reads a tariff, the vision agent checks a bill by it.

    python examples/shared_memory/ask.py

The bill is checked twice: by an agent that has to read the code itself, and by one that shares a memory with the agent
that has read it. With a key of a provider in the environment the models are real. Without one their words are a script;
the files, the tools, the memory, the trust and the counted tokens are real all the same.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pointsman import Agent, RunResult, Runtime, environment, load
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator
from pointsman.simulator.request import Request
from pydantic import BaseModel

VENDORS = ("anthropic", "openai", "google")
FILES = ("list_files", "search_files", "read_file")
FOUND = (
    "The price of a parcel is 2.40 pounds, and 1.60 for each kilogram begun, times the zone of its country: 1 at home, "
    "2 in FR and DE, 3 in PT and NO."
)


class Finding(BaseModel):
    """What the code says, and where."""

    statement: str
    files: list[str]


def script(request: Request) -> Answer:
    """What the models say where there is no key: they read the files, unless a note says what is in them."""
    read = [message.text for message in request.messages if message.role == "tool"]
    steps = (
        ("search_files", {"pattern": "price"}),
        ("read_file", {"path": "price.py"}),
        ("read_file", {"path": "zones.py"}),
    )
    known = any(FOUND in message.text for message in request.messages)
    if not known and len(read) < len(steps):
        name, arguments = steps[len(read)]
        return Answer(tool_calls=({"name": name, "arguments": arguments},))
    if any(tool.name == "Finding" for tool in request.tools):
        found = {"statement": FOUND, "files": ["price.py", "zones.py"]}
        return Answer(tool_calls=({"name": "Finding", "arguments": found},))
    return Answer(text="The bill is wrong: 2.5 kg to France cost 2.40 + 1.60 * 3 * 2 = 12.00 pounds, and not 10.40.")


def told(who: str, result: RunResult) -> int:
    """Print what a run did and cost, and return its tokens."""
    tokens = sum(call.usage.input + call.usage.output for call in result.calls if call.usage)
    calls = len(result.calls)
    print(f"{who}\n  {calls} call{'s' * (calls > 1)}, {tokens:,} tokens, ${result.cost:.4f}")
    for step in result.steps:
        for note in step.recalled:
            print(f"  recalled a note by {note.author}, trust {note.trust}")
        if step.remembered:
            print("  kept what it found")
    print(f"  {result.output}\n" if isinstance(result.output, str) else f"  {result.output.statement}\n")
    return tokens


def ask(runtime: Runtime, bill: Path) -> None:
    """Ask the coding agent, and check the bill without and with what it found."""
    coder = Agent(
        "coding",
        task="code",
        tools=FILES,
        output=Finding,
        memory="tariff",
        remember=True,
        instructions="Answer from the files of the workspace, and name them.",
    )
    told_to = "Check the bill by the code of the tariff. Read its files only if you do not know yet what they say."
    reading = Agent("vision", task="vision", tools=FILES, instructions=told_to)
    sharing = Agent("vision", task="vision", tools=FILES, instructions=told_to, memory="tariff")
    told("coding agent", coder.run("How is the price of a parcel computed?", runtime=runtime).raise_for_status())
    asked = "The bill is for a parcel of 2.5 kg to France. Is its price right?"
    without = told("vision agent, without", reading.run(asked, files=[bill], runtime=runtime).raise_for_status())
    by_note = told("vision agent, with", sharing.run(asked, files=[bill], runtime=runtime).raise_for_status())
    print(f"saved: {without - by_note:,} of {without:,} tokens ({(without - by_note) / without:.0%})")


def main() -> None:
    """Ask about a copy of tariff/, with real models where there is a key."""
    bill = Path(__file__).with_name("bill.png").resolve()
    with tempfile.TemporaryDirectory() as folder:
        home = shutil.copytree(Path(__file__).with_name("tariff"), Path(folder) / "tariff")
        os.chdir(home)
        if any(f"{vendor.upper()}_API_KEY" in os.environ for vendor in VENDORS):
            with Runtime(load(home, environ=environment())) as runtime:
                ask(runtime, bill)
            return
        print("no key: the words of the models are a script; files, tools and memory are real\n")
        with Simulator(Scenario(rules=(Rule(match=Match(), answer=script),))) as simulator:
            keys = {f"{vendor.upper()}_API_KEY": "scripted" for vendor in VENDORS}
            urls = {f"POINTSMAN_PROVIDERS__{v.upper()}__BASE_URL": simulator.url(v) for v in VENDORS}
            with Runtime(load(home, environ={**environment(), **keys, **urls})) as runtime:
                ask(runtime, bill)


if __name__ == "__main__":
    main()
