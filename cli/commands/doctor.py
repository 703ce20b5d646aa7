"""``pointsman doctor``: check everything a run depends on, and say how to fix what is wrong."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from ...configs.errors import ConfigError
from .. import options
from ..errors import ExitCode, judge
from ..io.output import as_json, line, paint, result
from ..io.reading import readable
from ..io.simulated import is_simulated
from ..settings import GIVEN, settings_of

if TYPE_CHECKING:
    from ...configs.schema import Settings

__all__ = ["doctor"]

_DISTRIBUTIONS = ("pointsman", "langgraph", "langchain", "langchain-core", "chromadb", "wordllama", "scikit-learn")


@dataclass(frozen=True, slots=True)
class _Finding:
    """The result of one check: ``ok``, ``missing`` (Pointsman works without it) or ``broken``."""

    what: str
    state: str
    said: str


@options.project("offline")
def doctor(json: options.AsJson = False) -> None:
    """Check this machine and project; ends with code 1 when something is broken."""
    found: list[_Finding] = []
    colours = {"ok": "green", "missing": "yellow", "broken": "red"}
    for finding in _findings():
        found.append(finding)
        if not json:
            state = paint(f"{finding.state:<8}", colours[finding.state], err=False)
            result(f"{state} {finding.what:<22} {line(finding.said)}", painted=True)
    if json:
        as_json([{"what": f.what, "state": f.state, "said": f.said} for f in found])
    if any(finding.state == "broken" for finding in found):
        raise typer.Exit(ExitCode.FAILED)


def _findings() -> Iterator[_Finding]:
    yield _python()
    yield from _versions()
    try:
        settings = settings_of()
    except Exception as error:  # noqa: BLE001 - any error of the configuration is a finding
        yield _Finding("configuration", "broken", judge(error)[1])
        return
    yield from _files(settings)
    yield from _providers(settings)
    yield _scorer(settings)
    yield from _kept(settings)
    yield _sandbox()


def _kept(settings: Settings) -> Iterator[_Finding]:
    from ...dispatch.state.disks import network_disk, said_of
    from ...dispatch.state.ownership import claim, refuse_foreign

    yield _checked("on-device model", _model)
    try:
        refuse_foreign(settings)
    except ConfigError as error:
        yield _Finding("state", "broken", judge(error)[1])
        return
    if (kind := network_disk(settings.state)) is not None:
        yield _Finding("state", "missing", f"{settings.state} {said_of(kind)}")
    with readable(settings) as usable:
        if usable is settings:
            claim(settings)  # the check creates the folder, which the next command then finds
        else:
            yield _Finding(
                "state", "missing", f"{settings.state} may not be written, so nothing can run: set POINTSMAN_STATE=DIR"
            )
        # A provider's answer is booked in the ledger.
        yield _checked("embedder", lambda: _embedder(usable))
        yield _checked("ledger", lambda: _ledger(usable))
        yield _checked("memory (Chroma)", lambda: _memory(usable))


def _python() -> _Finding:
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    said = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return _Finding("python", "ok" if fits else "broken", said if fits else f"{said}; 3.11 to 3.13 is needed")


def _versions() -> Iterator[_Finding]:
    from importlib.metadata import PackageNotFoundError, version

    for name in _DISTRIBUTIONS:
        try:
            yield _Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield _Finding(name, "broken", "not installed: pip install pointsman")


def _files(settings: Settings) -> Iterator[_Finding]:
    """Which files are in force, and which a project with a folder ``configs`` has beside it in vain."""
    from ...configs.loading.layers import FILES
    from ...configs.loading.loader import project_folder

    places = {origin.rpartition(":")[0] or origin for origin in settings.origins.values()}
    files = sorted(place for place in places if place.endswith((".yaml", ".yml")))
    yield _Finding("configuration", "ok", ", ".join(files) or "built in only; configs/*.yaml in the project override")
    if GIVEN.get().config is None and project_folder(settings.project) != settings.project:
        for name in (f"{name}.yaml" for name in FILES if (settings.project / f"{name}.yaml").exists()):
            yield _Finding("configuration", "missing", f"{name} is not read: move it to configs/{name}")


def _providers(settings: Settings) -> Iterator[_Finding]:
    """Report which keys are set, by name only, and which local servers answer."""
    from ...dispatch.catalog import unavailable

    reasons = unavailable(settings)
    for name, entry in settings.providers.items():
        reason = reasons[name].reason if name in reasons else ""
        simulated = is_simulated(f"{name}/")
        key = "simulated (offline)" if simulated else f"{entry.key} is set" if entry.key else "needs no key"
        listens = f", {entry.base_url} listens" if entry.local and entry.base_url else ""
        yield _Finding(f"provider {name}", "missing" if reason else "ok", reason or key + listens)


def _scorer(settings: Settings) -> _Finding:
    """Check whether the complexity scorer that the policy names has been proven by an evaluation."""
    from ...dispatch.catalog import policy_of

    what = f"scorer {settings.routing.scorer}"
    try:
        unused = policy_of(settings, ()).unused
    except Exception as error:  # noqa: BLE001 - the finding is the error
        return _Finding(what, "broken", judge(error)[1])
    return _Finding(what, "missing" if unused else "ok", f"not used: {unused}" if unused else "decides as it is")


def _checked(what: str, look: Callable[[], str]) -> _Finding:
    try:
        return _Finding(what, "ok", look())
    except Exception as error:  # noqa: BLE001 - the error is the finding, whichever library raised it
        return _Finding(what, "broken", judge(error)[1])


def _ledger(settings: Settings) -> str:
    from ...ledger.ledger import Ledger

    path = settings.state / "ledger.db"
    with Ledger(path) as ledger:
        runs = len(list(ledger.runs()))
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} cannot be written")
    return f"{path} holds {runs} runs"


def _model() -> str:
    from ...backends.ondevice import WordLlamaEmbeddings

    embedder = WordLlamaEmbeddings()
    length = len(embedder.embed_query("is anybody there?"))
    return f"{embedder.model_id} loads, {length} dimensions, nothing was downloaded"


def _embedder(settings: Settings) -> str:
    """Check whether the memory's embedder returns vectors; an embedder of a provider is asked for one."""
    from ...dispatch.embedding import embedder_of

    embedder = embedder_of(settings)
    length = len(embedder.embed_query("is anybody there?"))
    return f"the memory is searched by {embedder.model_id}, {length} dimensions"


def _memory(settings: Settings) -> str:
    from ...dispatch.embedding import embedder_of
    from ...memory.store import ChromaStore

    path = settings.state / "memory"
    with closing(ChromaStore(path, embedder_of(settings))) as store:
        spaces: list[Any] = store.list_namespaces(limit=1000)
    return f"{path} opens, {len(spaces)} namespaces"


def _sandbox() -> _Finding:
    """Check whether shell commands can be confined, by confining one."""
    from ...tools.sandbox.probe import probe

    state = probe()
    said = str(state) if state.working else f"{state}; without it runs that nobody attends have no shell"
    return _Finding("sandbox", "ok" if state.working else "missing", said)
