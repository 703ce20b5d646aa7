"""Find what a command runs: ``desk.py:flow`` or ``package.module:flow``."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ...configs.errors import ConfigError
from ...configs.loading.layers import suggest
from .beside import Agree, Source, importable, wanted

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ...agents.runtime import Runtime
    from ...graphs.workflow import Workflow

__all__ = [
    "DEFAULT",
    "code_of",
    "files_of",
    "found_target",
    "is_named",
    "load_class",
    "load_target",
    "looks_like_target",
    "read_with",
    "target_file",
]

DEFAULT = "desk.py:flow"
"""What `pointsman init` writes, and `run` takes when it is given no target."""

_TARGET = re.compile(r"(?P<place>[^\s:]|[^\s:].*[^\s:]):(?P<name>[A-Za-z_]\w*)\Z")


def looks_like_target(text: str) -> bool:
    """Return whether a single argument names a target rather than being the input."""
    return text.endswith(".py") or (_TARGET.match(text) is not None and "\n" not in text)


def target_file(spec: str) -> Path | None:
    """Return the Python file of a target, or None if it names a module."""
    place = spec.rpartition(":")[0] or spec
    return Path(place) if place.endswith(".py") else None


def files_of(spec: str) -> tuple[Path, ...]:
    """Return the files, existing or not, that a target is read from: its own, or those of a module in this folder."""
    file = target_file(spec)
    if file is not None:
        return (file.absolute(),)
    parts = spec.rpartition(":")[0].split(".")
    packages = [Path.cwd().joinpath(*parts[:end], "__init__.py") for end in range(1, len(parts) + 1)]
    return (Path.cwd().joinpath(*parts).with_suffix(".py"), *packages)


def read_with(spec: str) -> tuple[Path, ...]:
    """Return the files and folders, existing or not, that a loaded target is read from, imports included."""
    file = target_file(spec)
    folder = Path.cwd() if file is None else file.parent
    return (*files_of(spec), *wanted(folder.resolve()))


def load_target(spec: str, *, name_it: str | None = None) -> Workflow:
    """Import a workflow.

    Args:
        spec: ``file.py:name`` or ``module:name``, naming a Workflow, an Agent, or a function without arguments that
            returns one.
        name_it: How to name it, if the command does not; it then runs only if unchanged since it was last named or
            trusted. None if the command names it, which is consent to run it.

        Raises:
            ConfigError: There is no such file, module or name, the file cannot be imported, the name is no workflow or
                agent, or nobody agreed to run it.
    """
    value, name, module, shown = _named(spec, name_it, _runnable, DEFAULT)
    return _workflow(value, name, shown, Path(module.__file__ or shown))


def found_target(spec: str, runtime: Runtime, *, name_it: str | None = None) -> Workflow:
    """Find what a command runs: a workflow or agent that ``agents.yaml`` describes, else as `load_target`.

    No tool may write the files that were read for it.

    Args:
        spec: A name of ``agents.yaml``, ``file.py:name`` or ``module:name``.
        runtime: The runtime whose configuration is used.
        name_it: As for `load_target`.

    Raises:
        ConfigError: As `load_target`.
    """
    if is_named(spec, runtime):
        from ...graphs.workflow import Workflow

        return Workflow.named(spec, runtime)
    workflow = load_target(spec, name_it=name_it)
    runtime.protect(read_with(spec))
    return workflow


def is_named(spec: str, runtime: Runtime) -> bool:
    """Return whether ``agents.yaml`` describes a workflow or an agent of this name."""
    return spec in runtime.settings.workflows or spec in runtime.settings.agents


def load_class(spec: str) -> type[BaseModel]:
    """Import the pydantic class of a typed answer; naming it in the command is consent to run its file.

    Args:
        spec: ``file.py:name`` or ``module:name``.

    Raises:
        ConfigError: As in `load_target`, or the name is not a pydantic class.
    """
    from ...dispatch.calls.structured_output import is_class, output_class

    value, _, _, shown = _named(spec, None, is_class, "desk.py:Ticket")
    return output_class(value, shown)


def _named(
    spec: str, name_it: str | None, fits: Callable[[object], bool], such: str
) -> tuple[Any, str, ModuleType, str]:
    """Return the object that a spec names, its name, its module, and how the module is shown."""
    agree = _consent(spec, name_it)
    for path in files_of(spec):
        if path.is_file():
            agree(path, path.read_bytes())
            if name_it is None:  # A run stores its target with the full path.
                agree(path.resolve(), path.read_bytes())
    place, colon, name = spec.rpartition(":")
    if not colon or not name.isidentifier():
        raise ConfigError(f"{spec!r} names nothing to run: write it as file.py:name, such as {such}")
    file = target_file(spec)
    module = _from_file(file, agree) if file else _from_module(place, agree)
    shown = str(file or place)
    if not hasattr(module, name):
        raise ConfigError(f"there is no {name!r} in it{_nearest(module, name, fits)}", file=shown)
    return getattr(module, name), name, module, shown


def _consent(spec: str, name_it: str | None) -> Agree:
    """Record each file of a named target as it is now; refuse any other file that is unknown or has changed."""
    from ...configs.loading.loader import environment
    from ...configs.loading.trust import TrustStore, trusts
    from ..settings import GIVEN

    environ = environment()
    store = TrustStore(environ)
    anything = GIVEN.get().trust or trusts(environ)

    def agree(path: Path, text: bytes) -> None:
        if name_it is None:
            # If nothing can be stored, the next command asks.
            with suppress(ConfigError):
                store.keep(path, _as_text(text))
        elif not anything and not store.knows(path, _as_text(text)):
            known = store.last(path) is not None
            said = "has changed since you last named or trusted it" if known else "is not known to be yours to run"
            raise ConfigError(f"{said}: read it, then name it with {name_it}", file=_near(path))

    if target_file(spec) is None and not any(path.is_file() for path in files_of(spec)):
        agree(Path.cwd() / spec, b"installed")
    return agree


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def code_of(file: Path) -> str:
    """Return the text of a Python file for comparison."""
    return _as_text(file.read_bytes())


def _as_text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _from_file(file: Path, agree: Agree) -> ModuleType:
    if not file.is_file():
        if str(file) == DEFAULT.partition(":")[0]:
            raise ConfigError(
                f"there is no {file} here: make a project with 'pointsman init my-desk', or name a target file.py:name"
            )
        beside = [found.name for found in file.parent.glob("*.py")]
        raise ConfigError(f"there is no such file{suggest(file.name, beside)}", file=file)
    path = file.resolve()
    name = _module_name(path)
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    importable(path.parent, agree)
    loader = Source(name, str(path), lambda _, text: agree(file.absolute(), text))
    module = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=str(path)))
    module.__file__ = str(path)
    _execute(module, loader, file, path)
    return module


def _module_name(path: Path) -> str:
    """Return the file's own name as module name, unless that would hide another module."""
    known = sys.modules.get(path.stem)
    if known is not None:
        return path.stem if getattr(known, "__file__", None) == str(path) else f"_target_{path.stem}"
    try:
        spec = importlib.util.find_spec(path.stem)
    except (ImportError, ValueError):
        spec = None
    free = path.stem.isidentifier() and (spec is None or spec.origin == str(path))
    return path.stem if free else f"_target_{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}"


def _from_module(place: str, agree: Agree) -> ModuleType:
    folder = Path.cwd()
    find = importable(folder.resolve(), agree)
    top = place.partition(".")[0]
    if top not in sys.modules and any(path.exists() for path in (folder / f"{top}.py", folder / top)):
        _take(top, find(top))
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise ConfigError(f"there is no module {place!r}: name a file as file.py:name, or an importable module")
    origin = Path(found.origin) if found.origin else Path(place)
    module: ModuleType = _guarded(lambda: importlib.import_module(place), origin, origin)
    return module


def _take(name: str, spec: ModuleSpec | None) -> None:
    """Import a named module of this folder, even if one of the same name is installed."""
    if spec is None or spec.loader is None:
        return
    place = Path(spec.origin or name)
    _execute(importlib.util.module_from_spec(spec), spec.loader, place, place)


def _execute(module: ModuleType, loader: Loader, shown: Path, path: Path) -> None:
    """Run a module and register it in ``sys.modules``, as for a script; remove it again if it fails."""
    sys.modules[module.__name__] = module
    try:
        _guarded(lambda: loader.exec_module(module), shown, path)
    except ConfigError:
        sys.modules.pop(module.__name__, None)
        raise


def _guarded(work: Callable[[], Any], shown: Path, path: Path) -> Any:
    """Run the user's code; any error becomes a `ConfigError` of one line with the place in their file."""
    try:
        return work()
    except ConfigError:
        raise
    except SyntaxError as error:
        file = shown if error.filename in (None, str(path)) else error.filename
        raise ConfigError(f"is not valid Python: {error.msg}", file=file, line=error.lineno) from error
    except (Exception, SystemExit) as error:
        steps = [step for step in traceback.extract_tb(error.__traceback__) if step.filename == str(path)]
        said = " ".join(str(error).split()) or "no message"
        raise ConfigError(
            f"cannot be loaded: {type(error).__name__}: {said}", file=shown, line=steps[-1].lineno if steps else None
        ) from error


def _runnable(value: object) -> bool:
    from ...agents.agent import Agent
    from ...graphs.workflow import Workflow

    return isinstance(value, Workflow | Agent)


def _nearest(module: ModuleType, name: str, fits: Callable[[object], bool]) -> str:
    found = [key for key, value in vars(module).items() if fits(value) and not key.startswith("_")]
    if near := suggest(name, found):
        return near
    what = "a Workflow or an Agent" if fits is _runnable else "a pydantic class"
    return f"; it has {', '.join(sorted(found))}" if found else f": define {what} under that name"


def _workflow(value: Any, name: str, shown: str, path: Path) -> Workflow:
    from ...agents.agent import Agent
    from ...graphs.workflow import Workflow

    if callable(value) and not isinstance(value, Workflow | Agent | type):
        value = _guarded(value, Path(shown), path)
    if isinstance(value, Agent):
        return Workflow(value.name, [value])
    if isinstance(value, Workflow):
        return value
    raise ConfigError(f"{name!r} is a {type(value).__name__}, not a Workflow or an Agent", file=shown)
