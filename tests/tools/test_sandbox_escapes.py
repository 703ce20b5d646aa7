"""Attempts to leave the sandbox, each shown to succeed without it where that does no harm."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pointsman.tools import Sandbox, Workspace, probe, shell_tool
from pointsman.tools.sandbox import mounting

pytestmark = pytest.mark.skipif(not probe().working, reason=str(probe()))

HARMLESS = [
    "write_outside", "write_through_a_link", "link_a_file_in", "read_outside", "read_a_key_at_home",
    "make_a_program_that_runs_as_this_user", "make_such_a_program_at_once", "read_variables_of_others",
    "signal_a_process_outside", "connect_by_tcp", "send_by_udp", "connect_to_a_unix_socket",
    "connect_to_a_unix_socket_in_the_workspace", "connect_to_an_abstract_socket", "send_to_a_unix_socket_from_a_pair",
    "ask_the_kernel_about_networks", "trace_a_child", "read_the_memory_of_another",
    "write_the_memory_of_a_child",
]  # fmt: skip
"""What succeeds without a sandbox on any Linux, and changes nothing but folders of the test."""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A workspace, and beside it what a command must not reach: files, a home, variables, sockets that listen."""
    folder, home, work = (tmp_path / name for name in ("outside", "home", "work"))
    for made in (folder, home / ".ssh", work):
        made.mkdir(parents=True)
    (folder / "secret").write_text("hush")
    (home / ".ssh" / "id_ed25519").write_text("a key")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)  # paths of sockets are short
    shutil.copy(Path(__file__).with_name("escapes.py"), work)
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        named = {
            "../outside/s": socket.SOCK_STREAM,
            "here.sock": socket.SOCK_STREAM,
            "datagram.sock": socket.SOCK_DGRAM,
        }
        abstract = f"pointsman-{os.getpid()}"
        for name, kind in {**named, f"\0{abstract}": socket.SOCK_STREAM}.items():
            unix = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            unix.bind(name)
            if kind == socket.SOCK_STREAM:
                unix.listen()
        holder = stack.enter_context(
            subprocess.Popen(
                ["sleep", "1000"], env={"POINTSMAN_TEST_KEY": "sk-in-the-parent", "PATH": os.environ["PATH"]}
            )
        )
        stack.callback(holder.kill)
        answering = threading.Thread(target=_answering, args=[udp])
        answering.start()
        yield {
            "work": str(work), "outside": str(folder), "home": str(home), "pid": os.getpid(), "abstract": abstract,
            "unix": "../outside/s", "tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1],
        }  # fmt: skip
        udp.sendto(b"stop", udp.getsockname())
        answering.join()


def _answering(udp: socket.socket) -> None:
    while (message := udp.recvfrom(8))[0] != b"stop":
        udp.sendto(b"heard", message[1])


@pytest.mark.parametrize("few", [10_000, 0], ids=["by bubblewrap", "before it"])
def test_no_attempt_to_leave_succeeds_and_the_harmless_do_without_a_sandbox(
    few: int, outside: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever makes the mounts over the workspace."""
    monkeypatch.setattr(mounting, "_FEW", few)
    Path(outside["work"], "Makefile").touch()
    bare = [sys.executable, "escapes.py", json.dumps({**outside, "only": HARMLESS})]
    done = subprocess.run(bare, capture_output=True, text=True, check=True, cwd=outside["work"])
    assert {name: said for name, said in json.loads(done.stdout).items() if said != "done"} == {}
    for left in ("link-out", "linked", "suid", "suid-at-once", "../outside/written", "../outside/written-through"):
        Path(outside["work"], left).unlink()

    setting = json.dumps(outside)
    shell = shell_tool(Workspace(outside["work"]), Sandbox(timeout=600))
    said = shell.invoke({"command": f"{sys.executable} -I escapes.py '{setting}'"})
    assert said.startswith("exit code: 0\nstdout:\n{"), said
    found = json.loads(said.partition("stdout:\n")[2])
    assert len(found) == 49
    assert {name: came for name, came in found.items() if came == "done"} == {}
    assert sorted(path.name for path in Path(outside["outside"]).iterdir()) == ["s", "secret"]
    assert not [path for path in Path(outside["work"]).iterdir() if path.stat(follow_symlinks=False).st_mode & 0o6000]
