"""The filter of system calls answers on each machine by that machine's numbers; its program is run here, by hand.

So the one of a machine that is not at hand is tried as well. The numbers here are read off the kernel's own tables
(arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h), not off the filter's.
"""

from __future__ import annotations

import errno
import struct

import pytest
from pointsman.tools.sandbox.seccomp import MACHINES, program

X86, ARM = "x86_64", "aarch64"
ALLOWED, KILLED = 0x7FFF0000, 0x80000000
REFUSED, UNKNOWN = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
_BYTES = 64  # of struct seccomp_data
_MOST = 4096  # BPF_MAXINSNS


def answer(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What a machine's filter says of a call, by the rules of classic BPF (linux/bpf_common.h).

    Args:
        machine: A key of `MACHINES`.
        number: The call's.
        arguments: Its arguments.
        architecture: The ``AUDIT_ARCH_*`` of the table it comes by; the machine's own when absent.
    """
    given = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, MACHINES[machine] if architecture is None else architecture, 0, *given)
    code = list(struct.iter_unpack("=HBBI", program(machine)))
    register = place = 0
    while True:
        what, if_true, if_false, operand = code[place]
        place += 1
        match what:
            case 0x20:
                assert operand % 4 == 0
                assert operand < _BYTES
                register = struct.unpack_from("<I", data, operand)[0]
            case 0x54:
                register &= operand
            case 0x15:
                place += if_true if register == operand else if_false
            case 0x35:
                place += if_true if register >= operand else if_false
            case 0x45:
                place += if_true if register & operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"no instruction: {what:#x}")


@pytest.mark.parametrize("machine", MACHINES)
def test_a_program_ends_wherever_it_branches_and_is_short_enough_for_the_kernel(machine: str) -> None:
    code = list(struct.iter_unpack("=HBBI", program(machine)))
    assert len(code) <= _MOST
    assert code[-1][0] == 0x06
    ahead = [
        place + 1 + one
        for place, (what, *jumps, _) in enumerate(code)
        if what != 0x06
        for one in (jumps if what & 1 else [0])
    ]
    assert max(ahead) < len(code)


@pytest.mark.parametrize(
    ("name", "x86", "arm"),
    [
        ("ptrace", 101, 117), ("process_vm_readv", 310, 270), ("process_vm_writev", 311, 271), ("kcmp", 312, 272),
        ("pidfd_getfd", 438, 438), ("process_madvise", 440, 440), ("add_key", 248, 217), ("request_key", 249, 218),
        ("keyctl", 250, 219), ("mount", 165, 40), ("umount2", 166, 39), ("pivot_root", 155, 41), ("chroot", 161, 51),
        ("open_tree", 428, 428), ("move_mount", 429, 429), ("fsopen", 430, 430), ("fsconfig", 431, 431),
        ("fsmount", 432, 432), ("fspick", 433, 433), ("mount_setattr", 442, 442), ("open_tree_attr", 467, 467),
        ("unshare", 272, 97), ("setns", 308, 268), ("open_by_handle_at", 304, 265), ("bpf", 321, 280),
        ("perf_event_open", 298, 241), ("userfaultfd", 323, 282), ("io_uring_setup", 425, 425),
        ("io_uring_enter", 426, 426), ("io_uring_register", 427, 427), ("init_module", 175, 105),
        ("finit_module", 313, 273), ("kexec_load", 246, 104), ("reboot", 169, 142), ("syslog", 103, 116),
        ("settimeofday", 164, 170), ("clock_settime", 227, 112), ("sethostname", 170, 161),
    ],
)  # fmt: skip
def test_what_would_lead_out_is_refused_by_each_machines_number(name: str, x86: int, arm: int) -> None:
    assert (answer(X86, x86), answer(ARM, arm)) == (REFUSED, REFUSED)


@pytest.mark.parametrize(
    ("name", "x86", "arm"),
    [
        ("read", 0, 63), ("write", 1, 64), ("close", 3, 57), ("mmap", 9, 222), ("execve", 59, 221), ("futex", 202, 98),
        ("wait4", 61, 260), ("connect", 42, 203), ("sendmsg", 46, 211), ("epoll_ctl", 233, 21), ("getrandom", 318, 278),
        ("memfd_create", 319, 279), ("statx", 332, 291), ("rseq", 334, 293), ("landlock_restrict_self", 446, 446),
    ],
)  # fmt: skip
def test_what_programs_need_is_allowed(name: str, x86: int, arm: int) -> None:
    assert (answer(X86, x86), answer(ARM, arm)) == (ALLOWED, ALLOWED)


CLONE, IOCTL, SOCKET, PAIR = (56, 220), (16, 29), (41, 198), (53, 199)
OPENAT, FCHMODAT, MKNODAT = (257, 56), (268, 53), (259, 33)
_ABOVE = 1 << 32  # of the half that the kernel does not look at


@pytest.mark.parametrize(
    ("numbers", "arguments", "said"),
    [
        (CLONE, (0x003D0F00,), ALLOWED),  # a thread, as the C library makes it
        (CLONE, (0x10000011,), REFUSED),  # CLONE_NEWUSER
        (CLONE, (0x00020011,), REFUSED),  # CLONE_NEWNS
        (CLONE, (_ABOVE | 0x10000011,), REFUSED),
        ((435, 435), (), UNKNOWN),  # clone3
        ((437, 437), (), UNKNOWN),  # openat2
        (IOCTL, (0, 0x5401), ALLOWED),  # TCGETS
        (IOCTL, (0, 0x5412), REFUSED),  # TIOCSTI
        (IOCTL, (0, _ABOVE | 0x5412), REFUSED),
        (IOCTL, (0, 0x541C), REFUSED),  # TIOCLINUX
        (SOCKET, (2, 1), ALLOWED),
        (SOCKET, (10, 2), ALLOWED),
        *((SOCKET, (family, 1), REFUSED) for family in (1, 16, 17, 38, 40, _ABOVE | 1)),
        (PAIR, (1, 0x80801), ALLOWED),  # SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK
        (PAIR, (1, 2), REFUSED),  # SOCK_DGRAM
        (OPENAT, (0, 0, 0, 0o4755), ALLOWED),  # makes no file
        (OPENAT, (0, 0, 0x41, 0o755), ALLOWED),
        (OPENAT, (0, 0, 0x41, 0o4755), REFUSED),
        (OPENAT, (0, 0, 0x410002, 0o2755), REFUSED),  # O_TMPFILE
        (FCHMODAT, (0, 0, 0o755), ALLOWED),
        (FCHMODAT, (0, 0, 0o2755), REFUSED),
        ((452, 452), (0, 0, 0o4755), REFUSED),  # fchmodat2
        ((91, 52), (0, 0o4755), REFUSED),  # fchmod
        (MKNODAT, (0, 0, 0o104755), REFUSED),
    ],
)
def test_arguments_are_looked_at_as_the_kernel_takes_them(
    numbers: tuple[int, int], arguments: tuple[int, ...], said: int
) -> None:
    assert [answer(machine, number, *arguments) for machine, number in zip((X86, ARM), numbers, strict=True)] == [
        said
    ] * 2


@pytest.mark.parametrize("machine", MACHINES)
def test_a_call_by_another_table_ends_the_process(machine: str) -> None:
    """By ``int 0x80`` on x86-64, from a 32-bit program on AArch64."""
    for other in (0x40000003, 0x40000028, *MACHINES.values()):
        if other != MACHINES[machine]:
            assert answer(machine, 0, architecture=other) == KILLED


def test_no_call_of_the_x32_table_is_known() -> None:
    assert {answer(X86, 0x40000000 + number) for number in (0, 41, 101, 520)} == {UNKNOWN}
