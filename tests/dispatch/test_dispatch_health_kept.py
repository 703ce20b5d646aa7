"""Health that outlives the process and is shared: kept in the ledger, and routed around over real HTTP."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.schema import HealthLimits
from pointsman.configs.words import FailureKind
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.errors import AllFailed
from pointsman.dispatch.guards.health import Health, HealthKey, Permit
from pointsman.dispatch.model import RoutedChatModel
from pointsman.ledger.health import HealthBook, HealthRow
from pointsman.ledger.ledger import Ledger
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator

Make = Callable[..., Dispatcher]
KEY = HealthKey("openai", "gpt-5.4-mini")
LIMITS = HealthLimits(consecutive=1, jitter=0)


class Clock:
    """Both clocks of a process, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + 1.8e9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def _health(path: Path, clock: Clock, limits: HealthLimits = LIMITS) -> Health:
    return Health(limits, book=HealthBook(path), clock=clock, wall=clock.wall, jitter=lambda: 0.0)


def _permit(health: Health) -> Permit:
    permit = health.allow(KEY)
    assert isinstance(permit, Permit), permit
    return permit


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _kept(path: Path) -> list[HealthRow]:
    return list(HealthBook(path).load())


def _model(home: Dispatcher, **facts: Any) -> RoutedChatModel:
    return RoutedChatModel(kind="transform", dispatcher=home, **facts)


async def _models(home: Dispatcher, calls: int) -> list[str]:
    answers = [await _model(home).ainvoke("Tell me about the Cam") for _ in range(calls)]
    return [answer.response_metadata["pointsman"]["model"] for answer in answers]


def test_what_one_process_found_out_another_knows_from_its_beginning(path: Path) -> None:
    clock = Clock()
    assert _kept(path) == []
    _permit(_health(path, clock)).record(0.1, FailureKind.OVERLOADED)
    _until(lambda: bool(_kept(path)))
    assert _kept(path) == [HealthRow(*KEY, clock.wall() + 5, "1 failures in a row", "ill", 1)]
    clock.now += 2
    heir = _health(path, clock)
    assert heir.allow(KEY) == "circuit open for 3.0 s more: 1 failures in a row"
    clock.now += 3
    _permit(heir).record(0.1, FailureKind.OVERLOADED)
    assert heir.states()[0].retry_in == 10


def test_a_process_that_runs_hears_of_anothers_trouble_and_recovery(path: Path) -> None:
    clock = Clock()
    sick, other = _health(path, clock, HealthLimits(consecutive=1, cool_down=60, jitter=0)), _health(path, clock)
    _permit(other).record(0.1)
    _permit(sick).record(0.1, FailureKind.OVERLOADED)
    _until(lambda: bool(_kept(path)))
    assert isinstance(other.allow(KEY), Permit), "nobody has looked yet"
    clock.now += 3
    _until(lambda: isinstance(other.allow(KEY), str))
    assert other.states()[0].retry_in == 57

    sick.try_now(KEY)
    _permit(sick).record(0.1)
    _until(lambda: not _kept(path))
    clock.now += 4
    _until(lambda: isinstance(other.allow(KEY), Permit))
    assert other.states()[0].state == "half_open"


def test_the_file_is_looked_at_once_in_three_seconds_however_many_calls_are_made(path: Path) -> None:
    clock, looks = Clock(), []

    class Counted(HealthBook):
        def look(self, adopt: Callable[[list[HealthRow]], None]) -> None:
            looks.append(clock.now)

    health = Health(LIMITS, book=Counted(path), clock=clock, wall=clock.wall)
    for _ in range(40):
        clock.now += 0.25
        _permit(health).cancel()
    assert looks == [1003, 1006, 1009]


def test_a_breaker_that_closes_is_no_longer_kept(path: Path) -> None:
    clock = Clock()
    health = _health(path, clock)
    _permit(health).record(0.1, FailureKind.OVERLOADED)
    _until(lambda: bool(_kept(path)))
    clock.now += 5
    _permit(health).record(0.1)
    _until(lambda: not _kept(path))


def test_one_row_a_model_is_kept_however_often_it_fails(path: Path) -> None:
    clock = Clock()
    health = _health(path, clock)
    for _ in range(20):
        _permit(health).record(0.1, FailureKind.OVERLOADED)
        clock.now += health.states()[0].retry_in
    _until(lambda: [row.trips for row in _kept(path)] == [20])


def test_a_row_that_nobody_closed_is_forgotten_a_day_later(path: Path) -> None:
    book = HealthBook(path)
    book.put(HealthRow("gone", "model", "", time.time() - 90_000, "5 failures in a row", "ill", 1))
    book.put(HealthRow(*KEY, time.time() + 60, "5 failures in a row", "ill", 1))
    _until(lambda: bool(_kept(path)))
    assert [row.provider for row in _kept(path)] == ["openai"]


@pytest.mark.parametrize("kind", [FailureKind.AUTH, FailureKind.QUOTA, FailureKind.UNAVAILABLE])
def test_what_one_key_may_not_do_another_process_tries_for_itself(path: Path, kind: FailureKind) -> None:
    clock = Clock()
    health = _health(path, clock)
    _permit(health).record(0.1, kind)
    assert isinstance(health.allow(KEY), str)
    _until(lambda: [row.cause for row in _kept(path)] == ["down"])
    other = _health(path, clock)
    _permit(other).record(0.1)
    _until(lambda: not _kept(path))
    assert isinstance(health.allow(KEY), str)


def test_only_a_call_that_went_well_forgets_what_another_process_may_not_do(path: Path) -> None:
    clock, other = Clock(), HealthKey("google", "gemini-3.5-flash")
    _permit(_health(path, clock)).record(0.1, FailureKind.AUTH)
    _until(lambda: [row.cause for row in _kept(path)] == ["down"])
    health = _health(path, clock, HealthLimits(consecutive=2, jitter=0))
    for key in (KEY, other, other):
        permit = health.allow(key)
        assert isinstance(permit, Permit)
        permit.record(0.1, FailureKind.OVERLOADED)
    _until(lambda: len(_kept(path)) > 1 or not _kept(path))
    assert {(row.provider, row.cause) for row in _kept(path)} == {("openai", "down"), ("google", "ill")}


@pytest.mark.parametrize(("left", "retry_in"), [(4.0, 5.0), (5.5, 5.0), (20.0, 20.0)])
def test_what_another_process_found_out_lengthens_the_time_by_more_than_a_second_or_leaves_it(
    left: float, retry_in: float
) -> None:
    clock = Clock()
    health = Health(LIMITS, clock=clock, wall=clock.wall, jitter=lambda: 0.0)
    _permit(health).record(0.1, FailureKind.OVERLOADED)
    health.adopt([HealthRow(*KEY, clock.wall() + left, "5 failures in a row", "ill", 1)])
    assert health.states()[0].retry_in == retry_in


def test_slowness_is_known_as_such_to_others(path: Path) -> None:
    clock = Clock()
    _permit(_health(path, clock, HealthLimits(consecutive=1, sla=1, jitter=0))).record(2.0)
    _until(lambda: [row.cause for row in _kept(path)] == ["slow"])
    heir = _health(path, clock)
    assert isinstance(heir.allow(KEY), str)
    assert isinstance(heir.allow(KEY, last=True), Permit)


def test_a_kept_row_that_is_over_or_unreadable_opens_nothing(path: Path) -> None:
    clock = Clock()
    book = HealthBook(path)
    book.put(HealthRow("a", "m", "", clock.wall() - 0.5, "5 failures in a row", "ill", 1))
    book.put(HealthRow("b", "m", "", clock.wall() + 60, "by a later version", "eclipsed", 1))
    _until(lambda: len(_kept(path)) == 2)
    assert _health(path, clock).states() == []


@pytest.mark.slow
def test_a_process_that_ends_at_once_has_written_what_it_knew(path: Path) -> None:
    code = (
        "from pathlib import Path; from pointsman.configs.words import FailureKind;"
        "from pointsman.dispatch.guards.health import Health, HealthKey;"
        "from pointsman.ledger.health import HealthBook;"
        f"health = Health(book=HealthBook(Path({str(path)!r})));"
        "[health.allow(HealthKey('p', 'm')).record(0.1, FailureKind.OVERLOADED) for _ in range(5)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
    assert [(row.provider, row.reason) for row in _kept(path)] == [("p", "5 failures in a row")]


def test_trouble_with_the_file_is_not_the_callers(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("this is no ledger, and long enough to be looked at as one by SQLite" * 20)
    clock = Clock()
    health = _health(path, clock)
    _permit(health).record(0.1, FailureKind.OVERLOADED)
    clock.now += 5
    _permit(health).record(0.1)
    assert path.read_text().startswith("this is no ledger")


@pytest.mark.slow
async def test_a_dead_provider_is_left_alone_by_the_next_process_from_the_first_call(
    dispatcher: Make, simulator: Simulator, tmp_path: Path
) -> None:
    dead = Rule(match=Match(vendor="openai"), fault=Fault("overloaded"))
    simulator.scenario = Scenario(rules=(dead, Rule(answer=Answer(text="ok"))))

    def asked() -> int:
        return sum(served.vendor == "openai" for served in simulator.log)

    # Each with a ledger of its own: every process asks the dead provider anew.
    for number in range(2):
        lonely = Dispatcher(dispatcher().settings, ledger=Ledger(tmp_path / f"{number}.db"))
        simulator.log.clear()
        await _models(lonely, 6)
        lonely.close()
        assert asked() == 5

    first = dispatcher(routing__health={**LEFT_ALONE})
    simulator.log.clear()
    await _models(first, 6)
    assert asked() == 5
    _until(lambda: bool(_kept(first.settings.state / "ledger.db")))
    second = dispatcher(routing__health={**LEFT_ALONE})
    simulator.log.clear()
    await _models(second, 3)
    assert asked() == 0


# So long that no busy machine sees the end of it.
LEFT_ALONE = {"cool_down": 3_000, "cool_down_cap": 3_000}


def _slow(milliseconds: int) -> Scenario:
    slow = Rule(match=Match(vendor="openai"), answer=Answer(text="slow"), latency=milliseconds)  # type: ignore[arg-type]
    return Scenario(rules=(slow, Rule(answer=Answer(text="quick"))))


@pytest.mark.slow
async def test_a_slow_provider_is_routed_around_once_it_has_broken_its_sla(
    dispatcher: Make, simulator: Simulator
) -> None:
    simulator.scenario = _slow(250)
    calm = {"slack": 1_000, **LEFT_ALONE}
    assert set(await _models(dispatcher(routing__health=calm), 8)) == {"openai/gpt-5.4-mini"}
    home = dispatcher(**{"models__openai/gpt-5.4-mini__sla": 0.1}, routing__health=calm)
    assert await _models(home, 8) == ["openai/gpt-5.4-mini"] * 5 + ["anthropic/claude-haiku-4-5"] * 3


@pytest.mark.slow
async def test_a_provider_that_has_become_slow_is_routed_around_without_any_sla(
    dispatcher: Make, simulator: Simulator, leap: Any
) -> None:
    patient = {"call": 10**7, "deadline": 10**7}
    for slack, routed_around in ((10**6, False), (100, True)):
        health = {"calls": 3, "slack": slack, **LEFT_ALONE}
        home = dispatcher(routing__health=health, routing__limits=patient)
        simulator.scenario = _slow(1)
        await _models(home, 10)
        simulator.scenario = _slow(30_000_000)
        models = await leap.through(_models(home, 5), 1_000)
        simulator.scenario = _slow(1)
        models += await _models(home, 2)
        assert models[:5] == ["openai/gpt-5.4-mini"] * 5
        assert set(models[5:]) == {"anthropic/claude-haiku-4-5" if routed_around else "openai/gpt-5.4-mini"}


async def test_a_slow_provider_is_still_asked_where_there_is_no_other(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = _slow(60)
    name = "openai/gpt-5.4-mini"
    home = dispatcher(routing__approved=[name], routing__health={"sla": 0.01, "consecutive": 2, **LEFT_ALONE})
    assert await _models(home, 6) == [name] * 6
    assert [state.state for state in home.health.states()] == ["open"]


async def test_a_slow_provider_is_asked_when_every_other_has_failed(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = _slow(60)
    name = "openai/gpt-5.4-mini"
    home = dispatcher(**{f"models__{name}__sla": 0.01}, routing__health={"consecutive": 2, **LEFT_ALONE})
    assert (await _models(home, 3))[2] != name
    slow = Rule(match=Match(vendor="openai", model="*mini*"), answer=Answer(text="slow"))
    simulator.scenario = Scenario(rules=(slow, Rule(fault=Fault("overloaded"))))
    assert await _models(home, 1) == [name]
    assert len(simulator.log) > 1


async def test_the_limits_of_health_come_from_the_configuration(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(rules=(Rule(fault=Fault("overloaded")),))
    home = dispatcher(routing__health={"consecutive": 2, "cool_down": 77, "jitter": 0})
    for _ in range(3):
        with pytest.raises(AllFailed):
            await _models(home, 1)
    waits = {state.key.provider: state.retry_in for state in home.health.states() if state.reason}
    assert 0 < waits["openai"] <= 77
    assert sum(served.vendor == "openai" and "mini" in served.model for served in simulator.log) == 2
