"""Mutation sampling: does a change of one operator, number or keyword make a test fail?

    python benchmarks/mutants.py WORK [--most N] [--seed S] [--excuse FILE] [--seconds N] [--tests N]

Needs `pip install cosmic-ray coverage` besides the test dependencies. ``WORK`` is a folder made by the first call: a
copy of the tree, and a virtual environment that imports this copy as the package and all else from the environment of
this script, since an installed wheel would hide every mutant. First a planted mutant must die; then the tests that run
each line are recorded, once (``WORK/lines``).

The sample is drawn by code size over the parts of the package that decide, guard, pay and supervise; the same seed
gives the same sample. Each mutant is tried on the tests that reach its line, most specific first and half a minute of
them in all, until one fails. It died if a test failed, or if its time ran out and the same tests end in that time
without the mutant. Every outcome is a line in ``WORK/outcomes.jsonl``, so that an interrupted call can continue, and a
call with longer ``--tests`` tries surviving mutants on the remaining tests. ``FILE`` excuses mutants that are
equivalent to the original, one per line: ``FILE: THE LINE AS THE MUTANT HAS IT because REASON``.
"""

from __future__ import annotations

import difflib
import json
import os
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from copied_tree import Copy, run_tests
from stage import count, existing, parser, table

if TYPE_CHECKING:
    from coverage import Coverage

_PARTS = ("routing/decide.py", "dispatch/calls", "dispatch/guards", "ledger/budgets", "graphs/supervision")
_TESTS = ("tests/routing", "tests/ledger", "tests/dispatch", "tests/graphs", "tests/agents/test_agents_tokens.py")
_FIRST_SECONDS = 1.0
"""How long the tests of a mutant take together that are tried before the others are imported."""
_MOST_SECONDS = 300.0
"""How long one file of tests may take while its lines are counted."""
_PLANTED = ("routing/decide.py", "tests/routing/test_routing_decide.py")
_ALIVE = ("survived", "unreached")
BAR = 0.85
MOST_EXCUSED = 0.05

Reach = dict[str, dict[str, list[str]]]
"""File -> line -> the tests that run it, in the order of `_order`."""


@dataclass(frozen=True)
class Mutant:
    """A place where an operator can change a file.

    Attributes:
        file: Relative to the root of the package.
        operator: Name of cosmic-ray's operator.
        occurrence: Index among the places in the file that the operator can change.
        line: The line it changes.
    """

    file: str
    operator: str
    occurrence: int
    line: int

    @property
    def name(self) -> str:
        """Return its name in the outcomes."""
        return f"{self.file}:{self.line} {self.operator.removeprefix('core/')} {self.occurrence}"


def files(tree: Path) -> list[str]:
    """Return the files that mutants are drawn from."""
    found = [
        path for part in _PARTS for path in ([tree / part] if part.endswith(".py") else (tree / part).glob("*.py"))
    ]
    return sorted(str(path.relative_to(tree)) for path in found if path.name != "__init__.py")


def mutants(tree: Path, seed: int) -> list[Mutant]:
    """Return every mutant of the sampled files in random order, a file being as likely as its share of the code."""
    draw = random.Random(seed)
    waiting = {file: _of(tree / file, file) for file in files(tree)}
    for found in waiting.values():
        draw.shuffle(found)
    size = {file: sum(bool(line.strip()) for line in (tree / file).read_text().splitlines()) for file in waiting}
    order = []
    while any(waiting.values()):
        names = [file for file, found in waiting.items() if found]
        [file] = draw.choices(names, [size[name] for name in names])
        order.append(waiting[file].pop())
    lines = {file: (tree / file).read_text(encoding="utf-8").splitlines() for file in waiting}
    return [one for one in order if not _marker(one, lines[one.file][one.line - 1])]


def _of(path: Path, file: str) -> list[Mutant]:
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.plugins import get_operator, operator_names

    tree = get_ast_from_path(path)
    found = []
    # They come in set order, which differs between processes.
    for name in sorted(operator_names()):
        kind = get_operator(name)
        # Operators with arguments are meant for a project's own names.
        if kind.arguments() or name.endswith("NoOp"):
            continue
        operator = kind()
        spots = (start for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node))
        found += [Mutant(file, name, number, start[0]) for number, start in enumerate(spots)]
    lines = path.read_text(encoding="utf-8").splitlines()
    return [one for one in found if not _annotation(one, lines[one.line - 1])]


def _annotation(mutant: Mutant, line: str) -> bool:
    """Return whether an operator would only change a type annotation such as ``X | None``, which is never evaluated."""
    return "_BitOr_" in mutant.operator and any(mark in line for mark in ("->", ": ")) and "{" not in line


def _marker(mutant: Mutant, line: str) -> bool:
    """Return whether an operator would only change the ``*`` between parameters or the annotation of a variable."""
    if "_BitOr_" in mutant.operator:
        return re.match(r"\s*[\w.]+: [^=]*\|[^=]* = [^|]*$", line) is not None
    return "_Mul_" in mutant.operator and re.search(r"(^|[(,])\s*\*,", line) is not None


def code_of(mutant: Mutant, tree: Path) -> str | None:
    """Return the file's code with the mutant in it, or None if cosmic-ray makes no mutant there."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    code: str | None = mutate_code(
        (tree / mutant.file).read_text(encoding="utf-8"), get_operator(mutant.operator)(), mutant.occurrence
    )
    return code


class _Reaching:
    """Records the running test, and the CPU time of each test that passes."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._coverage.switch_context(item.nodeid)
        failed, began = item.session.testsfailed, time.process_time()
        try:
            return (yield)
        finally:
            if item.session.testsfailed == failed:
                self.seconds[item.nodeid] = time.process_time() - began
            self._coverage.switch_context("")


def _reached(wanted: list[str], out: Path, test: str) -> int:
    from coverage import Coverage

    coverage = Coverage(data_file=None, config_file=False, include=wanted, messages=False)
    reaching = _Reaching(coverage)
    coverage.start()
    code = run_tests([test], reaching)
    coverage.stop()
    data = coverage.get_data()
    reach: Reach = {}
    for path in data.measured_files():
        for line, contexts in data.contexts_by_lineno(path).items():
            # Lines that run only on import belong to no test.
            if names := [name for name in contexts if name in reaching.seconds]:
                reach.setdefault(os.path.relpath(path), {})[str(line)] = names
    out.write_text(json.dumps({"reach": reach, "seconds": reaching.seconds}))
    return code


def reaching(copy: Copy) -> tuple[Reach, dict[str, float]]:
    """Return the tests that run each line of the sampled files, and their CPU times; collected once per test file."""
    kept = copy.work / "lines"
    kept.mkdir(exist_ok=True)
    reach: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    seconds: dict[str, float] = {}
    for path in (
        file for part in _TESTS for file in sorted((copy.tree / part).glob("test_*.py")) or [copy.tree / part]
    ):
        out = kept / f"{path.stem}.json"
        name = str(path.relative_to(copy.tree))
        if not out.exists():
            wanted = [str(copy.tree.resolve() / file) for file in files(copy.tree)]
            code, taken = copy.run(_reached, wanted, out, name, seconds=_MOST_SECONDS)
            print(f"lines that {name} runs: {code}, {taken:.0f} s", file=sys.stderr, flush=True)
            if not out.exists():
                out.write_text(json.dumps({"reach": {}, "seconds": {}}))
        found = json.loads(out.read_text())
        seconds |= found["seconds"]
        for file, lines in found["reach"].items():
            for line, tests in lines.items():
                reach[file][line] += tests
    _order(reach, seconds)
    return {file: dict(lines) for file, lines in reach.items()}, seconds


def _order(reach: Mapping[str, Mapping[str, list[str]]], seconds: dict[str, float]) -> None:
    """Sort each line's tests by the share of their lines that is in its file, highest first, then quickest first."""
    inside = {file: Counter(test for tests in lines.values() for test in tests) for file, lines in reach.items()}
    everywhere: Counter[str] = sum(inside.values(), Counter())
    for file, lines in reach.items():
        for tests in lines.values():
            tests.sort(key=lambda test: (-inside[file][test] / everywhere[test], seconds[test]))


def planted(copy: Copy) -> None:
    """Break a file so that its test must fail.

    Raises:
        SystemExit: The test did not fail, or fails without the mutant, so no outcome would mean anything.
    """
    file, test = _PLANTED
    if copy.tests([test])[0] != 0:
        raise SystemExit(f"{test} fails without any mutant: see {copy.work / 'output.txt'}")
    code = (copy.tree / file).read_text(encoding="utf-8")
    with copy.mutated(file, code + "\n\ndef decide(*_, **__):\n    raise RuntimeError('planted')\n"):
        if copy.tests([test])[0] == 0:
            raise SystemExit("the planted mutant survived: the tests do not run the copied tree")


def tried(
    copy: Copy, mutant: Mutant, tests: list[str], seconds: dict[str, float], before: int = 0
) -> dict[str, object]:
    """Return the outcome of one mutant: died, timed out, survived, unreached by any test, or none if invalid.

    Args:
        copy: The tree to make it in.
        mutant: The change.
        tests: The tests to try it on.
        seconds: How long each test takes.
        before: How many of them it has already survived.
    """
    code = code_of(mutant, copy.tree)
    if code is None or not _compiles(code):
        return {**asdict(mutant), "name": mutant.name, "outcome": "none", "tests": 0}
    original = (copy.tree / mutant.file).read_text(encoding="utf-8").splitlines()
    diff = list(difflib.unified_diff(original, code.splitlines(), mutant.file, mutant.file, n=1, lineterm=""))
    outcome, by = ("survived" if tests else "unreached"), ""
    for some in _batches(tests[before:], seconds):
        with copy.mutated(mutant.file, code):
            ended, limit = _ended(copy, some, seconds)
        if ended is None and copy.tests(some, seconds=limit)[0] == 0:
            outcome = "timed out"
            break
        if ended not in (0, None):
            outcome, by = "died", _failed(copy.work / "output.txt")
            break
    return {**asdict(mutant), "name": mutant.name, "outcome": outcome, "by": by, "tests": len(tests), "diff": diff[2:]}


def _compiles(code: str) -> bool:
    """Return whether the code is valid Python: the operators also change ``*`` and ``**`` that are not arithmetic."""
    try:
        compile(code, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _ended(copy: Copy, tests: list[str], seconds: dict[str, float]) -> tuple[int | None, float]:
    limit = 20 + 10 * sum(seconds[test] for test in tests)
    return copy.tests(tests, seconds=limit)[0], limit


def _batches(tests: list[str], seconds: dict[str, float]) -> Iterator[list[str]]:
    """Yield the first few tests, then the others: a mutant killed by the first needs no other test file imported."""
    first = sum(taken <= _FIRST_SECONDS for taken in accumulate(seconds[test] for test in tests)) or 1
    yield from (some for some in (tests[:first], tests[first:]) if some)


def _failed(output: Path) -> str:
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", output.read_text(errors="replace"), re.MULTILINE)
    return found.group(1) if found else ""


def _tests_of(mutant: Mutant, reach: Reach, seconds: dict[str, float], most: float) -> list[str]:
    """Return the tests that run a mutant's line; for a line without tests, those of the nearest line that has some."""
    lines = reach.get(mutant.file, {})
    nearest = min(lines, key=lambda line: abs(int(line) - mutant.line), default=None)
    tests = [] if nearest is None else lines[nearest]
    together = accumulate(seconds[test] for test in tests)
    return [test for test, taken in zip(tests, together, strict=True) if taken <= most] or tests[:1]


def _excuses(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "#"]
    pairs = [line.rpartition(" because ") for line in lines]
    if bad := [line for line, (name, _, reason) in zip(lines, pairs, strict=True) if not name or not reason.strip()]:
        raise SystemExit(f"{path}: write FILE: LINE because REASON, not: {bad[0]}")
    return {name.strip(): reason.strip() for name, _, reason in pairs}


def _excuse(outcome: Mapping[str, Any], excused: Mapping[str, str]) -> str | None:
    """Return why a mutant need not die; None if it is not excused."""
    if outcome["outcome"] not in _ALIVE:
        return None
    return excused.get(f"{outcome['file']}: {' '.join(line[1:].strip() for line in outcome['diff'] if line[0] == '+')}")


def _print(outcomes: list[dict[str, object]], excused: dict[str, str]) -> None:
    kinds = ("died", "timed out", "survived", "unreached", "excused")
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in outcomes:
        counted[str(one["file"])]["excused" if _excuse(one, excused) else str(one["outcome"])] += 1
    total: Counter[str] = sum(counted.values(), Counter())
    rows = [[file, *(str(counts[kind]) for kind in kinds)] for file, counts in sorted(counted.items())]
    print(table(["", *kinds], [*rows, ["all", *(str(total[kind]) for kind in kinds)]]))
    for one in outcomes:
        if one["outcome"] in _ALIVE:
            reason = _excuse(one, excused)
            print(f"\n{one['outcome']}: {one['name']}" + (f" (excused: {reason})" if reason else ""))
            print(*one["diff"], sep="\n")  # type: ignore[misc]
    number = total.total()
    dead = (total["died"] + total["timed out"]) / max(1, number - total["excused"])
    met = dead >= BAR and total["excused"] <= MOST_EXCUSED * number
    print(f"\n{'met' if met else 'MISSED'}: {dead:.1%} of {number - total['excused']} died (bar {BAR:.0%}), ", end="")
    print(f"{total['excused']} of {number} excused (at most {MOST_EXCUSED:.0%})")


def main() -> None:
    """Draw mutants, try them and print the outcomes."""
    arguments = parser(__doc__)
    arguments.add_argument("work", type=Path, help="folder of the copied tree and the outcomes")
    arguments.add_argument("--most", type=count, default=300, help="mutants to try (default 300)")
    arguments.add_argument("--seed", type=int, default=9, help="of the draw (default 9)")
    arguments.add_argument(
        "--excuse", type=existing, help="file of excused mutants, a line each: FILE: LINE because REASON"
    )
    arguments.add_argument("--seconds", type=float, help="stop trying further mutants after that long")
    arguments.add_argument(
        "--tests", type=float, default=30, help="seconds the tests of a mutant take together (default 30)"
    )
    options = arguments.parse_args()
    if missing := [name for name in ("cosmic-ray", "coverage") if find_spec(name.replace("-", "_")) is None]:
        arguments.error(f"it needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    excused = _excuses(options.excuse)
    copy = Copy(options.work.absolute())
    copy.make()
    if Path(sys.executable) != copy.python:
        os.execv(copy.python, [str(copy.python), *sys.orig_argv[1:]])
    planted(copy)
    reach, seconds = reaching(copy)
    until = time.monotonic() + (options.seconds or float("inf"))
    kept = copy.work / "outcomes.jsonl"
    known: dict[str, dict[str, Any]] = {}
    if kept.exists():
        known = {one["name"]: one for one in map(json.loads, kept.read_text().splitlines())}
    outcomes = []
    for mutant in mutants(copy.tree, options.seed):
        if len(outcomes) == options.most or time.monotonic() > until:
            break
        tests, before = _tests_of(mutant, reach, seconds, options.tests), known.get(mutant.name, {"tests": 0})
        alive = before.get("outcome") in _ALIVE and not _excuse(before, excused)
        if "outcome" not in before or (alive and before["tests"] < len(tests)):
            known[mutant.name] = tried(copy, mutant, tests, seconds, before["tests"])
            with kept.open("a") as file:
                file.write(json.dumps(known[mutant.name]) + "\n")
            print(
                f"{len(outcomes) + 1:>4} {known[mutant.name]['outcome']:<10}{mutant.name}", file=sys.stderr, flush=True
            )
        if known[mutant.name]["outcome"] != "none":
            outcomes.append(known[mutant.name])
    _print(outcomes, excused)


if __name__ == "__main__":
    main()
