"""The default dispatcher: one for each resolved configuration, made at first use and shared."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ..configs.loading.layers import FILES
from ..configs.loading.loader import RELOADED, environment, load, searched_folders, user_folder
from ..configs.process.forks import Lock, reset_in_children
from ..configs.schema import Settings
from ..configs.sources import Sources
from .context import runtime_of_run

if TYPE_CHECKING:
    from .dispatcher import Dispatcher

__all__ = ["Shared", "default_dispatcher", "default_settings", "shared_dispatcher"]


class _Closable(Protocol):
    @property
    def closed(self) -> bool: ...


T = TypeVar("T", bound=_Closable)


class Shared(Generic[T]):
    """One object for each resolved configuration, kept while it is in use; the newest of each project is always kept.

    A closed object is never returned again.

    Args:
        make: Makes an object from settings.
    """

    def __init__(self, make: Callable[[Settings], T]) -> None:
        self._make = make
        self._lock = Lock()
        self._made: list[tuple[Settings, weakref.ref[T]]] = []
        self._newest: dict[Path, T] = {}
        reset_in_children(self._lock)

    def of(self, settings: Settings) -> T:
        """Return the object for these settings, making it if necessary."""
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


@dataclass(frozen=True)
class _Resolved:
    settings: Settings
    environ: Mapping[str, str]
    files: Sources[Settings]


_lock = Lock()
reset_in_children(_lock)
_resolved: dict[Path, _Resolved] = {}


def default_settings() -> Settings:
    """Return the settings of the working directory's project and environment; the same object until they change.

    They are reloaded if an environment variable or a file of models or agents has changed since the last call. Each
    call checks both, which takes some hundredths of a millisecond. The dispatcher itself applies changes to the files
    of routing and risk.

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
    folders = searched_folders(project, user_folder(environ))
    # The dispatcher itself applies changes to the others.
    files = [folder / f"{name}.yaml" for folder in folders for name in FILES if name not in RELOADED]
    return Sources(files, partial(load, project, environ=environ))


def _dispatcher(settings: Settings) -> Dispatcher:
    from .dispatcher import Dispatcher

    return Dispatcher(settings)


_dispatchers: Shared[Dispatcher] = Shared(_dispatcher)


def shared_dispatcher(settings: Settings) -> Dispatcher:
    """Return the dispatcher shared by all callers that use these settings and have none of their own.

    Args:
        settings: As `default_settings` returns them.
    """
    return _dispatchers.of(settings)


def default_dispatcher() -> Dispatcher:
    """Return the current run's dispatcher, or else that of the working directory's project and environment.

    Raises:
        ConfigError: A file or a variable is wrong.
    """
    runtime = runtime_of_run()
    if runtime is not None:
        found: Dispatcher = runtime.dispatcher
        return found
    return shared_dispatcher(default_settings())
