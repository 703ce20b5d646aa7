"""`load` merges the settings: built-in < user's files < project's files < environment < flags."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from pydantic import SecretStr, ValidationError

from ..errors import ConfigError
from ..redact import know
from ..schema import MEMORY_TOKEN, Settings
from ..sources import Sources
from .documents import Layer, Node, Place, fail, parse, plain
from .grants import Grant, grants
from .layers import FILES, RULES, expand, from_environment, from_flags, leaves, merge, read_file
from .mistakes import check_names, check_secrets, explain
from .trust import TrustStore, UntrustedError, rooted, state_folder, trusts

__all__ = [
    "OFFLINE",
    "RELOADED",
    "environment",
    "load",
    "project_folder",
    "review",
    "searched_folders",
    "unread",
    "user_folder",
]

_SHARED: Final = "'${...}' is expanded only in your own files (~/.config/pointsman), never in a project's; put it there"
RELOADED: Final = ("routing", "risk")
"""Files that can be reloaded while models are in use; a changed catalogue needs new clients."""
# Byte order mark, zero-width space and joiners, word joiner.
_UNSEEN: Final = "\ufeff\u200b\u200c\u200d\u2060"
# Names of variables whose values must never be shown, whichever program they are for.
_SECRET: Final = re.compile(r"(?:_KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)\Z")
_INNER: Final = "configs"
OFFLINE: Final = "offline"
"""Subfolder of the state for simulated runs."""
_INSIDE: Final = "'${...}' is not expanded here: your own files lie inside the project, where an agent could write them"


def environment() -> Mapping[str, str]:
    """Return a snapshot of the process's environment; the only place outside ``cli`` that reads it."""
    return MappingProxyType(dict(os.environ))


def user_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the folder of the user's own files, or None if not even a home folder is known.

    ``$POINTSMAN_HOME``, else ``$XDG_CONFIG_HOME/pointsman``, else ``~/.config/pointsman``; in the latter two a relative
    path counts as unset, as in `state_folder`.
    """
    if own := environ.get("POINTSMAN_HOME"):
        return Path(own)
    if xdg := rooted(environ, "XDG_CONFIG_HOME"):
        return xdg / "pointsman"
    home = rooted(environ, "HOME", "USERPROFILE")
    return None if home is None else home / ".config" / "pointsman"


def project_folder(project: Path, config_dir: Path | None = None) -> Path:
    """Return the folder of a project's files: ``<project>/configs`` if it exists, else the project itself.

    Args:
        project: The project folder.
        config_dir: The folder to use instead, relative to the project.

    Raises:
        ConfigError: That is not a folder.
    """
    if config_dir is not None:
        folder = project / config_dir
        if not os.path.isdir(folder):
            fail("is not a folder of configuration files", Place("flag", str(config_dir)))
        return folder
    inner = project / _INNER
    return inner if os.path.isdir(inner) else project


def unread(project: Path) -> list[Path]:
    """Return the files in a project folder that are not read because it has a ``configs`` folder."""
    inside = project_folder(project) != project
    return [file for name in FILES if inside and (file := project / f"{name}.yaml").is_file()]


def searched_folders(project: Path, user: Path | None) -> list[Path]:
    """Return the folders in which the user's and a project's files are read, or would be if they existed.

    Args:
        project: The project folder.
        user: As `user_folder` returns it.
    """
    return [folder for folder in (user, project, project / _INNER) if folder is not None]


def load(
    project: Path | None = None,
    *,
    environ: Mapping[str, str],
    user: Path | None = None,
    flags: Mapping[str, Any] = MappingProxyType({}),
    config_dir: Path | None = None,
    trust: bool | None = None,
) -> Settings:
    """Load the settings. It only reads files: it writes nothing, creates no folder and uses no network.

    The files of a project that contains the current folder are not trusted: until ``pointsman trust`` has allowed
    their exact content, they may only choose among what the lower layers allow, or be stricter. A folder elsewhere that
    a program names itself is the program's own choice.

    Args:
        project: The project folder; the current one if None.
        environ: The environment, as returned by `environment`.
        user: Folder of the user's own files; `user_folder` if None.
        flags: Dotted setting -> value, such as ``{"routing.strategy": "latency", "offline": True}``; None as a value
            counts as not given.
        config_dir: Folder of the project's files; ``<project>/configs`` if it exists, else ``<project>``.
        trust: True obeys the project's files as they are now; False requires the user's trust wherever they are. None
            requires it if the current folder is in the project, unless ``POINTSMAN_TRUST`` is set.

    Raises:
        ConfigError: The first mistake found, in one line with its file and line; an `UntrustedError` for changes
            that require the user's trust.
    """
    project = (project or Path.cwd()).absolute()
    places = partial(_places, project, user or user_folder(environ), config_dir)
    trust = (True if trusts(environ) else None) if trust is None else trust
    asks = trust is False or _inside(Path.cwd(), project)
    consent: Consent = TrustStore(environ).knows if asks else _anything
    if trust:
        consent = _these(_read_layers(places(), environ).texts)
    return _load(places, environ, flags, consent, asks=asks and not trust)


def review(
    project: Path | None = None,
    *,
    environ: Mapping[str, str],
    config_dir: Path | None = None,
) -> tuple[list[Grant], Mapping[Path, str]]:
    """Return the changes in the project's files that require the user's trust, whether already given or not.

    Args:
        project: As for `load`, like the other arguments.

    Returns:
        The changes that require trust, and the text of each of the project's files.

    Raises:
        ConfigError: The first mistake found.
    """
    find = partial(_places, (project or Path.cwd()).absolute(), user_folder(environ), config_dir)
    _load(find, environ, {}, _anything)
    places = find()
    layers = _read_layers(places, environ)
    return _grants(layers, places, environ), layers.texts


Consent: TypeAlias = Callable[[Path, str], bool]
"""Returns whether a file of the project with this text may be obeyed."""


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the files are: the project's in ``folder``, the user's own in ``user``."""

    project: Path
    folder: Path
    user: Path | None
    config_dir: Path | None


@dataclass(frozen=True, slots=True)
class _Layers:
    """The merged files: ``below`` without the project's, ``tree`` with them; ``texts`` are the project's files."""

    below: Node
    tree: Node
    removed: Mapping[tuple[str, ...], Place]
    texts: Mapping[Path, str]


def _places(project: Path, user: Path | None, config_dir: Path | None) -> _Places:
    if not os.path.isdir(project):
        raise ConfigError("the project folder does not exist", file=project)
    return _Places(project, project_folder(project, config_dir), user, config_dir)


def _load(
    find: Callable[[], _Places],
    environ: Mapping[str, str],
    flags: Mapping[str, Any],
    consent: Consent,
    *,
    asks: bool = False,
) -> Settings:
    places = find()
    # `Sources` stats the files before they are read, so that no later change is missed.
    sources = Sources(_watched(places), partial(_load, find, environ, flags, consent, asks=asks))
    layers = _read_layers(places, environ)
    removed = dict(layers.removed)
    tree = merge(layers.tree, from_environment(environ, layers.tree), removed=removed)
    tree = merge(tree, from_flags(flags, tree), removed=removed)
    settings = _settings(tree, removed, places, environ, sources, asks=asks)
    if consent is not _anything:
        _require(consent, layers, places, environ)
    return settings


def _read_layers(places: _Places, environ: Mapping[str, str]) -> _Layers:
    removed: dict[tuple[str, ...], Place] = {}
    texts: dict[Path, str] = {}
    below = _builtin()
    user, folder = places.user, places.folder
    # The same folder cannot be both; it counts as the project's, which may do less.
    own = [] if user is None or _same(user, folder) else _read(user, "user", str(user), {})
    shared = _read(folder, "project", _shown(folder, places.project), texts)
    keys = _key_names([below, *own, *shared])
    inside = _INSIDE if user is not None and _inside(user, places.project) else None
    for layer in own:
        below = merge(below, expand(layer, environ, refused=inside, keys=keys), removed=removed)
    tree = below
    for layer in shared:
        tree = merge(tree, expand(layer, environ, refused=_SHARED, keys=keys), removed=removed)
    return _Layers(below, tree, removed, texts)


def _grants(layers: _Layers, places: _Places, environ: Mapping[str, str]) -> list[Grant]:
    """Return the changes in the project's files that require trust; files in the user's own folder require none."""
    if not layers.texts or (places.user is not None and _same(places.user, places.folder)):
        return []
    written = dict(leaves(layers.tree)) | dict(layers.removed)
    said = {path: place for path, place in written.items() if place.layer == "project"}
    theirs = [path[2] for path, place in leaves(layers.below) if path[:-1] == RULES[0] and place.layer == "user"]
    try:
        before = _settings(layers.below, {}, places, environ)
        after = _settings(layers.tree, layers.removed, places, environ)
    except ConfigError:
        # One layer is invalid without the others or the environment, so what the project's files change is unknown.
        return [Grant(".".join(path), f"sets {'.'.join(path)}", place) for path, place in said.items()]
    return grants(before, after, said, theirs)


def _require(consent: Consent, layers: _Layers, places: _Places, environ: Mapping[str, str]) -> None:
    if all(consent(path, text) for path, text in layers.texts.items()):
        return
    allowed = {_name(path, places) for path, text in layers.texts.items() if consent(path, text)}
    refused = [grant for grant in _grants(layers, places, environ) if grant.place.name not in allowed]
    if refused:
        raise UntrustedError(refused)


def _anything(_path: Path, _text: str) -> bool:
    return True


def _these(texts: Mapping[Path, str]) -> Consent:
    return lambda path, text: texts.get(path) == text


def _settings(
    tree: Node,
    removed: Mapping[tuple[str, ...], Place],
    places: _Places,
    environ: Mapping[str, str],
    sources: Sources[Settings] | None = None,
    *,
    asks: bool = False,
) -> Settings:
    check_secrets(tree)
    data = plain(tree)
    origins = {".".join(path): place.origin for path, place in leaves(tree) if place.layer != "built-in"}
    state = data.get("state") or ".pointsman"
    try:
        settings = Settings.model_validate(
            {
                **data,
                "project": places.project,
                "state": places.project / state if isinstance(state, str | os.PathLike) else state,
                # A folder that was named explicitly needs no mark.
                "needs_mark": asks and not data.get("state"),
                "obeyed": _obeyed(places, environ),
                "origins": MappingProxyType(origins),
                "secrets": MappingProxyType(_secrets(data, environ)),
                "sources": sources,
            }
        )
    except ValidationError as error:
        explain(error, tree)
    check_names(settings, tree, removed)
    if not settings.offline:
        return settings
    inner = {"state": settings.state / OFFLINE, "needs_mark": settings.needs_mark, "memory": None}
    return settings.model_copy(update=inner)


def _secrets(data: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, SecretStr]:
    named = [entry.get("key") for entry in _values(data.get("providers")) if isinstance(entry, dict)]
    named.append(MEMORY_TOKEN)
    for server in _values(data.get("mcp")):
        named += _values(server.get("secrets")) if isinstance(server, dict) else ()
    know(_pasted(value) for name, value in environ.items() if name in named or _SECRET.search(name))
    return {name: SecretStr(key) for name in named if isinstance(name, str) and (key := _pasted(environ.get(name, "")))}


def _values(section: Any) -> list[Any]:
    return list(section.values()) if isinstance(section, dict) else []


def _pasted(text: str) -> str:
    """Return a key without what is often copied with it: blanks, line ends, invisible characters, quotes."""
    text = text.strip().strip(_UNSEEN).strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


@cache
def _builtin() -> Node:
    tree = Node({}, Place("built-in", "built-in"))
    for name in FILES:
        source = resources.files("pointsman.configs").joinpath(f"{name}.yaml")
        document = parse(source.read_text(encoding="utf-8"), Place("built-in", f"pointsman/configs/{name}.yaml"))
        if document is not None:
            tree = merge(tree, document)
    return tree


def _read(folder: Path, layer: Layer, shown: str, texts: dict[Path, str]) -> list[Node]:
    return [
        read_file(folder / f"{name}.yaml", name, Place(layer, os.path.join(shown, f"{name}.yaml")), texts)
        for name in FILES
    ]


def _name(path: Path, places: _Places) -> str:
    """Return how messages name a file of the project."""
    return os.path.join(_shown(places.folder, places.project), path.name)


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


def _folders(places: _Places) -> list[Path]:
    """Return the folders in which files are read, including those that would be read if they existed."""
    if places.config_dir is None:
        return searched_folders(places.project, places.user)
    return [places.folder] if places.user is None else [places.user, places.folder]


def _watched(places: _Places) -> list[Path]:
    """Return the files that can be reloaded later."""
    return [folder / f"{name}.yaml" for folder in _folders(places) for name in RELOADED]


def _obeyed(places: _Places, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return what no tool may write: files that this or the next command reads or would read, and trusted content."""
    folders = dict.fromkeys([*_folders(places), *searched_folders(places.project, None)])
    state = state_folder(environ)
    files = [folder / f"{name}.yaml" for folder in folders for name in FILES]
    return (*files, *([] if state is None else [state]))


def _shown(folder: Path, project: Path) -> str:
    inside = folder.is_relative_to(project)
    return "" if folder == project else str(folder.relative_to(project) if inside else folder)


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
