"""The default dispatcher: one for each resolved configuration, made at first use and shared."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ..configs.loading.layers import FILES
from ..configs.loading.loader import environment, load, user_folder
from ..configs.process.forks import Lock, reset_in_children
from ..configs.schema import Settings
from ..configs.sources import Sources
from .context import runtime_of_run

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["Shared", "default_dispatcher", "default_settings", "shared_dispatcher"]

_TAKEN_UP = ("routing", "risk")
"""Files whose changes a dispatcher takes up by itself."""


class _Closable(Protocol):
    @property
    def closed(self) -> bool: ...


T = TypeVar("T", bound=_Closable)


class Shared(Generic[T]):
    """One object for each resolved configuration, kept while it is in use; the newest of each project is always kept.

    A closed object is not handed out again.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[Settings], T]) -> None:
        self._make = make
        self._lock = Lock()
        self._made: list[tuple[Settings, weakref.ref[T]]] = []
        self._newest: dict[Path, T] = {}
        reset_in_children(self)

    def of(self, settings: Settings) -> T:
        """The object of these settings, made now if it is not there."""
        with self._lock.inner:
            for made, ref in self._made:
                found = ref()
                if found is not None and not found.closed and (made is settings or made == settings):
                    break
            else:
                found = self._make(settings)
                self._made = [(made, ref) for made, ref in self._made if (one := ref()) is not None and not one.closed]
                self._made.append((settings, weakref.ref(found)))
            self._newest[settings.project] = found
            return found

    def reset_after_fork(self) -> None:
        """Reset in a forked child."""
        self._lock.reset_after_fork()


@dataclass(frozen=True)
class _Resolved:
    settings: Settings
    environ: Mapping[str, str]
    files: Sources[Settings]


_lock = Lock()
_resolved: dict[Path, _Resolved] = {}


def default_settings() -> Settings:
    """The settings of the working directory's project in the current environment; the same object until they change.

    They are loaded again when a variable of the environment differs from the last look, or a file of models or agents
    was written since; both are looked at with each call, which takes some hundredths of a millisecond. Files of routing
    and risk are taken up by the dispatcher itself.

    Raises:
        ConfigError: A file or a variable is wrong.
    """
    project, environ = Path.cwd(), environment()
    with _lock.inner:
        known = _resolved.get(project)
        if known is not None and known.environ == environ and known.files.look() == known.files.stamps:
            return known.settings
        files = _files(project, environ)
        settings = load(project, environ=environ)
        if known is not None and known.settings == settings:
            settings = known.settings
        _resolved[project] = _Resolved(settings, environ, files)
        return settings


def _files(project: Path, environ: Mapping[str, str]) -> Sources[Settings]:
    folders = [folder for folder in (user_folder(environ), project, project / "configs") if folder is not None]
    files = [folder / f"{name}.yaml" for folder in folders for name in FILES if name not in _TAKEN_UP]
    return Sources(files, partial(load, project, environ=environ))


def _dispatcher(settings: Settings) -> Dispatcher:
    from .dispatcher import Dispatcher

    return Dispatcher(settings)


_dispatchers: Shared[Dispatcher] = Shared(_dispatcher)


def shared_dispatcher(settings: Settings) -> Dispatcher:
    """The dispatcher shared by all callers that run under these settings without one of their own.

    Args:
        settings: As `default_settings` gives them.
    """
    return _dispatchers.of(settings)


def default_dispatcher() -> Dispatcher:
    """The dispatcher of the run it is asked in, else of the working directory's project in the current environment.

    Raises:
        ConfigError: A file or a variable is wrong.
    """
    runtime = runtime_of_run()
    if runtime is not None:
        found: Dispatcher = runtime.dispatcher
        return found
    return shared_dispatcher(default_settings())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lock.reset_after_fork)
