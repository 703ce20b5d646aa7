"""Real processes are killed at each point, doubled and stopped: the short form of ``benchmarks/kills.py``."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.ledger.points import Point
from pointsman.simulator import Fault, Match, Rule, Scenario, Simulator

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ACTS_AT = (Point.BEGIN, Point.INTENT, Point.ACT, Point.OUTCOME, Point.CHECKPOINT, Point.LEDGER)
CALLS = 14
"""Model calls of a run that nobody kills."""


class Process:
    """A program that looks like a process of multiprocessing."""

    def __init__(self, program: Any) -> None:
        self._program = program
        self.pid = program.pid

    def kill(self) -> None:
        self._program.kill()

    def join(self) -> None:
        self._program.communicate(timeout=240)

    def is_alive(self) -> bool:
        return bool(self._program.poll() is None)


@pytest.fixture
def kills(programs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("kills")

    def start(case: Any, **more: Any) -> Process:
        words = [BENCHMARKS / "killed.py", json.dumps(case.order(**more))]
        quiet = subprocess.DEVNULL
        return Process(programs.start(words, stdin=quiet, stdout=quiet, stderr=quiet, cwd=BENCHMARKS, text=True))

    monkeypatch.setattr(module.Case, "start", start)
    yield module
    for name in ("kills", "killed", "stage"):
        sys.modules.pop(name, None)


@pytest.fixture
def played(kills: Any, simulator: Simulator) -> Simulator:
    simulator.scenario = kills.brain()
    return simulator


@pytest.fixture
def case(kills: Any, played: Simulator) -> Iterator[Any]:
    yield from kills.cases(played, 1)


@pytest.mark.parametrize("point", ACTS_AT, ids=str)
def test_a_run_that_is_killed_loses_and_repeats_nothing_and_asks_about_what_nobody_knows(
    kills: Any, played: Simulator, point: Point
) -> None:
    count = kills.killed_at(played, point, 1, CALLS)
    assert (count.lost, count.repeated, count.runs) == (0, 0, 1)
    if point in (Point.ACT, Point.OUTCOME):
        assert count.asked >= 1
    elif point is Point.LEDGER:
        assert count.asked == 0
    assert set(count.ended) <= {"done", "rejected"}


def test_a_verdict_that_was_given_before_an_act_is_not_asked_for_again_where_the_run_is_killed_before_the_act(
    case: Any, played: Simulator
) -> None:
    # The third act is the only one at its time, so no other call is in flight.
    assert case.work(point=Point.INTENT, nth=3) is None
    assert sum(case.marks.values()) == 2
    assert case.work(run=case.run)["status"] == "done"
    assert (len(played.log), sorted(case.marks.elements())) == (CALLS, ["a", "b", "c"])


def test_a_run_that_is_killed_before_its_graph_begins_begins_when_it_is_taken_up(case: Any, played: Simulator) -> None:
    assert case.work(point=Point.BEGIN) is None
    assert case.work(point=Point.BEGIN, run=case.run) is None
    assert len(played.log) == 0
    told = case.work(run=case.run)
    assert (told["status"], told["run"], told["calls"]) == ("done", case.run, CALLS)
    assert (len(played.log), sorted(case.marks.elements())) == (CALLS, ["a", "b", "c"])


def test_a_run_whose_checkpoints_are_gone_does_not_begin_anew(case: Any, played: Simulator) -> None:
    assert case.work(point=Point.INTENT, nth=3) is None
    made, marks = len(played.log), case.marks
    for file in (case.folder / "project" / ".pointsman").glob("checkpoints.db*"):
        file.unlink()
    refused = case.work(run=case.run)
    assert (refused["status"], len(played.log), case.marks) == ("ConfigError", made, marks)
    assert "nothing is kept of it any more" in refused["said"]


@pytest.mark.parametrize(("answered", "at_once"), [(0, 1), (1, 2), (3, 2), (5, 2)])
def test_of_a_run_that_is_killed_during_its_first_calls_those_alone_are_made_again(
    kills: Any, case: Any, played: Simulator, answered: int, at_once: int
) -> None:
    played.scenario = Scenario(rules=[Rule(match=Match(after=answered), fault=Fault("hang")), *kills.brain().rules])
    process = case.start()
    kills._wait(lambda: len(played.log) == answered + at_once)
    process.kill()
    process.join()
    played.scenario, made = kills.brain(), len(played.log)
    assert case.work(run=case.run)["status"] == "done"
    assert len(played.log) - made == CALLS - answered
    assert sorted(case.marks.elements()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("point", "way", "perhaps"),
    [
        (Point.QUESTION, "by two at once", 0),
        (Point.LEDGER, "twice", 0),
        (Point.WAITING, "by two at once", 0),
        (Point.ANSWER, "once", 0),
        (Point.ANSWER, "twice", 0),
        (Point.ANSWER, "by two at once", 0),
        (Point.INTENT, "twice", 0),
        (Point.ACT, "by two at once", 1),
        (Point.OUTCOME, "twice", 1),
        (Point.CHECKPOINT, "by two at once", 0),
    ],
)
def test_a_run_that_is_killed_around_an_approval_asks_once_and_acts_once(
    kills: Any, played: Simulator, point: Point, way: str, perhaps: int
) -> None:
    count = kills.killed_around_approval(played, point, 1, [way])
    assert (count.runs, count.lost, count.repeated, count.asked_twice, count.left) == (1, 0, 0, 0, 0)
    # The other act may be under way when the process is killed, and is then asked about, too.
    assert count.asked >= perhaps
    assert set(count.ended) <= ({"done", "rejected"} if point in ACTS_AT[1:5] else {"done"})


def test_three_resumers_of_one_approval_act_once(kills: Any, played: Simulator) -> None:
    said, good = kills.resumed_at_once(played, 1, 3, approve=True)
    assert good, said


def test_of_two_resumers_one_proceeds_and_the_other_names_it(kills: Any, played: Simulator) -> None:
    said, good = kills.resumed_at_once(played, 1, 2)
    assert good, said


def test_a_holder_that_was_stopped_past_its_lease_changes_nothing_once_it_goes_on(
    kills: Any, played: Simulator
) -> None:
    said, good = kills.stopped(played, 1, [Point.ACT])
    assert good, said
    assert "they ended as: 1 RunOwned" in said
