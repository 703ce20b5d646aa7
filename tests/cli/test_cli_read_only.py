"""A project that may not be written: what only reads works, and the rest says where the state can go instead."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

POINTSMAN = str(Path(sys.executable).with_name("pointsman"))
NOBODY: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


@cache
def _can_run() -> bool:
    """Whether the user without rights can reach this installation: its Python may lie in a home that is not theirs."""
    try:
        return subprocess.run([POINTSMAN, "--version"], capture_output=True, timeout=240, **NOBODY).returncode == 0
    except PermissionError:
        return False


@pytest.fixture
def desk() -> Iterator[Path]:
    """A project where everybody may look, beside a home where everybody may write."""
    if not _can_run():
        pytest.skip("nobody but root can run this installation, and root may write everywhere")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "home").mkdir()
        (folder / "home").chmod(0o777)
        subprocess.run([POINTSMAN, "init", str(folder / "desk")], check=True, capture_output=True)
        yield folder / "desk"
        for path in [folder / "desk", *(folder / "desk").rglob("*")]:
            path.chmod(0o755)


def shut(desk: Path) -> None:
    for path in [*desk.rglob("*"), desk]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def run(desk: Path, *words: str, who: dict[str, Any] = NOBODY, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command there, as somebody whom modes keep from writing."""
    home = str(desk.parent / "home")
    return subprocess.run(
        [POINTSMAN, *words], cwd=desk, env={**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, **environ},
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=240, **who,
    )  # fmt: skip


READING = (
    ["models"], ["agents"], ["tools"], ["report"], ["runs"], ["queue"], ["memory", "list"], ["provider", "list"],
    ["config", "show"], ["doctor"],
)  # fmt: skip


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_what_only_reads_works_and_writes_nothing(desk: Path, words: list[str]) -> None:
    shut(desk)
    before = sorted(desk.rglob("*"))

    ended = run(desk, *words)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
    assert sorted(desk.rglob("*")) == before


def test_what_was_recorded_is_shown_although_it_may_not_be_written(desk: Path) -> None:
    assert run(desk, "run", "desk.py:flow", "How long does delivery take?", who={}).returncode in (0, 4)
    shut(desk)

    # Who reads it is not who made it, and names it therefore.
    state = str(desk / ".pointsman")
    listed = run(desk, "runs", POINTSMAN_STATE=state)
    assert "plant-shop" in listed.stdout
    assert "decisions" in run(desk, "report", POINTSMAN_STATE=state).stdout
    assert "knowledge" in run(desk, "memory", "list", POINTSMAN_STATE=state).stdout
    assert "may not be written" in run(desk, "doctor", POINTSMAN_STATE=state).stdout


def test_what_writes_says_where_the_state_can_go_instead(desk: Path) -> None:
    shut(desk)

    refused = run(desk, "run", "desk.py:flow", "How long does delivery take?")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "may not be written" in refused.stderr
    assert "POINTSMAN_STATE" in refused.stderr

    assert "POINTSMAN_STATE" in run(desk, "provider", "off", "openai", "--for", "60").stderr

    elsewhere = str(desk.parent / "home" / "state")
    done = run(desk, "run", "desk.py:flow", "How long does delivery take?", POINTSMAN_STATE=elsewhere)
    assert done.returncode in (0, 4)
    assert "plant-shop" in run(desk, "runs", POINTSMAN_STATE=elsewhere).stdout
