"""Ways out of a sandbox, tried by whoever runs this: ``python escapes.py SETTING`` prints what became of each as JSON.

SETTING is JSON: where the outside is, as the test has laid it out.
"""

from __future__ import annotations

import ctypes
import fcntl
import glob
import json
import mmap
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

OUT = json.loads(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)
ON_X86 = platform.machine() == "x86_64"
ATTEMPTS: dict[str, Callable[[], object]] = {}


def attempt(function: Callable[[], object]) -> Callable[[], object]:
    ATTEMPTS[function.__name__] = function
    return function


def call(x86: int, arm: int, *arguments: object) -> None:
    numbers = [ctypes.c_long(one) if isinstance(one, int) else one for one in (x86 if ON_X86 else arm, *arguments)]
    if LIBC.syscall(*numbers) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def reach(x86: int, arm: int, *arguments: object) -> None:
    """Make a call whose arguments are none: whatever the kernel says of these, it has looked at them."""
    try:
        call(x86, arm, *arguments)
    except PermissionError:
        raise
    except OSError:
        pass


def in_child(work: Callable[[], object]) -> None:
    """Try it in a process of its own, which the kernel may kill."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise PermissionError("the child was refused or killed")


# files


@attempt
def write_outside() -> None:
    Path(OUT["outside"], "written").write_text("x")


@attempt
def write_through_a_link() -> None:
    link = Path("link-out")
    link.symlink_to(OUT["outside"])
    (link / "written-through").write_text("x")


@attempt
def link_a_file_in() -> None:
    os.link(Path(OUT["outside"], "secret"), "linked")


@attempt
def read_outside() -> None:
    assert "hush" in Path(OUT["outside"], "secret").read_text()


@attempt
def read_a_key_at_home() -> None:
    assert Path(OUT["home"], ".ssh", "id_ed25519").read_text()


@attempt
def write_the_system() -> None:
    Path("/etc/pointsman-was-here").write_text("x")


@attempt
def read_password_hashes() -> None:
    assert Path("/etc/shadow").read_text()


@attempt
def set_what_the_kernel_runs() -> None:
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))


@attempt
def make_a_device() -> None:
    os.mknod("device", 0o600 | 0o020000, os.makedev(1, 1))


@attempt
def make_a_program_that_runs_as_this_user() -> None:
    Path("suid").write_text("#!")
    os.chmod("suid", 0o4755)


@attempt
def make_such_a_program_at_once() -> None:
    os.close(os.open("suid-at-once", os.O_CREAT | os.O_WRONLY, 0o4755))
    assert os.stat("suid-at-once").st_mode & 0o4000


@attempt
def fill_the_device_folder() -> None:
    Path("/dev/filler").write_text("x")


# other processes


@attempt
def read_variables_of_others() -> None:
    found = []
    for file in glob.glob("/proc/[0-9]*/environ"):
        try:
            found.append(Path(file).read_bytes())
        except OSError:
            continue
    assert any(b"sk-in-the-parent" in one for one in found)


@attempt
def signal_a_process_outside() -> None:
    assert Path(f"/proc/{OUT['pid']}/cwd").exists()
    os.kill(OUT["pid"], 0)


@attempt
def write_into_the_first_process() -> None:
    os.close(os.open("/proc/1/mem", os.O_RDWR))


@attempt
def reach_the_root_of_the_first_process() -> None:
    assert Path("/proc/1/root", OUT["outside"].lstrip("/"), "secret").read_text()


@attempt
def trace_a_child() -> None:
    in_child(lambda: call(101, 117, 0, 0, 0, 0))


@attempt
def read_the_memory_of_another() -> None:
    call(310, 270, os.getpid(), 0, 0, 0, 0, 0)


@attempt
def take_a_descriptor_of_another() -> None:
    call(438, 438, os.pidfd_open(os.getpid()), 1, 0)


@attempt
def write_the_memory_of_a_child() -> None:
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        os.close(os.open(f"/proc/{child}/mem", os.O_RDWR))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# the kernel


@attempt
def unshare_a_user_namespace() -> None:
    in_child(lambda: call(272, 97, 0x10000000))


@attempt
def clone_a_user_namespace() -> None:
    def work() -> None:
        pid = LIBC.syscall(56 if ON_X86 else 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
        if pid < 0:
            raise OSError(ctypes.get_errno(), "refused")
        if pid == 0:
            os._exit(0)

    in_child(work)


@attempt
def unshare_by_its_program() -> None:
    if subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode:
        raise PermissionError("refused")


@attempt
def enter_another_namespace() -> None:
    reach(308, 268, -1, 0)


@attempt
def clone_by_the_new_call() -> None:
    call(435, 435, 0, 0)


@attempt
def mount_a_file_system() -> None:
    call(165, 40, b"none", b"/tmp", b"tmpfs", 0, 0)


@attempt
def change_the_root() -> None:
    in_child(lambda: os.chroot("."))


@attempt
def keep_a_key_in_the_kernel() -> None:
    call(248, 217, b"user", b"pointsman", b"x", 1, -3)


@attempt
def load_a_kernel_program() -> None:
    call(321, 280, 0, 0, 0)


@attempt
def count_events() -> None:
    call(298, 241, ctypes.create_string_buffer(128), 0, -1, -1, 0)


@attempt
def queue_calls_past_the_filter() -> None:
    call(425, 425, 1, ctypes.create_string_buffer(120))


@attempt
def enter_a_queue_of_calls() -> None:
    reach(426, 426, -1, 0, 0, 0, 0, 0)


@attempt
def change_a_queue_of_calls() -> None:
    reach(427, 427, -1, 0, 0, 0)


@attempt
def handle_faults() -> None:
    call(323, 282, 1)


@attempt
def call_by_another_table() -> None:
    """By ``int 0x80``, whose numbers mean other calls."""
    if not ON_X86:
        raise PermissionError("no such way")

    def work() -> None:
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()

    in_child(work)


@attempt
def call_by_the_x32_table() -> None:
    call(0x40000000 + 39, 9999)


@attempt
def type_into_the_terminal() -> None:
    with open("/dev/tty", "wb", buffering=0) as terminal:
        fcntl.ioctl(terminal, 0x5412, b"x")


@attempt
def type_into_any_terminal() -> None:
    def work() -> None:
        _leader, follower = os.openpty()
        os.setsid()
        fcntl.ioctl(follower, 0x540E, 0)
        fcntl.ioctl(follower, 0x5412, b"x")

    in_child(work)


# the network


@attempt
def connect_by_tcp() -> None:
    socket.create_connection(("127.0.0.1", OUT["tcp"]), 2).close()


@attempt
def send_by_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"out", ("127.0.0.1", OUT["udp"]))
        udp.connect(("127.0.0.1", OUT["udp"]))
        udp.send(b"out")
        udp.settimeout(1)
        assert udp.recv(8) == b"heard"


@attempt
def leave_the_machine() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("192.0.2.1", 53))  # sends nothing, but takes a route


@attempt
def resolve_a_name() -> None:
    socket.getaddrinfo("example.org", 443)


@attempt
def connect_to_a_unix_socket() -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect(OUT["unix"])


@attempt
def connect_to_a_unix_socket_in_the_workspace() -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect("here.sock")


@attempt
def connect_to_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.connect("\0" + OUT["abstract"])


@attempt
def send_to_a_unix_socket_from_a_pair() -> None:
    one, _other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"out", "datagram.sock")


@attempt
def ask_the_kernel_about_networks() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()


@attempt
def read_packets() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()


@attempt
def reach_the_host_of_a_virtual_machine() -> None:
    socket.socket(40, socket.SOCK_STREAM).close()  # AF_VSOCK


def main() -> None:
    found = {}
    for name, work in ATTEMPTS.items():
        if name not in OUT.get("only", [name]):
            continue
        try:
            work()
            found[name] = "done"
        except (OSError, AssertionError) as error:
            found[name] = f"refused: {type(error).__name__} {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
