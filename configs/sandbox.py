"""`Sandbox`: what a shell command may read, change and consume."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from .agents import Frozen, no_bool

__all__ = ["Sandbox"]

_DOMAIN = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(:[0-9]{1,5})?")


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


_Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
_Folders = Annotated[tuple[Path, ...], BeforeValidator(_listed)]
_Count = Annotated[int, Field(gt=0, le=2**50), BeforeValidator(no_bool)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(no_bool)]


class Sandbox(Frozen):
    """``sandbox`` in ``risk.yaml``: how shell commands are confined.

    Attributes:
        mode: If this machine cannot confine commands, ``required`` refuses to run any, and ``ask`` asks a person about
            each.
        domains: Hosts a command may reach over HTTP and HTTPS, none if empty: ``example.org`` (that name only),
            ``*.example.org`` (its subdomains), each with ``:PORT`` unless it is 80 or 443.
        environment: Names of variables that are passed on, in addition to PATH, LANG and TERM.
        readable: Folders outside the workspace that commands may read, in addition to the system's.
        writable: Folders outside the workspace that commands may change.
        timeout: Seconds a command may take.
        memory: Bytes that all processes of a command may use together; if no cgroup can be created, a limit for each
            process.
        processes: Processes and threads it may have at a time.
        cpu: Seconds of CPU time that each process may use.
        file_size: Bytes a file may grow to.
        disk: Bytes by which the free space of the workspace's disk may shrink while it runs.
        output: Bytes it may write to its standard output and error before it is terminated.
    """

    mode: Literal["required", "ask"] = "required"
    domains: _Names = ()
    environment: _Names = ()
    readable: _Folders = ()
    writable: _Folders = ()
    timeout: _Seconds = 60.0
    memory: _Count = 2 * 1024**3
    processes: _Count = 256
    cpu: _Count = 300
    file_size: _Count = 1024**3
    disk: _Count = 4 * 1024**3
    output: _Count = 64 * 1024**2

    @field_validator("domains")
    @classmethod
    def _are_domains(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        for domain in domains:
            if not _DOMAIN.fullmatch(domain.lower()):
                raise ValueError(f"{domain!r} is not a domain: write example.org, *.example.org or example.org:8443")
        return tuple(domain.lower() for domain in domains)

    @field_validator("environment")
    @classmethod
    def _are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} is not the name of a variable")
        return names

    @field_validator("readable", "writable")
    @classmethod
    def _are_whole(cls, folders: tuple[Path, ...]) -> tuple[Path, ...]:
        for folder in folders:
            if not folder.expanduser().is_absolute():
                raise ValueError(f"'{folder}' must be a whole path, or begin with ~")
        return tuple(folder.expanduser() for folder in folders)
