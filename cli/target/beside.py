"""Modules in the folder of a target: who may import them, and a guarantee that exactly their source is what runs."""

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
"""Called with each file and its content before it runs; raises if nobody agreed to run that content."""

_PASSING_ON: Final = ("importlib", "pkgutil")
"""Python modules that import on behalf of their caller."""


class Source(SourceFileLoader):
    """Runs the source in a file, never a cached compiled form of it, which may come from other source."""

    def __init__(self, name: str, path: str, agree: Agree) -> None:
        super().__init__(name, path)
        self._agree = agree

    def get_code(self, fullname: str) -> CodeType | None:
        """Compile exactly the bytes that were agreed to."""
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
        apart: Environments inside it, whose modules count as installed.
        wanted: The names of the modules that were looked for in it.
    """

    place: Path
    agree: Agree
    apart: tuple[Path, ...]
    wanted: set[str] = field(default_factory=set)

    def find(self, name: str) -> ModuleSpec | None:
        """Find a top-level module in it, for any importer."""
        self.wanted.add(name)
        return PathFinder.find_spec(name, [str(self.place)])


class _Beside(MetaPathFinder):
    """The last of all finders: installed modules take precedence, and only files of a folder can import from it.

    Otherwise a library that tests whether another one is installed would run any file of that name in the folder.
    """

    def __init__(self) -> None:
        self.folders: dict[Path, _Folder] = {}

    def add(self, place: Path, agree: Agree) -> _Folder:
        """Add a folder to search."""
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
        """Find a top-level module in a folder that contains the importing file."""
        if path is not None:
            return None
        found = (folder.find(fullname) for folder in self._around(_importer()))
        return next((spec for spec in found if spec is not None), None)

    def hook(self, path: str) -> FileFinder:
        """Load modules of the folder and its subfolders as `Source`; an entry of ``sys.path_hooks``."""
        folder = next(self._around(path), None)
        if folder is None:
            raise ImportError("lies elsewhere")

        def source(name: str, path: str) -> Source:
            return Source(name, path, lambda file, text: folder.agree(file, text))

        # FileFinder calls the loader with a name and a path; it need not be a class.
        loader: Any = source
        return FileFinder(path, (loader, SOURCE_SUFFIXES), (ExtensionFileLoader, EXTENSION_SUFFIXES))

    def _around(self, path: str) -> Iterator[_Folder]:
        """Yield the folders that contain a file outside any environment inside them, nearest first."""
        place = _resolved(path)
        if place is None:
            return
        for above in (place, *place.parents):
            folder = self.folders.get(above)
            if folder is not None and not any(place.is_relative_to(apart) for apart in folder.apart):
                yield folder


_BESIDE: Final = _Beside()


def importable(folder: Path, agree: Agree) -> Callable[[str], ModuleSpec | None]:
    """Let the files of a folder import each other, as with a script; installed modules take precedence.

    Args:
        folder: The folder, resolved.
        agree: As `Agree`, from now on.

    Returns:
        A function that finds a module in it by name.
    """
    known = _BESIDE.folders.get(folder) or _BESIDE.add(folder, agree)
    known.agree = agree
    invalidate_caches()
    return known.find


def wanted(folder: Path) -> list[Path]:
    """Return the paths, existing or not, of the modules that were looked for in a folder."""
    known = _BESIDE.folders.get(folder)
    names = [] if known is None else sorted(known.wanted)
    return [folder / place for name in names for place in (f"{name}.py", name)]


def _importer() -> str:
    """Return the file whose code imports the module."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] in _PASSING_ON:
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_filename


def _resolved(path: str) -> Path | None:
    try:
        return Path(path).resolve() if path else None
    except (OSError, ValueError):
        return None
