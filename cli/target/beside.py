"""Modules that lie beside a target: who may import them, and that what runs is what stands in them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
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


class _Beside(MetaPathFinder):
    """The last of all finders. What is installed goes before; what is not, only files of the folder itself are given.

    A library that tries whether another one is installed would otherwise run whatever goes by that name in the folder.
    """

    def __init__(self, folder: Path, agree: Agree) -> None:
        self.folder, self.agree = folder, agree
        self.wanted: set[str] = set()
        self._apart = [path for path in map(_resolved, sys.path) if path is not None and path.is_relative_to(folder)]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module at the top of the folder."""
        if path is not None or not self._has(_importer()):
            return None
        return self.find(fullname)

    def find(self, name: str) -> ModuleSpec | None:
        """Find a module at the top of the folder, whoever asks."""
        self.wanted.add(name)
        return PathFinder.find_spec(name, [str(self.folder)])

    def hook(self, path: str) -> FileFinder:
        """Read the folder, and those in it, as `Source`; one of ``sys.path_hooks``."""
        if not self._has(path):
            raise ImportError("lies elsewhere")
        # It calls what it is given with a name and a path, a class or not.
        source: Any = self._source
        return FileFinder(path, (source, SOURCE_SUFFIXES), (ExtensionFileLoader, EXTENSION_SUFFIXES))

    def _source(self, name: str, path: str) -> Source:
        return Source(name, path, lambda file, text: self.agree(file, text))

    def _has(self, path: str) -> bool:
        """Whether a file lies in the folder, and not in an environment inside it, whose modules are installed."""
        place = _resolved(path)
        return (
            place is not None
            and place.is_relative_to(self.folder)
            and not any(place.is_relative_to(apart) for apart in self._apart)
        )


_finders: dict[Path, _Beside] = {}


def importable(folder: Path, agree: Agree) -> Callable[[str], ModuleSpec | None]:
    """Let the files of a folder import each other, as those of a script do; what is installed goes before them.

    Args:
        folder: The folder, resolved.
        agree: As `Agree`, from now on.

    Returns:
        What finds a module in it by its name.
    """
    finder = _finders.get(folder)
    if finder is None:
        finder = _finders[folder] = _Beside(folder, agree)
        sys.path_hooks.insert(0, finder.hook)
        sys.meta_path.append(finder)
        for known in [path for path in sys.path_importer_cache if finder._has(path)]:
            del sys.path_importer_cache[known]
    finder.agree = agree
    invalidate_caches()
    return finder.find


def wanted(folder: Path) -> list[Path]:
    """Where the modules lie, or would lie, that the files of a folder have asked for there."""
    names = sorted(_finders[folder].wanted) if folder in _finders else []
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
