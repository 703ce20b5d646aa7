"""Time of the first agent call in a process against the imports that the call needs.

    python benchmarks/first_call.py [--rounds N]

Each round starts two new processes. In one an agent asks an OpenAI-compatible endpoint on loopback that answers at
once; the other imports what the first had imported by the end of its call, in the same order. Both first import
`pointsman` and the agent's class, which is not counted. The ratio is the median over the rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from stage import options, provider, simulated, table

RATIO_BAR, SECONDS_BAR = 1.15, 2.0
_CALL = """
import json, sys, time
from pointsman import Agent
before, start = set(sys.modules), time.perf_counter()
answer = Agent("first", tier="economy").run("Where is my order 4711?")
took = time.perf_counter() - start
assert answer.output == "On its way.", answer
print(json.dumps({"took": took, "modules": [name for name in sys.modules if name not in before]}))
"""
_IMPORTS = """
import contextlib, importlib, json, sys, time
from pointsman import Agent
modules, start = json.load(open(sys.argv[1])), time.perf_counter()
for name in modules:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
print(json.dumps({"took": time.perf_counter() - start}))
"""


def main() -> None:
    """Measure and print."""
    rounds = options(__doc__, rounds=(5, "pairs of processes")).rounds
    with provider() as played, tempfile.TemporaryDirectory() as folder:
        played.play([{"answer": "On its way."}])
        environment = {
            **os.environ,
            **simulated(played.url, "openai"),
            "HOME": folder,
            "POINTSMAN_STATE": f"{folder}/state",
        }
        calls, imports = [], []
        for turn in range(rounds + 1):
            call = _run(_CALL, folder, environment)
            needed = Path(folder, "modules.json")
            needed.write_text(json.dumps(call["modules"]))
            imported = _run(_IMPORTS, folder, environment, str(needed))
            # The first round reads the files from disk.
            if turn:
                calls.append(call["took"])
                imports.append(imported["took"])
    ratio = statistics.median(call / needs for call, needs in zip(calls, imports, strict=True))
    rows = [[name, f"{statistics.median(times):.2f}"] for name, times in (("first call", calls), ("imports", imports))]
    print(table(["seconds, median", ""], rows))
    met = ratio <= RATIO_BAR and statistics.median(calls) <= SECONDS_BAR
    print(f"\n{'met' if met else 'MISSED'}: {ratio:.2f} times its imports (bars {RATIO_BAR} and {SECONDS_BAR:.0f} s)")


def _run(program: str, folder: str, environment: dict[str, str], *words: str) -> dict[str, Any]:
    command = [sys.executable, "-c", program, *words]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(ran.stderr)
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


if __name__ == "__main__":
    main()
