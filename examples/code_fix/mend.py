"""A failing test that a code fix makes pass: a copy of shop/ is mended in a folder of its own.

    python examples/code_fix/mend.py

With a key of a provider in the environment the models are real. Without one their words are a script; the files, the
patch, the sandbox, the test and the verdict's way to you are real all the same.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from pointsman import Called, Finished, Runtime, Stepped, Using, Workflow, code_fix, environment, load
from pointsman.simulator import Answer, Match, Rule, Scenario, Simulator
from pointsman.simulator.request import Request

TEST = "python3 -m unittest -q"
VENDORS = ("anthropic", "openai", "google")
PATCH = """\
--- a/prices.py
+++ b/prices.py
@@ -4,3 +4,3 @@
 def total(prices: list[float], discount: float = 0.0) -> float:
     \"\"\"Add prices up, and take a discount in percent off.\"\"\"
-    return round(sum(prices) * (1 - discount), 2)
+    return round(sum(prices) * (1 - discount / 100), 2)
"""
MISFIT = PATCH.replace("round(sum(prices) * (1 - discount), 2)", "sum(prices) * (1 - discount)")


def script(request: Request) -> Answer:
    """What the models say where there is no key; the first patch does not fit, as happens."""
    tools = [tool.name for tool in request.tools]
    answers = [message.text for message in request.messages if message.role == "tool"]
    if "apply_patch" in tools:
        said = [
            Answer(tool_calls=({"name": "read_file", "arguments": {"path": "prices.py"}},)),
            Answer(tool_calls=({"name": "apply_patch", "arguments": {"patch": MISFIT}},)),
            Answer(tool_calls=({"name": "apply_patch", "arguments": {"patch": PATCH}},)),
            Answer(text="The discount is in percent now."),
        ]
        return said[min(len(answers), 3)]
    if "search_files" in tools:
        return Answer(text="prices.py, line 6: the discount is taken for a share, but it is in percent.")
    verdict = {"ok": True, "reason": "it divides the discount by 100 and changes nothing else"}
    return Answer(json=verdict) if request.schema else Answer(tool_calls=({"name": tools[0], "arguments": verdict},))


def mend(runtime: Runtime) -> None:
    """Run the workflow and show what happens."""
    flow: Workflow = code_fix("mend", test=TEST)
    for event in flow.stream("The tests of the prices fail. Make them pass.", runtime=runtime):
        match event:
            case Called(row=row):
                print(f"  {row.agent:<10} {row.model}")
            case Using(tool=tool):
                print(f"  {'':<10} uses {tool}")
            case Stepped(record=record):
                print(f"{record.id}: {record.status}")
            case Finished(result=result):
                print(f"\n{result.output.verdict}\n\n{result.diff}")


def main() -> None:
    """Mend a copy of shop/, with real models where there is a key."""
    with tempfile.TemporaryDirectory() as folder:
        shop = shutil.copytree(Path(__file__).with_name("shop"), Path(folder) / "shop")
        os.chdir(shop)
        if any(f"{vendor.upper()}_API_KEY" in os.environ for vendor in VENDORS):
            with Runtime(load(shop, environ=environment())) as runtime:
                mend(runtime)
            return
        print("no key: the words of the models are a script; files, patches, sandbox and tests are real\n")
        with Simulator(Scenario(rules=(Rule(match=Match(), answer=script),))) as simulator:
            keys = {f"{vendor.upper()}_API_KEY": "scripted" for vendor in VENDORS}
            urls = {f"POINTSMAN_PROVIDERS__{v.upper()}__BASE_URL": simulator.url(v) for v in VENDORS}
            with Runtime(load(shop, environ={**environment(), **keys, **urls})) as runtime:
                mend(runtime)


if __name__ == "__main__":
    main()
