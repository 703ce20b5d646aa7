"""A task at a shell: the terminal agent adds up the boxes of each customer in a copy of deliveries/.

    python examples/terminal_task/count.py

With a key of a provider in the environment the models are real, and the task is the same. Without one their words are a
script; the commands, the sandbox, the files and the diff are real all the same. At a terminal of your own it is

    cd deliveries && pointsman do "Add up the boxes of each customer in the files here, and write them to boxes.txt."
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pointsman import Called, Finished, Runtime, Used, Using, Workflow, environment, load
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator
from pointsman.simulator.request import Request

TASK = "Add up the boxes of each customer in the files here, and write them to boxes.txt."
VENDORS = ("anthropic", "openai", "google")
TODOS = ({"content": "look at the files", "status": "in_progress"}, {"content": "add up", "status": "pending"})
COMMANDS = (
    "head -n 2 *.csv",
    "awk -F, 'FNR > 1 { sum[$2] += $3 } END { for (who in sum) print who, sum[who] }' *.csv | sort > boxes.txt",
    "cat boxes.txt",
)


def script(request: Request) -> Answer:
    """What the models say where there is no key."""
    tools = [tool.name for tool in request.tools]
    if not any(name.startswith("run_shell") for name in tools):
        verdict = {"ok": True, "reason": "it only adds up, and writes one file that the task names"}
        if request.schema:
            return Answer(json=verdict)
        return Answer(tool_calls=({"name": tools[0], "arguments": verdict},))
    done = sum(message.role == "tool" for message in request.messages)
    if done == 0:
        return Answer(tool_calls=({"name": "write_todos", "arguments": {"todos": list(TODOS)}},))
    if done <= len(COMMANDS):
        shell = next(name for name in tools if name.startswith("run_shell"))
        return Answer(tool_calls=({"name": shell, "arguments": {"command": COMMANDS[done - 1]}},))
    return Answer(text="boxes.txt has the boxes of each customer: Ann 6, Bob 1, Cem 4.")


def count(runtime: Runtime) -> None:
    """Run the task and show what happens."""
    flow: Workflow = Workflow.named("terminal", runtime)
    for event in flow.stream(TASK, runtime=runtime):
        match event:
            case Called(row=row):
                print(f"  {row.agent:<10} {row.model} ({row.risk})")
            case Using(tool=tool, arguments=arguments):
                print(f"  {'':<10} {tool} {arguments.get('command', '')}")
            case Used(text=text):
                print("".join(f"  {'':<12} {line}\n" for line in text.splitlines()), end="")
            case Finished(result=result):
                print(f"\n{result.status}: {result.output}\n\n{result.diff}")


def main() -> None:
    """Count in a copy of deliveries/, with real models where there is a key."""
    with tempfile.TemporaryDirectory() as folder:
        home = shutil.copytree(Path(__file__).with_name("deliveries"), Path(folder) / "deliveries")
        os.chdir(home)
        if any(f"{vendor.upper()}_API_KEY" in os.environ for vendor in VENDORS):
            with Runtime(load(home, environ=environment())) as runtime:
                count(runtime)
            return
        print("no key: the words of the models are a script; commands, sandbox and files are real\n")
        with Simulator(Scenario(rules=(Rule(match=Match(), answer=script),))) as simulator:
            keys = {f"{vendor.upper()}_API_KEY": "scripted" for vendor in VENDORS}
            urls = {f"POINTSMAN_PROVIDERS__{v.upper()}__BASE_URL": simulator.url(v) for v in VENDORS}
            with Runtime(load(home, environ={**environment(), **keys, **urls})) as runtime:
                count(runtime)


if __name__ == "__main__":
    main()
