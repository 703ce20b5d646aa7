"""`load` puts the settings together: built-in < user's files < project's files < environment < flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache, partial
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import SecretStr, ValidationError

from .documents import Layer, Node, Place, fail, parse, plain
from .errors import ConfigError
from .layers import FILES, expand, from_environment, from_flags, leaves, merge, read_file
from .mistakes import check_names, check_secrets, explain
from .schema import Settings
from .sources import Sources

__all__ = ["OFFLINE", "environment", "load", "user_folder"]

_SHARED: Final = "'${...}' is expanded only in your own files (~/.config/pointsman), never in a project's; put it there"
# What can be taken up while models are in use; a changed catalogue needs new clients.
_RELOADED: Final = ("routing", "risk")
OFFLINE: Final = "offline"
"""Folder of the state in which what was simulated is kept."""
_INSIDE: Final = "'${...}' is not expanded here: your own files lie inside the project, where an agent could write them"


def environment() -> Mapping[str, str]:
    """Take a snapshot of the process's environment; the only place outside ``cli`` that reads it."""
    return MappingProxyType(dict(os.environ))


def user_folder(environ: Mapping[str, str]) -> Path | None:
    """Find the folder of the user's own files, or None where not even a home folder is known.

    ``$POINTSMAN_HOME``, else ``$XDG_CONFIG_HOME/pointsman``, else ``~/.config/pointsman``.
    """
    if own := environ.get("POINTSMAN_HOME"):
        return Path(own)
    if xdg := environ.get("XDG_CONFIG_HOME"):
        return Path(xdg) / "pointsman"
    home = environ.get("HOME") or environ.get("USERPROFILE")
    return Path(home) / ".config" / "pointsman" if home else None


def load(
    project: Path | None = None,
    *,
    environ: Mapping[str, str],
    user: Path | None = None,
    flags: Mapping[str, Any] = MappingProxyType({}),
    config_dir: Path | None = None,
) -> Settings:
    """Load the settings. Reads files only: writes nothing, creates no folder, asks no network.

    Args:
        project: The project folder; the current one when None.
        environ: The environment, as from `environment`.
        user: Folder of the user's own files; as `user_folder` finds it when None.
        flags: Dotted setting -> value, such as ``{"routing.strategy": "latency", "offline": True}``; None as a value
            counts as not given.
        config_dir: Folder of the project's files; ``<project>/configs`` when there is one, else ``<project>``.

    Raises:
        ConfigError: The first mistake found, in one line with its file and line.
    """
    project = (project or Path.cwd()).absolute()
    if not os.path.isdir(project):
        raise ConfigError("the project folder does not exist", file=project)
    tree = _builtin()
    removed: dict[tuple[str, ...], Place] = {}
    user = user or user_folder(environ)
    folder = _project_folder(project, config_dir)
    # The same folder cannot be both; as the project's it may do less.
    again = partial(load, project, environ=environ, user=user, flags=flags, config_dir=config_dir)
    sources = Sources(_watched(project, config_dir, folder, user), again)
    own = _read(user, "user", str(user)) if user is not None and not _same(user, folder) else []
    shared = _read(folder, "project", _shown(folder, project))
    keys = _key_names([tree, *own, *shared])
    inside = _INSIDE if user is not None and _inside(user, project) else None
    for layers, refused in ((own, inside), (shared, _SHARED)):
        for layer in layers:
            tree = merge(tree, expand(layer, environ, refused=refused, keys=keys), removed=removed)
    tree = merge(tree, from_environment(environ, tree), removed=removed)
    tree = merge(tree, from_flags(flags, tree), removed=removed)
    return _settings(tree, removed, project, environ, sources)


def _settings(
    tree: Node,
    removed: Mapping[tuple[str, ...], Place],
    project: Path,
    environ: Mapping[str, str],
    sources: Sources,
) -> Settings:
    check_secrets(tree)
    data = plain(tree)
    origins = {".".join(path): place.origin for path, place in leaves(tree) if place.layer != "built-in"}
    state = data.get("state") or ".pointsman"
    try:
        settings = Settings.model_validate(
            {
                **data,
                "project": project,
                "state": project / state if isinstance(state, str | os.PathLike) else state,
                "origins": MappingProxyType(origins),
                "secrets": MappingProxyType(_secrets(data, environ)),
                "sources": sources,
            }
        )
    except ValidationError as error:
        explain(error, tree)
    check_names(settings, tree, removed)
    return settings.model_copy(update={"state": settings.state / OFFLINE}) if settings.offline else settings


def _secrets(data: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, SecretStr]:
    providers = data.get("providers")
    entries = providers.values() if isinstance(providers, dict) else ()
    named = [entry.get("key") for entry in entries if isinstance(entry, dict)]
    return {
        name: SecretStr(environ[name].strip())
        for name in named
        if isinstance(name, str) and environ.get(name, "").strip()
    }


@cache
def _builtin() -> Node:
    tree = Node({}, Place("built-in", "built-in"))
    for name in FILES:
        source = resources.files(__package__).joinpath(f"{name}.yaml")
        document = parse(source.read_text(encoding="utf-8"), Place("built-in", f"pointsman/configs/{name}.yaml"))
        if document is not None:
            tree = merge(tree, document)
    return tree


def _read(folder: Path, layer: Layer, shown: str) -> list[Node]:
    return [
        read_file(folder / f"{name}.yaml", name, Place(layer, os.path.join(shown, f"{name}.yaml"))) for name in FILES
    ]


def _key_names(trees: list[Node]) -> frozenset[str]:
    names = set()
    for tree in trees:
        providers = tree.value.get("providers")
        if providers is None or not isinstance(providers.value, dict):
            continue
        for provider in providers.value.values():
            key = provider.value.get("key") if isinstance(provider.value, dict) else None
            if key is not None and isinstance(key.value, str):
                names.add(key.value)
    return frozenset(names)


def _project_folder(project: Path, config_dir: Path | None) -> Path:
    if config_dir is not None:
        folder = project / config_dir
        if not os.path.isdir(folder):
            fail("is not a folder of configuration files", Place("flag", str(config_dir)))
        return folder
    inner = project / "configs"
    return inner if os.path.isdir(inner) else project


def _watched(project: Path, config_dir: Path | None, folder: Path, user: Path | None) -> list[Path]:
    """The files of what can be taken up later, those included that would count once their folder is made."""
    shared = [folder] if config_dir is not None else [project, project / "configs"]
    folders = shared if user is None else [user, *shared]
    return [folder / f"{name}.yaml" for folder in folders for name in _RELOADED]


def _shown(folder: Path, project: Path) -> str:
    inside = folder.is_relative_to(project)
    return "" if folder == project else str(folder.relative_to(project) if inside else folder)


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
