"""A project that may not be written: what only reads works, and the rest says where the state can go instead."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pointsman as package
import pytest

MAIN = "from pointsman.cli.entry import main; main()"
# The user keeps root's right to read everything: this installation's Python may lie in root's own home.
NOBODY = """
import ctypes, os, struct
system = ctypes.CDLL(None)
system.prctl(8, 1)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
system.capset(struct.pack("Ii", 0x20080522, 0), struct.pack("6I", 1 << 2, 1 << 2, 0, 0, 0, 0))
""" if os.geteuid() == 0 else ""  # fmt: skip
REACHED = f"open({package.__file__!r}); open({os.__file__!r})"

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def _can_run(programs: Any) -> bool:
    """Whether the user without rights can reach this installation, which the right to read takes root to keep."""
    return bool(programs.run(["-c", NOBODY + REACHED]).returncode == 0)


@pytest.fixture
def desk(_can_run: bool, pointsman: Run) -> Iterator[Path]:
    """A project where everybody may look, beside a home where everybody may write."""
    if not _can_run:
        pytest.skip("nobody but root can run this installation, and root may write everywhere")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "home").mkdir()
        (folder / "home").chmod(0o777)
        assert pointsman("init", str(folder / "desk")).exit_code == 0
        yield folder / "desk"
        for path in [folder / "desk", *(folder / "desk").rglob("*")]:
            path.chmod(0o755)


@pytest.fixture
def run(desk: Path, programs: Any) -> Run:
    """Run a command there, as somebody whom modes keep from writing."""
    home = str(desk.parent / "home")

    def run(*words: str, become: str = NOBODY, **environ: str) -> Any:
        env = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, **environ}
        return programs.run(["-c", become + MAIN, *words], cwd=desk, env=env)

    return run


def shut(desk: Path) -> None:
    for path in [*desk.rglob("*"), desk]:
        path.chmod(0o555 if path.is_dir() else 0o444)


READING = (
    ["models"], ["agents"], ["tools"], ["report"], ["runs"], ["queue"], ["memory", "list"], ["provider", "list"],
    ["config", "show"], ["doctor"],
)  # fmt: skip


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_what_only_reads_works_and_writes_nothing(desk: Path, run: Run, words: list[str]) -> None:
    shut(desk)
    before = sorted(desk.rglob("*"))

    ended = run(*words)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
    assert sorted(desk.rglob("*")) == before


def test_what_was_recorded_is_shown_although_it_may_not_be_written(desk: Path, run: Run) -> None:
    assert run("run", "desk.py:flow", "How long does delivery take?", become="").returncode in (0, 4)
    shut(desk)

    # Who reads it is not who made it, and names it therefore.
    state = str(desk / ".pointsman")
    listed = run("runs", POINTSMAN_STATE=state)
    assert "plant-shop" in listed.stdout
    assert "decisions" in run("report", POINTSMAN_STATE=state).stdout
    assert "knowledge" in run("memory", "list", POINTSMAN_STATE=state).stdout
    assert "may not be written" in run("doctor", POINTSMAN_STATE=state).stdout


def test_what_writes_says_where_the_state_can_go_instead(desk: Path, run: Run) -> None:
    shut(desk)

    refused = run("run", "desk.py:flow", "How long does delivery take?")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "may not be written" in refused.stderr
    assert "POINTSMAN_STATE" in refused.stderr

    assert "POINTSMAN_STATE" in run("provider", "off", "openai", "--for", "60").stderr

    elsewhere = str(desk.parent / "home" / "state")
    done = run("run", "desk.py:flow", "How long does delivery take?", POINTSMAN_STATE=elsewhere)
    assert done.returncode in (0, 4)
    assert "plant-shop" in run("runs", POINTSMAN_STATE=elsewhere).stdout
