"""A child forked while another thread computes a cached property computes it for itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, threading
from functools import cached_property

if sys.argv[1] == "cured":
    import pointsman.configs.process.forks

class Thing:
    counted = 0

    @cached_property
    def value(self):
        Thing.counted += 1
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            go_on.wait()
        return 7

def child_ends_with(depth):
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(sys.argv[2]))
        seen = [Thing().value, *(child_ends_with(depth - 1) for _ in range(depth))]
        late = type("Late", (), {"value": cached_property(lambda self: 8)})
        late.value.__set_name__(late, "value")
        os._exit(0 if seen in ([7], [7, 0]) and late().value == 8 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

begun, go_on = threading.Event(), threading.Event()
thing = Thing()
other = threading.Thread(target=lambda: thing.value)
other.start()
begun.wait()
ended = child_ends_with(1)
go_on.set()
other.join()
print(ended, thing.value, Thing.counted)
"""


def run(how: str, seconds: int) -> str:
    command = [sys.executable, "-c", PROGRAM, how, str(seconds)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, env={**os.environ})
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_children_and_theirs_compute_what_another_thread_of_the_parent_was_computing() -> None:
    assert run("cured", 60) == "0 7 1"


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python has no such lock from 3.12 on")
def test_without_pointsman_such_a_child_waits_until_it_is_killed() -> None:
    assert run("plain", 1) == "-14 7 1"
