"""What a confined command may use up: memory, processes, disk, files, time of the processor."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pointsman.tools import Sandbox, Workspace, probe, shell_tool

pytestmark = pytest.mark.skipif(not probe().working, reason=str(probe()))

MIB = 1024**2


def _run(folder: Path, command: str, **limits: Any) -> str:
    shell = shell_tool(Workspace(folder), Sandbox(timeout=600, **limits))
    return str(shell.invoke({"command": command}))


def test_a_command_that_takes_more_memory_than_it_may_fails_and_nothing_else_does(tmp_path: Path) -> None:
    hungry = f"{sys.executable} -ISc 'print(len(bytearray(400 * {MIB})))'"
    assert str(400 * MIB) in _run(tmp_path, hungry, memory=2048 * MIB)
    said = _run(tmp_path, f"{hungry}; echo $?", memory=100 * MIB)
    assert str(400 * MIB) not in said


def test_memory_is_counted_over_all_processes_where_a_cgroup_can_be_made(tmp_path: Path) -> None:
    if "memory of all its processes" not in probe().reason:
        pytest.skip(str(probe()))
    # Together 240 MB, of which each is 60; and what lies in the command's own /tmp and /dev/shm counts, too.
    each = f"{sys.executable} -ISc 'import time; held = bytearray(60 * {MIB}); print(1, flush=True); time.sleep(1000)'"
    said = _run(tmp_path, f"for n in 1 2 3 4; do {each} & done; wait -n; echo one has gone", memory=150 * MIB)
    assert "one has gone" in said
    said = _run(
        tmp_path, "head -c 200M /dev/zero > /dev/shm/filler; ls -s /dev/shm/filler | cut -d' ' -f1", memory=100 * MIB
    )
    assert "204800" not in said


@pytest.mark.parametrize(
    ("command", "limits", "why"),
    [
        ("kill -9 $$", {}, "exit code: 137\nkilled (signal 9)"),
        (
            "while :; do :; done",
            {"cpu": 1},
            "ended: it used more than 1 s of processor time (sandbox.cpu in risk.yaml)",
        ),
        ("head -c 2M /dev/zero > f", {"file_size": MIB}, "ended: a file may have 1,048,576 bytes (sandbox.file_size"),
        ("exit 3", {}, "exit code: 3"),
    ],
)
def test_a_command_that_is_killed_says_by_what(tmp_path: Path, command: str, limits: dict[str, int], why: str) -> None:
    said = _run(tmp_path, command, **limits)
    assert why in said
    assert "exit code: 3" not in said or said == why


@pytest.mark.parametrize("before", ["", "true; "], ids=["itself", "a child of its"])
def test_a_command_that_is_killed_for_memory_names_the_limit(tmp_path: Path, before: str) -> None:
    hungry = f"{sys.executable} -ISc 'held = bytearray(400 * {MIB})'"
    said = _run(tmp_path, f"{before}{hungry}; exit $?" if before else hungry, memory=100 * MIB)
    together = "memory of all its processes" in probe().reason
    whose = "killed for memory: all that it ran, together," if together else "out of memory: each of its processes"
    assert f"{whose} may use 104,857,600 bytes (sandbox.memory in risk.yaml)" in said


def test_where_no_cgroup_can_be_made_a_process_without_memory_names_the_limit_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.tools.sandbox.confined.grouped", lambda *_: None)
    said = _run(tmp_path, f"{sys.executable} -ISc 'held = bytearray(400 * {MIB})'", memory=100 * MIB)
    assert "out of memory: each of its processes may use 104,857,600 bytes (sandbox.memory in risk.yaml)" in said


FORKING = """
import os, signal
made = 0
try:
    while made < 500:
        if os.fork() == 0:
            signal.pause()
        made += 1
except OSError as refused:
    print(made, refused.errno)
"""


def test_a_command_cannot_make_more_processes_than_it_may(tmp_path: Path) -> None:
    if ", processes," not in probe().reason:
        pytest.skip(str(probe()))
    (tmp_path / "fork.py").write_text(FORKING)
    said = _run(tmp_path, f"{sys.executable} -IS fork.py", processes=60)
    made, refused = map(int, said.split("stdout:\n")[1].split())
    assert (40 < made < 60, refused) == (True, 11), said
    # A bomb that never stops is over with its command. For another process to wait with Bash would try half a minute.
    waits = "for ((n = 0; n < 100000; n++)); do :; done"
    said = _run(tmp_path, f"bomb() {{ bomb | bomb & }}; bomb; {waits}; echo over", processes=60)
    assert "over" in said or "Resource temporarily unavailable" in said


def test_a_file_cannot_grow_beyond_what_it_may_nor_all_together_fill_the_disk(tmp_path: Path) -> None:
    said = _run(tmp_path, "head -c 50M /dev/zero > one; ls -l one | cut -d' ' -f5; trap '' XFSZ", file_size=10 * MIB)
    assert f"{10 * MIB}\n" in f"{said}\n"
    filling = "for n in $(seq 100000); do head -c 8M /dev/zero > many$n; done"
    said = _run(tmp_path, filling, disk=40 * MIB)
    assert "ended: it filled the disk by more than 41,943,040 bytes" in said
    for file in tmp_path.iterdir():
        os.truncate(file, 0)


def test_no_limit_of_the_kernel_can_be_raised_again(tmp_path: Path) -> None:
    said = _run(tmp_path, "ulimit -H -t; ulimit -H -c; ulimit -t 100 || ulimit -f unlimited || echo kept", cpu=7)
    # One second more than it may use, in which it can say why it ends.
    assert said.splitlines()[2:4] == ["8", "0"]
    assert "kept" in said
