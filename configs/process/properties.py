"""Keep the cached properties of all libraries usable in a forked child.

Until Python 3.11 `functools.cached_property` has one lock per property, shared by all instances and held while a value
is computed (https://github.com/python/cpython/issues/87634). A child forked while another thread holds it would block
forever at the first use of that property, of any instance. Python 3.12 has no such lock.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import cached_property
from typing import Any

__all__ = ["unlock_properties"]


class _LockOfThisProcess:
    """Replaces the attribute `lock` of every cached property.

    Args:
        process: Id of the process.
    """

    def __init__(self, process: int) -> None:
        self._name = f"lock of process {process}"

    def __get__(self, one: cached_property[Any], owner: type) -> Any:
        return vars(one).setdefault(self._name, threading.RLock())

    def __set__(self, one: cached_property[Any], lock: Any) -> None:
        vars(one)[self._name] = lock


def unlock_properties() -> None:
    """Give every cached property a lock of this process's own; call it in a forked child."""
    if sys.version_info < (3, 12):
        cached_property.lock = _LockOfThisProcess(os.getpid())  # type: ignore[attr-defined]
