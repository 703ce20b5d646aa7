"""The cost of a search through many files, against ripgrep on the same files if it is installed.

    python benchmarks/search.py [--files 20000]

The files are copies of Python's standard library in folders of 20. Printed are the seconds of
wall time and of CPU time, child processes included.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pointsman.tools import Workspace, file_tools
from stage import options, table

_LARGEST = 60_000
_PATTERNS = (
    "def there_is_none_of_this",
    r"class \w+\(json.JSONEncoder",
    r"\bself\.\w+_is_nowhere\b",
    "(?i)there_is_none_of_this",
    "nowhere_this|nowhere_that",
)


def make(root: Path, number: int) -> int:
    """Write the files and return their total size in bytes."""
    library = sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
    texts = [text for path in library if len(text := path.read_bytes()) < _LARGEST]
    size = 0
    for place in range(number):
        folder = root / f"part{place // 800}" / f"module{place // 20 % 40}"
        folder.mkdir(parents=True, exist_ok=True)
        size += (folder / f"file{place}.py").write_bytes(texts[place % len(texts)])
    return size


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the seconds of wall time and of CPU time, and the result."""
    wall, before = time.perf_counter(), os.times()
    said = work()
    wall, after = time.perf_counter() - wall, os.times()
    return wall, sum(after[:4]) - sum(before[:4]), said


def main() -> None:
    """Measure and print."""
    number = options(__doc__, files=(20_000, "files to search")).files
    rg = shutil.which("rg")
    with tempfile.TemporaryDirectory() as folder:
        size = make(Path(folder), number)
        print(f"{number} files, {size / 1e6:.0f} MB\n")
        search = next(tool for tool in file_tools(Workspace(folder)) if tool.name == "search_files")
        timed(partial(search.invoke, {"pattern": "warm the cache of files"}))
        rows = []
        for pattern in _PATTERNS:
            wall, cpu, said = timed(partial(search.invoke, {"pattern": pattern}))
            row = [f"`{pattern}`".replace("|", "\\|"), f"{wall:.2f}", f"{cpu:.2f}", said.splitlines()[-1][:40]]
            if rg is not None:
                command = [rg, "--no-config", "-uu", "--text", "-l", "-e", pattern, folder]
                wall, cpu, _ = timed(partial(subprocess.run, command, stdout=subprocess.DEVNULL))
                row += [f"{wall:.2f}", f"{cpu:.2f}"]
            rows.append(row)
        more = [] if rg is None else ["rg s", "rg CPU s"]
        print(table(["pattern", "search_files s", "CPU s", "last line", *more], rows))


if __name__ == "__main__":
    main()
