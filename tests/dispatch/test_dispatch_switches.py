"""Switches: what is off is off for every process, for its time and no longer."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.guards.availability import OVERRIDES_FILE, Availability, Overrides
from pointsman.dispatch.guards.health import Health


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / OVERRIDES_FILE


def test_looking_at_switches_that_were_never_used_makes_no_file(file: Path, clock: Clock) -> None:
    assert Overrides(file, clock).reasons() == {}
    assert not file.parent.exists()


def test_what_is_off_says_until_when_and_why_and_comes_on_by_itself(file: Path, clock: Clock) -> None:
    switches = Overrides(file, clock)
    switches.off("openai", clock.now + 60, "they are\nmoving")
    switches.off("google/gemini-3.5-flash", clock.now + 30)

    assert {name: why.reason for name, why in switches.reasons().items()} == {
        "openai": "switched off until 1970-01-12 13:47:40 UTC: they are moving",
        "google/gemini-3.5-flash": "switched off until 1970-01-12 13:47:10 UTC",
    }
    assert [switch.name for switch in switches.all()] == ["google/gemini-3.5-flash", "openai"]
    clock.now += 30
    assert list(switches.reasons()) == ["openai"]
    clock.now += 30
    assert switches.reasons() == {}
    assert switches.all() == ()


def test_deleting_the_file_switches_everything_on(file: Path, clock: Clock) -> None:
    switches = Overrides(file, clock)
    switches.off("openai", clock.now + 60)
    assert set(switches.reasons()) == {"openai"}
    file.unlink()
    assert switches.reasons() == {}


def test_a_look_may_be_as_old_as_its_caller_allows_and_no_older(file: Path, clock: Clock) -> None:
    mine, theirs = Overrides(file, clock), Overrides(file, clock)
    assert mine.reasons(age=0.5) == {}
    theirs.off("openai", clock.now + 60)
    clock.now += 0.25
    assert mine.reasons(age=0.5) == {}
    clock.now += 0.25
    assert set(mine.reasons(age=0.5)) == {"openai"}


def test_a_look_that_may_be_old_sees_what_is_on_again_by_itself(file: Path, clock: Clock) -> None:
    switches = Overrides(file, clock)
    switches.off("openai", clock.now + 60)
    assert set(switches.reasons(age=1000)) == {"openai"}
    clock.now += 60
    assert switches.reasons(age=1000) == {}


def test_another_object_sees_every_change_at_once(file: Path, clock: Clock) -> None:
    mine, theirs = Overrides(file, clock), Overrides(file, clock)
    for _ in range(50):
        mine.off("openai", clock.now + 60)
        assert "openai" in theirs.reasons()
        assert mine.on("openai")
        assert theirs.reasons() == {}
    assert not theirs.on("openai")


def test_a_change_is_later_than_the_one_before_whatever_the_clock_of_the_file_system_says(
    file: Path, clock: Clock
) -> None:
    mine, theirs = Overrides(file, clock), Overrides(file, clock)
    mine.off("openai", clock.now + 60)
    ahead = file.stat().st_mtime_ns + 10**12
    os.utime(file, ns=(ahead, ahead))
    assert set(theirs.reasons()) == {"openai"}
    mine.on("openai")
    assert file.stat().st_mtime_ns == ahead + 1
    assert theirs.reasons() == {}


def test_the_file_is_for_its_owner_alone_and_nothing_is_left_beside_it(file: Path, clock: Clock) -> None:
    Overrides(file, clock).off("openai", clock.now + 60)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in file.parent.iterdir()) == [OVERRIDES_FILE, f"{OVERRIDES_FILE}.lock"]


def test_a_change_that_the_disk_does_not_take_is_told_and_leaves_everything_as_it_was(
    file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    switches = Overrides(file, clock)
    switches.off("openai", clock.now + 60)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        switches.off("google", clock.now + 60)
    assert set(switches.reasons()) == {"openai"}
    assert sorted(path.name for path in file.parent.iterdir()) == [OVERRIDES_FILE, f"{OVERRIDES_FILE}.lock"]


@pytest.mark.slow
def test_processes_that_switch_at_once_lose_nothing(file: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from pointsman.dispatch.guards.availability import Overrides\n"
        "for n in range(10): Overrides(Path(sys.argv[1])).off(f'{sys.argv[2]}/{n}', time.time() + 600)\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", script, str(file), name]) for name in ("a", "b", "c")]
    assert [worker.wait(timeout=240) for worker in workers] == [0, 0, 0]
    assert set(Overrides(file).reasons()) == {f"{name}/{n}" for name in "abc" for n in range(10)}


def test_a_secret_in_the_reason_is_not_kept(file: Path, clock: Clock) -> None:
    switches = Overrides(file, clock)
    switches.off("openai", clock.now + 60, "key sk-ant-abcdefgh12345678 leaked")
    assert "abcdefgh" not in file.read_text() + str(switches.reasons())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        '{"openai": 3}',
        '{"a": {"until": "soon", "reason": ""}}',
        '{"a": {"until": NaN, "reason": ""}}',
        '{"a": {"until": -0.5, "reason": ""}}',
        "\x00",
    ],
)
def test_a_file_that_is_none_of_switches_is_told_and_not_overwritten(file: Path, clock: Clock, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
    switches = Overrides(file, clock)
    with pytest.raises(ConfigError, match="is not a file of switches: delete it"):
        switches.reasons()
    with pytest.raises(ConfigError, match="is not a file of switches"):
        switches.off("openai", clock.now + 60)
    assert file.read_text() == text


def test_a_provider_can_be_off_until_the_last_day_there_is(file: Path, clock: Clock) -> None:
    last = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
    Overrides(file, clock).off("openai", last)
    assert Overrides(file, clock).reasons()["openai"].reason == "switched off until 9999-01-01 00:00:00 UTC"


@pytest.mark.parametrize("until", [0.0, 1_000_000.0, float("nan"), float("inf"), 1e18])
def test_only_a_time_to_come_can_be_named(file: Path, clock: Clock, until: float) -> None:
    with pytest.raises(ConfigError, match="only be switched off until a time to come"):
        Overrides(file, clock).off("openai", until)


def test_a_provider_that_refused_its_key_is_tried_again_after_five_minutes(file: Path, clock: Clock) -> None:
    keys = {"openai": "OPENAI_API_KEY", "google": "GOOGLE_API_KEY"}
    availability = Availability({}, Overrides(file), Health(), [], keys, clock=clock)
    availability.refused("openai")
    clock.now += 200
    availability.refused("google")
    assert availability.reasons()["openai"].reason == "its key was refused: check OPENAI_API_KEY"
    clock.now += 100
    assert set(availability.reasons()) == {"google"}
    clock.now += 200
    assert availability.reasons() == {}


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-5, 20), st.integers(0, 10)), max_size=12))
def test_it_agrees_with_a_plain_table(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, int, int]]
) -> None:
    clock = Clock()
    path = tmp_path_factory.mktemp("switches") / OVERRIDES_FILE
    mine, theirs = Overrides(path, clock), Overrides(path, clock)
    table: dict[str, float] = {}
    for name, lasts, passes in moves:
        if lasts > 0:
            mine.off(name, clock.now + lasts)
            table[name] = clock.now + lasts
        else:
            assert mine.on(name) == (table.pop(name, 0.0) > clock.now)
        clock.now += passes
        still = {key for key, until in table.items() if until > clock.now}
        assert set(mine.reasons()) == set(theirs.reasons()) == still
    if path.exists():
        json.loads(path.read_text())
