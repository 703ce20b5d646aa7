"""Kill runs, resume them from several processes, stop holders; count acts lost, repeated and asked about.

    python benchmarks/kills.py [--each N] [--asked N] [--random N] [--pairs N] [--triples N] [--stops N]

A planned workflow of four steps runs against the loopback provider; two of its steps act at the same time, one acts
after them. Each act writes a line to a file outside the state, so this file shows what really happened. A killed run
is resumed until it ends; if a person is asked whether to repeat an act that may have happened, they look into that
file. Holders are stopped between two transactions: one stopped inside a transaction holds SQLite's lock, and a process
that wants to write is told after ten seconds to end it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import killed
from pointsman.agents.handoffs import waits_for_approval
from pointsman.agents.lease.lease import LEASE_SECONDS
from pointsman.ledger import Ledger
from pointsman.ledger.points import Point
from pointsman.ledger.rows import HandoffRow
from pointsman.simulator import Answer, Rule, Scenario, Simulator
from stage import options, table

STEPS = [("a", "actor", ()), ("b", "actor", ()), ("c", "actor", ("a", "b")), ("d", "thinker", ("c",))]
ACTING = {"a", "b", "c"}
_MOST_PARTS = 12
_PERHAPS = "may have been done already"
_HELD = "another process has held it"
ACTS_AT = (Point.BEGIN, Point.INTENT, Point.ACT, Point.OUTCOME, Point.CHECKPOINT, Point.LEDGER)
ASKS_AT = (Point.QUESTION, Point.LEDGER, Point.WAITING, Point.ANSWER, *ACTS_AT[1:5])
WAYS = ("once", "twice", "by two at once")
"""How a run that was killed around an approval is taken up, before a person answers anything more."""
_STOPPED_AT = (Point.INTENT, Point.ACT, Point.OUTCOME, Point.CHECKPOINT)
_context = multiprocessing.get_context("forkserver")


@dataclass
class Case:
    """One run, its state and its effects outside the state."""

    folder: Path
    url: str
    effect: str = "write"
    orders: list[Path] = field(default_factory=list)

    def order(self, **more: Any) -> dict[str, Any]:
        """Return an order for `killed.work`."""
        told = self.folder / f"told{len(self.orders)}"
        self.orders.append(told)
        state = self.folder / "project"
        state.mkdir(exist_ok=True)
        given = {"folder": state, "marks": self.folder / "marks", "told": told}
        return {**{name: str(path) for name, path in given.items()}, "url": self.url, "effect": self.effect, **more}

    def start(self, **more: Any) -> Any:
        """Start a process that works on the run."""
        process = _context.Process(target=killed.work, args=(self.order(**more),))
        process.start()
        return process

    def work(self, **more: Any) -> dict[str, Any] | None:
        """Work on the run in a process, and return what it reported; None if it was killed."""
        process = self.start(**more)
        process.join()
        return self.told(-1)

    def told(self, place: int) -> dict[str, Any] | None:
        """Return what a process reported; None if it was killed."""
        file = self.orders[place]
        return json.loads(file.read_text().splitlines()[-1]) if file.exists() else None

    @property
    def marks(self) -> Counter[str]:
        """Return how often each step was marked."""
        file = self.folder / "marks"
        return Counter(file.read_text().split()) if file.exists() else Counter()

    @property
    def run(self) -> str | None:
        """Return the run's id, or None until the ledger has it."""
        file = self.folder / "project" / ".pointsman" / "ledger.db"
        if not file.exists():
            return None
        with Ledger(file) as ledger:
            return next((row.id for row in ledger.runs()), None)

    def questions(self) -> list[HandoffRow]:
        """Return the ledger's rows of what a person was asked."""
        with Ledger(self.folder / "project" / ".pointsman" / "ledger.db") as ledger:
            return [row for row in ledger.handoffs() if waits_for_approval(row)]

    def rows(self) -> dict[str, int]:
        """Return how many rows the tables of the ledger and the checkpoints have."""
        found = {}
        for name, tables in (
            ("ledger.db", ("runs", "decisions", "calls", "effects", "handoffs", "kept")),
            ("checkpoints.db", ("checkpoints", "writes")),
        ):
            with closing(sqlite3.connect(self.folder / "project" / ".pointsman" / name)) as raw:
                found.update({one: raw.execute(f"SELECT count(*) FROM {one}").fetchone()[0] for one in tables})
        return found


@dataclass
class Count:
    """The outcome of several runs."""

    runs: int = 0
    lost: int = 0
    repeated: int = 0
    asked: int = 0
    paid_twice: int = 0
    ended: Counter[str] = field(default_factory=Counter)

    def row(self, name: str) -> list[str]:
        """Return one line of the table."""
        ends = ", ".join(f"{number} {status}" for status, number in sorted(self.ended.items()))
        return [name, *map(str, self.numbers), ends]

    @property
    def numbers(self) -> Sequence[int]:
        """Return the figures of that line."""
        return self.runs, self.lost, self.repeated, self.asked, self.paid_twice

    @property
    def bad(self) -> int:
        """Return how many outcomes are not allowed."""
        return self.lost + self.repeated


@dataclass
class Questions(Count):
    """The outcome of runs whose acts wait for a person."""

    asked_twice: int = 0
    left: int = 0

    @property
    def numbers(self) -> Sequence[int]:
        """Return the figures of its line."""
        return self.runs, self.lost, self.repeated, self.asked, self.asked_twice, self.left

    @property
    def bad(self) -> int:
        """Return how many outcomes are not allowed."""
        return super().bad + self.asked_twice + self.left


HEAD = ["killed", "runs", "acts lost", "acts repeated", "acts asked about", "calls paid again", "ended"]
ASKED = ["killed", "runs", "acts lost", "acts repeated", "acts asked about", "asked twice", "left in queue", "ended"]


def brain() -> Scenario:
    """Return models that plan the four steps, call the tool once in each step that has it, and approve everything."""

    def answer(request: Any) -> Answer:
        offered = {one.name for one in request.tools}
        if "Plan" in offered:
            steps = [{"id": i, "agent": a, "instruction": f"do {i}!", "needs": list(n)} for i, a, n in STEPS]
            return Answer(tool_calls=[{"name": "Plan", "arguments": {"steps": steps}}])
        if "Verdict" in offered:
            return Answer(tool_calls=[{"name": "Verdict", "arguments": {"ok": True, "reason": "it holds"}}])
        step = next((name for name, *_ in STEPS if f"do {name}!" in request.user_text), "x")
        if request.tool_results or "mark" not in offered:
            return Answer(text=f"so it is with {step}")
        return Answer(tool_calls=[{"name": "mark", "arguments": {"step": step}}])

    return Scenario(rules=[Rule(answer=answer)])


def cases(simulator: Simulator, number: int, effect: str = "write") -> Iterator[Case]:
    """Yield runs, each with a state of its own, one after another."""
    for _ in range(number):
        with tempfile.TemporaryDirectory() as folder:
            simulator.log.clear()
            yield Case(Path(folder), simulator.base_url, effect)


def taken_up(case: Case, simulator: Simulator, count: Count, calls: int) -> None:
    """Resume a killed run until it ends, as a person who checks before answering, and count the outcome."""
    count.runs += 1
    run, answer = case.run, None
    told: dict[str, Any] | None = None
    for _ in range(_MOST_PARTS):
        told = case.work(run=run, answer=answer)
        if told is None or told["status"] != "pending":
            break
        perhaps = [step for step, reason in told["pending"] if _PERHAPS in reason]
        count.asked += len(perhaps)
        answer = "reject" if any(case.marks[step] for step in perhaps) else "approve"
    count.ended[str(told and told["status"])] += 1
    count.repeated += sum(number - 1 for number in case.marks.values())
    if told is not None and told["status"] == "done":
        count.lost += len(ACTING - set(case.marks))
    # Calls in flight when it was killed, at most one in each of two parallel steps, are made again.
    count.paid_twice += max(0, len(simulator.log) - calls)


def killed_at(simulator: Simulator, point: str, number: int, calls: int) -> Count:
    """Kill runs at a point, at each act in turn, and count the outcomes."""
    count = Count()
    for place, case in enumerate(cases(simulator, number)):
        nth = 1 if point in (Point.BEGIN, Point.LEDGER) else place % len(ACTING) + 1
        assert case.work(point=point, nth=nth) is None, "it was not killed"
        taken_up(case, simulator, count, calls)
    return count


def killed_around_approval(simulator: Simulator, point: Point, number: int, ways: Sequence[str] = WAYS) -> Questions:
    """Kill runs whose acts wait for a person at a point, with each act and each way to resume in turn."""
    count = Questions()
    for place, case in enumerate(cases(simulator, number, "destructive")):
        # Two acts wait at the same time; only once does a part of the run end and receive answers.
        nth = 1 if point in (Point.LEDGER, Point.WAITING, Point.ANSWER) else 1 + place // len(ways) % 2
        answered, told = Counter[str](), case.work(point=point, nth=nth)
        while told is not None:
            assert told["status"] == "pending", "it was not killed"
            told = _approved(case, answered, told, point=point, nth=nth)
        count.runs += 1
        perhaps, told = 0, _taken_up(case, ways[place % len(ways)])
        while told is not None and told["status"] == "pending":
            unknown = [step for step, reason in told["pending"] if _PERHAPS in reason]
            answered.subtract(unknown)
            perhaps += len(unknown)
            told = _approved(case, answered, told)
        count.asked += perhaps
        count.ended[str(told and told["status"])] += 1
        count.repeated += sum(times - 1 for times in case.marks.values())
        count.lost += len(ACTING - set(case.marks)) if told and told["status"] == "done" else 0
        count.asked_twice += sum(times - 1 for times in answered.values())
        count.left += sum(not row.done for row in case.questions())
        # Each act is one question, however often it is asked; questions about acts that may have happened are extra.
        count.asked_twice += max(0, len(case.questions()) - len(ACTING) - perhaps)
    return count


def _approved(case: Case, answered: Counter[str], told: dict[str, Any], **more: Any) -> dict[str, Any] | None:
    """Answer everything that waits, after checking which of the acts that may have happened did."""
    answered.update(step for step, _ in told["pending"])
    answers = {step: _PERHAPS in reason and case.marks[step] > 0 for step, reason in told["pending"]}
    return case.work(
        run=case.run, answers={step: "reject" if no else "approve" for step, no in answers.items()}, **more
    )


def _taken_up(case: Case, way: str) -> dict[str, Any] | None:
    if way != "by two at once":
        first = case.work(run=case.run)
        return first if way == "once" or first is None or first["status"] != "pending" else case.work(run=case.run)
    run = case.run
    processes = [case.start(run=run) for _ in range(2)]
    for process in processes:
        process.join()
    told = [case.told(place) or {} for place in (-2, -1)]
    # If one came after the other had released the run, both report its status.
    return next(one for one in told if one.get("status") != "RunOwned")


def killed_at_random(simulator: Simulator, number: int, calls: int, took: float) -> Count:
    """Kill runs at a random moment between their first model call and their end, and count the outcomes."""
    count = Count()
    draw = random.Random(7)
    # A kill after the end does not count, and is drawn again.
    for case in cases(simulator, 10 * number):
        if count.runs == number:
            break
        process = case.start()
        _wait(lambda: len(simulator.log) > 0)
        time.sleep(draw.uniform(0.0, took))
        process.kill()
        process.join()
        if case.told(-1) is None:
            taken_up(case, simulator, count, calls)
    return count


def resumed_at_once(simulator: Simulator, number: int, resumers: int, *, approve: bool = False) -> tuple[str, bool]:
    """Let several processes resume a run at the same moment; return a text and whether just one proceeded each time."""
    good, acts = 0, Counter[str]()
    for case in cases(simulator, number, "destructive" if approve else "write"):
        if approve:
            case.work()
            run, before = case.run, 0
        else:
            case.work(point=Point.INTENT, nth=3)
            run, before = case.run, sum(case.marks.values())
        gate = case.folder / "gate"
        answer = "approve" if approve else None
        processes = [case.start(run=run, answer=answer, gate=str(gate)) for _ in range(resumers)]
        # The process that proceeds waits in its act until the others have ended.
        _wait(lambda found=processes: sum(not one.is_alive() for one in found) >= resumers - 1)
        gate.touch()
        for process in processes:
            process.join()
        told = [case.told(place) or {} for place in range(-resumers, 0)]
        owned = [one for one in told if one.get("status") == "RunOwned"]
        named = [one for one in owned if "by process" in one["said"] and " since " in one["said"]]
        acted = sum(case.marks.values()) - before
        acts[str(acted)] += 1
        good += len(owned) == len(named) == resumers - 1 and max(case.marks.values()) == 1
    name = f"{number} times {resumers} resumers" + (" of one approval" if approve else "")
    return f"{name}: one proceeded and the others named it {good} times", good == number


def resumed_while_running(simulator: Simulator, number: int) -> tuple[str, bool]:
    """Try to resume runs that are still running."""
    good = 0
    for case in cases(simulator, number):
        gate = case.folder / "gate"
        process = case.start(gate=str(gate))
        _wait(lambda found=case: bool(found.marks))
        second = case.work(run=case.run)
        gate.touch()
        process.join()
        named = second is not None and second["status"] == "RunOwned" and f"process {process.pid} on" in second["said"]
        good += named and max(case.marks.values()) == 1
    return f"{number} times resumed while it runs: refused with its name {good} times", good == number


def stopped(simulator: Simulator, number: int, points: Sequence[Point] = _STOPPED_AT) -> tuple[str, bool]:
    """Stop holders past the end of their lease, take their runs over, and let them continue."""
    good, held, marks_after, rows_after, ends = 0, 0, 0, 0, Counter[str]()
    for place, case in enumerate(cases(simulator, number)):
        point = points[place % len(points)]
        holder = case.start(point=point, nth=3, signal=signal.SIGSTOP)
        _wait(lambda pid=holder.pid: _state(pid) == "T")
        run = case.run
        early = case.work(run=run)
        taker = case.work(run=run, ahead=LEASE_SECONDS + 1)
        before, rows = sum(case.marks.values()), case.rows()
        os.kill(holder.pid, signal.SIGCONT)
        holder.join()
        said = case.told(0) or {}
        ends[str(said.get("status"))] += 1
        if any(_HELD in (one or {}).get("said", "") for one in (early, taker)):
            # It was stopped inside a transaction of a thread that none of this process's locks holds back.
            held += 1
            good += max(case.marks.values()) == 1
            continue
        marks_after += sum(case.marks.values()) - before
        rows_after += case.rows() != rows
        reported = taker is not None and (
            taker["status"] == "done" or any("may have been done" in reason for _, reason in taker.get("pending", ()))
        )
        good += reported and early is not None and early["status"] == "RunOwned" and max(case.marks.values()) == 1
    name = f"{number} holders stopped and taken over: {good} as they should"
    ended = ", ".join(f"{number} {status}" for status, number in ends.items())
    told = (
        f"{name}, {held} of them while they held a file, so that others were told to end them; after SIGCONT "
        f"{rows_after} of the rest wrote rows, {marks_after} acts happened; they ended as: {ended}"
    )
    return told, good == number and rows_after == 0


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _wait(happened: Any, seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise SystemExit("it never happened")
        time.sleep(0.005)


def main() -> int:
    """Measure and print; ends with code 1 if anything was lost or repeated."""
    given = options(
        __doc__,
        least=0,
        each=(12, "kills at each point"),
        asked=(6, "kills at each point around an approval"),
        random=(50, "kills at random moments"),
        pairs=(50, "pairs of resumers"),
        triples=(20, "triples of resumers"),
        stops=(12, "holders that are stopped"),
    )
    _context.set_forkserver_preload(
        ["killed", "pointsman.graphs.supervision.supervisor", "langchain_openai", "langchain_anthropic"]
    )
    with Simulator(brain()) as simulator:
        for case in cases(simulator, 2):
            process = case.start()
            _wait(lambda: len(simulator.log) > 0)
            began = time.monotonic()
            process.join()
            calls, took = len(simulator.log), time.monotonic() - began
        counts = {f"before {point}": killed_at(simulator, point, given.each, calls) for point in ACTS_AT}
        counts["at random"] = killed_at_random(simulator, given.random, calls, took)
        asked = {f"before {point}": killed_around_approval(simulator, point, given.asked) for point in ASKS_AT}
        print(f"\nA run makes {calls} model calls.\n")
        print(table(HEAD, [count.row(name) for name, count in counts.items() if count.runs]), "\n")
        print(table(ASKED, [count.row(name) for name, count in asked.items() if count.runs]), "\n")
        told = [
            resumed_at_once(simulator, given.pairs, 2),
            resumed_at_once(simulator, given.triples, 3),
            resumed_at_once(simulator, given.triples, 3, approve=True),
            resumed_while_running(simulator, given.stops),
            stopped(simulator, given.stops),
        ]
    for said, _ in told:
        print(said)
    bad = sum(count.bad for count in (*counts.values(), *asked.values()))
    return int(bad > 0 or not all(good for _, good in told))


if __name__ == "__main__":
    raise SystemExit(main())
