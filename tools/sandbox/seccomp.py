"""A system call filter as a classic BPF program: it refuses what no command needs and an escape would.

Numbers are those of Linux 6.1's ``asm/unistd_64.h`` (x86-64) and ``asm-generic/unistd.h`` (AArch64); the layout of
the filter's input is ``struct seccomp_data`` of ``linux/seccomp.h``.
"""

from __future__ import annotations

import errno
import functools
import platform
import struct
from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ["MACHINES", "program"]

_REFUSED: Final[Mapping[str, tuple[int | None, int | None]]] = {
    # access to other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    # keys of the kernel, which are not in any namespace
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    # other mounts and namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "open_tree_attr": (467, 467), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97),
    "setns": (308, 268), "open_by_handle_at": (304, 265),
    # large parts of the kernel that few programs use; io_uring would also bypass this filter
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "fanotify_init": (300, 262), "mbind": (237, 235),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "lookup_dcookie": (212, 18), "modify_ldt": (154, None),
    # the machine itself
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "iopl": (172, None), "ioperm": (173, None), "nfsservctl": (180, 42), "vhangup": (153, 58),
    "sethostname": (170, 161), "setdomainname": (171, 162),
}  # fmt: skip
_UNKNOWN: Final[Mapping[str, tuple[int | None, int | None]]] = {
    # Their arguments are in memory, where no filter sees them; programs fall back to clone and openat.
    "clone3": (435, 435), "openat2": (437, 437),
}  # fmt: skip
_LOOKED_AT: Final[Mapping[str, tuple[int | None, int | None]]] = {
    "clone": (56, 220), "ioctl": (16, 29), "socket": (41, 198), "socketpair": (53, 199), "chmod": (90, None),
    "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "open": (2, None), "openat": (257, 56),
    "creat": (85, None), "mknod": (133, None), "mknodat": (259, 33),
}  # fmt: skip

MACHINES: Final[Mapping[str, int]] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Machine -> its ``AUDIT_ARCH_*`` (linux/audit.h)."""

# linux/bpf_common.h, linux/filter.h
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45
# linux/seccomp.h
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _MACHINE = 0, 4
_X32 = 0x40000000  # calls of the x32 ABI have this bit; asm/unistd.h

_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* that clone takes; linux/sched.h
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX; asm-generic/ioctls.h
_AF_INET, _AF_INET6 = 2, 10
_SOCK_STREAM, _SOCK_SEQPACKET, _SOCK_TYPE = 1, 5, 0xF
_SET_ID = 0o6000  # such a program would run with this user's rights when others run it
_MAKES_FILE = 0x400040  # O_CREAT, __O_TMPFILE; asm-generic/fcntl.h

_Instruction = tuple[int, int, int, int]  # code, if true skip, if false skip, operand


@functools.cache
def program(machine: str = platform.machine()) -> bytes:
    """Return the filter in the form that bubblewrap's ``--seccomp`` reads.

    Args:
        machine: A key of `MACHINES`.

    Raises:
        KeyError: Any other machine, whose numbers are not known here.
    """
    found = list(_instructions(MACHINES[machine], list(MACHINES).index(machine)))
    return b"".join(struct.pack("=HBBI", *one) for one in found)


def _instructions(architecture: int, column: int) -> Iterator[_Instruction]:
    yield _LOAD, 0, 0, _MACHINE
    yield _EQUAL, 1, 0, architecture
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER
    if column == 0:
        yield _AT_LEAST, 0, 1, _X32
        yield _errno(errno.ENOSYS)
    for names, answer in ((_REFUSED, errno.EPERM), (_UNKNOWN, errno.ENOSYS)):
        for numbers in names.values():
            if (number := numbers[column]) is not None:
                yield _EQUAL, 0, 1, number
                yield _errno(answer)
    for name, numbers in _LOOKED_AT.items():
        if (number := numbers[column]) is not None:
            block = _BLOCKS[name]
            yield _EQUAL, 0, len(block), number
            yield from block
    yield _RETURN, 0, 0, _ALLOW


def _errno(number: int) -> _Instruction:
    return _RETURN, 0, 0, _ERRNO | number


_REFUSE, _PASS = _errno(errno.EPERM), (_RETURN, 0, 0, _ALLOW)


def _argument(index: int) -> _Instruction:
    """Load the lower half of an argument; the kernel treats every argument checked here as 32 bits wide."""
    return _LOAD, 0, 0, 16 + 8 * index


def _without(index: int, bits: int) -> list[_Instruction]:
    return [_argument(index), (_ANY_BIT, 0, 1, bits), _REFUSE, _PASS]


def _other_than(index: int, values: tuple[int, ...]) -> list[_Instruction]:
    refused = [one for value in values for one in ((_EQUAL, 0, 1, value), _REFUSE)]
    return [_argument(index), *refused, _PASS]


def _one_of(index: int, mask: int, values: tuple[int, ...]) -> list[_Instruction]:
    allowed = [one for value in values for one in ((_EQUAL, 0, 1, value), _PASS)]
    return [_argument(index), (_AND, 0, 0, mask), *allowed, _REFUSE]


def _opening(flags: int, mode: int) -> list[_Instruction]:
    return [_argument(flags), (_ANY_BIT, 1, 0, _MAKES_FILE), _PASS, *_without(mode, _SET_ID)]


_BLOCKS: Final[Mapping[str, list[_Instruction]]] = {
    "clone": _without(0, _NEW_NAMESPACES),
    "ioctl": _other_than(1, _TERMINAL_INPUT),
    # No other family: not unix (whose sockets are reachable by path), vsock (the host of a virtual machine), netlink...
    "socket": _one_of(0, 0xFFFFFFFF, (_AF_INET, _AF_INET6)),
    # A datagram socket of a pair could still send to any other socket by its path.
    "socketpair": _one_of(1, _SOCK_TYPE, (_SOCK_STREAM, _SOCK_SEQPACKET)),
    "chmod": _without(1, _SET_ID),
    "fchmod": _without(1, _SET_ID),
    "fchmodat": _without(2, _SET_ID),
    "fchmodat2": _without(2, _SET_ID),
    "open": _opening(1, 2),
    "openat": _opening(2, 3),
    "creat": _without(1, _SET_ID),
    "mknod": _without(1, _SET_ID),
    "mknodat": _without(2, _SET_ID),
}
