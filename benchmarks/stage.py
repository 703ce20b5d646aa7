"""Shared by the benchmarks: the loopback provider in a process of its own, and one worker process per contender."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

__all__ = [
    "Provider",
    "Worker",
    "WorkerFailed",
    "at_work",
    "count",
    "existing",
    "options",
    "parser",
    "program",
    "provider",
    "simulated",
    "table",
    "verdict",
]

_WORKER = Path(__file__).with_name("worker.py")
_SERVE = "from pointsman.simulator import serve; serve(None, port=0, ready=lambda url: print(url, flush=True))"


class WorkerFailed(RuntimeError):
    """A contender could not be built or measured."""


class Provider:
    """The simulator, whose scenario can be changed while it runs.

    Args:
        url: The URL it listens on.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def play(self, rules: Sequence[dict[str, Any]], *unlimited: str) -> None:
        """Set the rules of the scenario, and reset its counts and log.

        Args:
            rules: Rules as in a scenario file.
            unlimited: Vendors whose rate limit, as given in headers, is too high to be reached.
        """
        limit = {"requests_per_minute": 100_000_000, "burst": 100_000_000}
        scenario = {"rules": rules, "rate_limits": dict.fromkeys(unlimited, limit)}
        self._ask("PUT", "scenario", json.dumps(scenario).encode())
        self._ask("DELETE", "log")

    def log(self) -> list[dict[str, Any]]:
        """Return the log of requests served since the scenario was set."""
        records: list[dict[str, Any]] = json.loads(self._ask("GET", "log"))
        return records

    def _ask(self, method: str, name: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self.url}/_pointsman/{name}", data=body, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
            return content


@contextmanager
def provider() -> Iterator[Provider]:
    """Start the simulator in a process of its own, so that its CPU time is not the client's."""
    process = subprocess.Popen([sys.executable, "-c", _SERVE], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit("the simulator did not start: is pointsman installed for this Python?")
        yield Provider(url)
    finally:
        process.terminate()
        process.wait()


def simulated(url: str, *vendors: str) -> dict[str, str]:
    """Return the environment of a project whose vendors are simulated: fake keys, and the simulator's URLs."""
    made = {}
    for vendor in vendors:
        path = "" if vendor in ("anthropic", "google") else "/v1"
        made[f"{vendor.upper()}_API_KEY"] = "not-a-real-key"
        made[f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL"] = f"{url}/{vendor}{path}"
    return made


class Worker:
    """A process that runs one contender and carries out orders, block by block.

    Args:
        contender: Its name in `contenders`.
        python: The interpreter, for a contender that needs another environment.
    """

    def __init__(self, contender: str, python: str = sys.executable) -> None:
        self.contender = contender
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        try:
            self._process = subprocess.Popen(
                [python, str(_WORKER), contender],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            raise WorkerFailed(f"{python} cannot be run: {error.strerror}") from None

    def tell(self, **order: Any) -> dict[str, Any]:
        """Send one order and return its result.

        Raises:
            WorkerFailed: The contender raised, or its process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            raise WorkerFailed(f"{self.contender}: {said[-1] if said else 'its process ended'}")
        result: dict[str, Any] = json.loads(line)
        return result

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()


@contextmanager
def at_work(workers: Iterable[Worker]) -> Iterator[None]:
    """End the workers after the block, except those removed from the collection meanwhile."""
    try:
        yield
    finally:
        for worker in workers:
            worker.close()


def verdict(met: bool, text: str) -> str:
    """Return a line that says whether a bar was met."""
    return f"{'met   ' if met else 'MISSED'} {text}"


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return the parser of a script's arguments.

    Args:
        about: The description for ``--help``.
    """
    return argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)


def existing(given: str) -> Path:
    """Return the path of a file or folder that an argument names; there must be one."""
    path = Path(given)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no {given}")
    return path


def program(given: str) -> str:
    """Return the path of a program that an argument names; it can be run."""
    path = shutil.which(given)
    if path is None:
        raise argparse.ArgumentTypeError(f"{given} is no program that can be run")
    return path


def count(given: str, least: int = 1) -> int:
    """Return the number of things that an argument gives."""
    if not given.isdecimal() or int(given) < least:
        raise argparse.ArgumentTypeError(f"{given!r} is not a whole number from {least} on")
    return int(given)


def options(about: str | None, *, least: int = 1, **each: tuple[Any, str]) -> argparse.Namespace:
    """Read the options of a script.

    Args:
        about: The description for ``--help``.
        least: The least that a whole number may be whose default is not zero.
        each: Option -> its default, which also gives its type, and its help; if the default is False it is a flag.
    """
    read = parser(about)
    for name, (default, what) in each.items():
        kind = partial(count, least=least) if isinstance(default, int) and default else type(default)
        form: Any = {"type": kind, "default": default, "help": f"{what} (default {default})"}
        read.add_argument(f"--{name}", **({"action": "store_true", "help": what} if default is False else form))
    return read.parse_args()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format rows as a Markdown table, with all columns but the first aligned right."""
    body = [list(row) for row in rows]
    widths = [max(len(line[column]) for line in [list(head), *body]) for column in range(len(head))]
    lines = [
        list(head),
        ["-" * (width - 1) + ":" if place else "-" * width for place, width in enumerate(widths)],
        *body,
    ]
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    )
