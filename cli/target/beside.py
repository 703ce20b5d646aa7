"""Modules that lie beside a target: who may import them, and that what runs is what stands in them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import invalidate_caches
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, Final, TypeAlias

__all__ = ["Agree", "Source", "importable", "wanted"]

Agree: TypeAlias = Callable[[Path, bytes], None]
"""Is told of each file, and what stands in it, before it runs; raises where nobody agreed to run that."""

_PASSING_ON: Final = ("importlib", "pkgutil")
"""Modules of Python that import in the name of whoever calls them."""


class Source(SourceFileLoader):
    """Runs what stands in a file, and no compiled form of it that lies about and may be of something else."""

    def __init__(self, name: str, path: str, agree: Agree) -> None:
        super().__init__(name, path)
        self._agree = agree

    def get_code(self, fullname: str) -> CodeType | None:
        """Compile what was agreed to, byte for byte."""
        text = self.get_data(self.path)
        self._agree(Path(self.path), text)
        code: CodeType = self.source_to_code(text, self.path)
        return code


@dataclass(slots=True)
class _Folder:
    """A folder whose files may import each other.

    Attributes:
        place: The folder, resolved.
        agree: As `Agree`.
        apart: Environments inside it, whose modules are installed.
        wanted: The names of modules that its files have asked for there.
    """

    place: Path
    agree: Agree
    apart: tuple[Path, ...]
    wanted: set[str] = field(default_factory=set)

    def find(self, name: str) -> ModuleSpec | None:
        """Find a module at its top, whoever asks."""
        self.wanted.add(name)
        return PathFinder.find_spec(name, [str(self.place)])


class _Beside(MetaPathFinder):
    """The last of all finders. What is installed goes before; what is not, only files of the folder itself are given.

    A library that tries whether another one is installed would otherwise run whatever goes by that name in the folder.
    """

    def __init__(self) -> None:
        self.folders: dict[Path, _Folder] = {}

    def add(self, place: Path, agree: Agree) -> _Folder:
        """Find in a folder too."""
        apart = [path for path in map(_resolved, sys.path) if path is not None and path.is_relative_to(place)]
        folder = self.folders[place] = _Folder(place, agree, tuple(apart))
        if self in sys.meta_path:
            sys.path_hooks.remove(self.hook)
            sys.meta_path.remove(self)
        sys.path_hooks.insert(0, self.hook)
        sys.meta_path.append(self)
        for known in [path for path in sys.path_importer_cache if folder in self._around(path)]:
            del sys.path_importer_cache[known]
        return folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module at the top of a folder in which whoever imports it lies."""
        if path is not None:
            return None
        found = (folder.find(fullname) for folder in self._around(_importer()))
        return next((spec for spec in found if spec is not None), None)

    def hook(self, path: str) -> FileFinder:
        """Read the folder, and those in it, as `Source`; one of ``sys.path_hooks``."""
        folder = next(self._around(path), None)
        if folder is None:
            raise ImportError("lies elsewhere")

        def source(name: str, path: str) -> Source:
            return Source(name, path, lambda file, text: folder.agree(file, text))

        # It calls what it is given with a name and a path, a class or not.
        loader: Any = source
        return FileFinder(path, (loader, SOURCE_SUFFIXES), (ExtensionFileLoader, EXTENSION_SUFFIXES))

    def _around(self, path: str) -> Iterator[_Folder]:
        """The folders in which a file lies, and not in an environment inside them; the nearest first."""
        place = _resolved(path)
        if place is None:
            return
        for above in (place, *place.parents):
            folder = self.folders.get(above)
            if folder is not None and not any(place.is_relative_to(apart) for apart in folder.apart):
                yield folder


_BESIDE: Final = _Beside()


def importable(folder: Path, agree: Agree) -> Callable[[str], ModuleSpec | None]:
    """Let the files of a folder import each other, as those of a script do; what is installed goes before them.

    Args:
        folder: The folder, resolved.
        agree: As `Agree`, from now on.

    Returns:
        What finds a module in it by its name.
    """
    known = _BESIDE.folders.get(folder) or _BESIDE.add(folder, agree)
    known.agree = agree
    invalidate_caches()
    return known.find


def wanted(folder: Path) -> list[Path]:
    """Where the modules lie, or would lie, that the files of a folder have asked for there."""
    known = _BESIDE.folders.get(folder)
    names = [] if known is None else sorted(known.wanted)
    return [folder / place for name in names for place in (f"{name}.py", name)]


def _importer() -> str:
    """The file whose code asks for the module."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] in _PASSING_ON:
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_filename


def _resolved(path: str) -> Path | None:
    try:
        return Path(path).resolve() if path else None
    except (OSError, ValueError):
        return None
