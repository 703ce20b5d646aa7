"""The time that the sandbox adds to a command: a confined ``true`` against a plain one, in alternation.

    python benchmarks/sandbox_startup.py --rounds 200

Both are started from the same event loop with the same bash; a round is one plain and one confined command. Reported
are the median of the differences and the difference that 95 % of the rounds stay below: in a small workspace, in one
with 2,000 files and 40 protected paths, with a domain allowed, and with 1,000 protected files.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pointsman.tools import Sandbox, Workspace, probe
from pointsman.tools.sandbox.confined import Confined
from stage import options, table


def main() -> None:
    """Measure and print; ends with code 1 if the median of the small workspace is above the bound."""
    given = options(__doc__, rounds=(200, "pairs of commands"), bound=(25.0, "milliseconds of a small workspace"))
    print(probe())
    if not probe().working:
        sys.exit(1)
    found = asyncio.run(_measured(given.rounds))
    rows = [[name, *(f"{value:.1f}" for value in _summary(pairs))] for name, pairs in found.items()]
    print(table(["workspace", "plain ms", "confined ms", "difference ms", "p95 ms"], rows))
    sys.exit(_summary(found["small"])[2] > given.bound)


def _summary(pairs: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    differences = sorted(confined - plain for plain, confined in pairs)
    middle = [statistics.median(side) for side in zip(*pairs, strict=True)]
    return middle[0], middle[1], statistics.median(differences), differences[int(len(differences) * 0.95)]


async def _measured(rounds: int) -> dict[str, list[tuple[float, float]]]:
    bash = str(shutil.which("bash"))
    environment = {"PATH": os.environ["PATH"]}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, place, sandbox in _workspaces(Path(folder)):
            confined = Confined(Workspace(place), sandbox, bash=bash, kept=1_000)
            await confined.run("true", environment)
            pairs = []
            for _ in range(rounds):
                begun = time.perf_counter()
                await _plain(bash, environment)
                between = time.perf_counter()
                result = await confined.run("true", environment)
                pairs.append(((between - begun) * 1e3, (time.perf_counter() - between) * 1e3))
                assert result.exit_code == 0, result
            found[name] = pairs
    return found


async def _plain(bash: str, environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(bash, "--noprofile", "--norc", "-c", "true"),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await process.communicate()


def _workspaces(folder: Path) -> Iterator[tuple[str, Path, Sandbox]]:
    small = folder / "small"
    (small / ".git").mkdir(parents=True)
    yield "small", small, Sandbox()
    large = folder / "large"
    for number in range(40):
        (large / f"part{number}" / "__pycache__").mkdir(parents=True)
        for file in range(50):
            (large / f"part{number}" / f"file{file}.py").touch()
    time.sleep(0.1)  # recently changed folders are scanned again
    yield "2,000 files, 40 protected", large, Sandbox()
    yield "small, a domain allowed", small, Sandbox(domains=("example.org",))
    crowded = folder / "crowded"
    for number in range(1_000):
        (crowded / f"part{number}").mkdir(parents=True)
        (crowded / f"part{number}" / "Makefile").touch()
    yield "1,000 protected files", crowded, Sandbox()


if __name__ == "__main__":
    main()
