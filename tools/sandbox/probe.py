"""`probe`: whether commands can be confined here, found out by confining one."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from ...configs.sandbox import Sandbox
from ..programs import found as program_named
from . import view
from .base import SandboxState
from .cgroups import grouped
from .seccomp import MACHINES, program

__all__ = ["probe"]

_SECONDS = 30.0
_INSTALL = "install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap)"
# Refused or absent inside, by the view of the machine, the system call filter and the network namespace, in that order.
_TRY = (
    "[ ! -w /usr ] && [ ! -e /sys/kernel ] && ! unshare --user true 2>/dev/null && "
    "mapfile -t lines < /proc/net/dev && [ ${#lines[@]} = 3 ]"
)


@functools.cache
def probe() -> SandboxState:
    """Confine one command and return how that went; cached for the process."""
    if sys.platform != "linux":
        return _elsewhere()
    if platform.machine() not in MACHINES:
        return SandboxState(False, f"no filter of system calls is known for {platform.machine()}", _A_MACHINE)
    found = program_named("bwrap")
    if found is None:
        return SandboxState(False, "bubblewrap is missing: there is no bwrap on the PATH", _INSTALL)
    try:
        said = _tried(found)
    except (OSError, subprocess.SubprocessError) as error:
        said = f"bwrap cannot be run: {error}"
    return SandboxState(False, said, _advice(said)) if said else SandboxState(True, *_limits(found))


_A_MACHINE = "run Pointsman on x86-64 or AArch64"


def _tried(found: str) -> str:
    """Return why a command cannot be confined; empty if it was."""
    bash = program_named("bash")
    if bash is None:
        return "there is no bash on the PATH"
    filter_ = os.memfd_create("filter")
    try:
        os.write(filter_, program())
        os.lseek(filter_, 0, os.SEEK_SET)
        words = [
            *view.namespaces(found),
            *view.system(found, Sandbox()),
            "--seccomp",
            str(filter_),
            "--remount-ro",
            "/",
        ]
        done = subprocess.run(  # noqa: S603 - the words are ours
            [found, *words, "--", bash, "--noprofile", "--norc", "-c", _TRY],
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            pass_fds=[filter_],
            start_new_session=True,
        )
    finally:
        os.close(filter_)
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"a confined command reached what it must not (exit code {done.returncode})"


def _limits(found: str) -> tuple[str, str]:
    """Return how it confines, and what would improve that."""
    group = grouped(2**30, 64)
    whole = frozenset[str]() if group is None else group.limits
    if group is not None:
        group.remove()
    counted = "processes" in whole or os.geteuid() != 0  # the kernel does not limit root's processes
    limits = [
        "memory of all its processes" if "memory" in whole else "memory of each process",
        *(["processes"] if counted else []),
        *("time", "output", "size of files"),
    ]
    said = f"{found}, namespaces, a filter of system calls; limits: {', '.join(limits)}"
    if "memory" in whole and counted:
        return said, ""
    weak = "processes are not" if "memory" in whole else "memory is not"
    return (
        said,
        f"{weak} limited as a whole: start it where it may make a cgroup ('systemd-run --user --scope pointsman')",
    )


def _elsewhere() -> SandboxState:
    system = {"darwin": "macOS", "win32": "Windows"}.get(sys.platform, sys.platform)
    return SandboxState(
        False,
        f"{system} has no sandbox that Pointsman can use",
        "run it under Linux: in a virtual machine, in WSL 2, or in a container that may make user namespaces",
    )


def _advice(said: str) -> str:
    apparmor = _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1"
    if _contained():
        return (
            "a container has to be allowed user namespaces and a /proc of its own (Docker: --security-opt "
            "seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined)"
        )
    if apparmor:
        return (
            "AppArmor forbids user namespaces here: give bwrap its profile (apt-get install apparmor-profiles, copy "
            "/usr/share/apparmor/extra-profiles/bwrap-userns-restrict to /etc/apparmor.d, systemctl reload apparmor)"
        )
    if _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "the kernel forbids user namespaces: 'sysctl kernel.unprivileged_userns_clone=1' as root"
    if _read("/proc/sys/user/max_user_namespaces") == "0":
        return "the kernel forbids user namespaces: 'sysctl user.max_user_namespaces=10000' as root"
    if "unknown option" in said.casefold():
        return f"this bubblewrap is too old, 0.6 is needed: {_INSTALL}"
    if (
        "microsoft" in _read("/proc/sys/kernel/osrelease").casefold()
        and "wsl2" not in _read("/proc/version").casefold()
    ):
        return "WSL 1 has no namespaces: 'wsl --set-version DISTRIBUTION 2'"
    return "see that 'bwrap --unshare-user --ro-bind / / true' works for this user"


def _contained() -> bool:
    if any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")):
        return True
    return any(word in _read("/proc/1/cgroup") for word in ("docker", "kubepods", "containerd", "lxc"))


def _read(file: str) -> str:
    with suppress(OSError):
        return Path(file).read_text("utf-8", "replace").strip()
    return ""
