"""``pointsman trust``: show what a folder's files want beyond what the user allows, and its state; trust them."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ...configs.errors import ConfigError
from .. import options
from ..io.output import as_json, line, money, progress, result, visible
from ..settings import GIVEN
from ..target.target import DEFAULT, code_of, target_file

if TYPE_CHECKING:
    from ...configs.loading.grants import Grant
    from ...configs.loading.trust import TrustStore

__all__ = ["trust"]

_SAID: Final[Mapping[str, str]] = {
    "runs": "runs",
    "calls": "calls, which routing learns from",
    "decisions": "decisions",
    "acts": "acts of tools",
    "budgets": "budgets",
    "failing_models": "models left alone for failures",
    "batches": "batches",
    "checkpoints": "checkpoints, which runs resume from",
    "kept_answers": "kept answers",
    "memories": "memories, which agents recall",
    "unsealed": "rows of checkpoints and batches that nobody encrypted",
}


def trust(
    yes: Annotated[bool, typer.Option("--yes", help="Trust them without asking.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Stop trusting this folder's files.")] = False,
    json: options.AsJson = False,
) -> None:
    """Show what this folder's files ask for beyond your own configuration, with what has changed, and trust them.

    The files are its configuration and desk.py, which runs if no target is named. After a change it asks again.
    State not known to be yours, since it came with the folder or from an earlier version, is shown and taken over.
    """
    from ...configs.loading.loader import environment, review
    from ...configs.loading.trust import TrustStore
    from ...dispatch.state.adoption import take_over

    environ, config = environment(), GIVEN.get().config
    wants, texts = review(environ=environ, config_dir=config)
    files = {**texts, **_default_target()}
    store = TrustStore(environ)
    if forget:
        gone = [path for path in files if store.forget(path)]
        _tell(json, "forgotten", wants, gone, "nothing in this folder is trusted any more")
        return
    new = [path for path, text in files.items() if not store.knows(path, text)]
    asked = [path for path in new if path not in texts or any(_of(grant, path) for grant in wants)]
    state = _state(environ, config)
    if not asked and not state:
        _tell(json, "nothing to allow", wants, [], "nothing in this folder waits for your trust")
        return
    if not json:
        result("\n".join([*_shown(wants, asked, files, store), *(state.shown() if state else ())]))
    elif not yes:
        _tell(json, "asked", wants, asked, "", state)
    if not yes and not (sys.stdin.isatty() and typer.confirm("\nTrust this as it is now?", err=True)):
        raise ConfigError("nothing was trusted: read the above, then run 'pointsman trust --yes'")
    if state:
        take_over(state.folder, state.project)
    for path in new:
        store.keep(path, files[path])
    trusted = [*new, *([state.folder] if state else [])]
    _tell(json, "trusted", wants, new, f"trusted as they are now: {', '.join(map(_near, trusted))}", state)


@dataclass(frozen=True, slots=True)
class _State:
    """A state folder to be taken over, and its contents as `held` counts them."""

    folder: Path
    project: Path
    holds: Mapping[str, Any]

    def shown(self) -> Iterator[str]:
        real = os.path.realpath(self.folder)
        away = f" (really {line(real)})" if self.folder.is_symlink() else ""
        yield f"{line(_near(self.folder))}{away}: state that is not known to be yours, or not encrypted with your key:"
        yield from _told(self.holds)


def _state(environ: Mapping[str, str], config: Path | None) -> _State | None:
    """Return the state folder if it is not the user's own, or if an earlier version left it unencrypted; else None."""
    from ...configs.loading.loader import load
    from ...dispatch.state.adoption import held, unsealed
    from ...dispatch.state.ownership import foreign, root_of

    settings = load(environ=environ, config_dir=config, trust=True)
    folder = root_of(settings)
    named = "state" in settings.origins
    if unsealed(folder) or (not named and foreign(folder, settings.project)):
        return _State(folder, settings.project, held(folder))
    return None


def _told(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each kind of thing that `held` counted, without those of which there are none."""
    for kind, words in _SAID.items():
        if found[kind]:
            spent = f" with {money(found['spent'])} spent" if kind == "budgets" else ""
            yield f"  {words}: {found[kind]}{spent}"
    yield from (f"  {line(each)}" for each in found["switched_off"])
    yield from (f"  {line(_near(Path(each)))} is a link to {line(os.path.realpath(each))}" for each in found["links"])


def _default_target() -> Mapping[Path, str]:
    file = target_file(DEFAULT)
    return {file.absolute(): code_of(file)} if file is not None and file.is_file() else {}


def _of(grant: Grant, path: Path) -> bool:
    return os.path.basename(grant.place.name) == path.name


def _shown(
    wants: Sequence[Grant], asked: Sequence[Path], files: Mapping[Path, str], store: TrustStore
) -> Iterator[str]:
    for path in asked:
        yield from (line(grant) for grant in wants if _of(grant, path))
        if path.suffix == ".py":
            yield f"{line(_near(path))}: runs where a command names no target"
    for path in asked:
        before = store.last(path)
        new = files[path].splitlines()
        yield ""
        yield from (
            visible(row)
            for row in difflib.unified_diff(
                (before or "").splitlines(),
                new,
                f"{_near(path)} as you trusted it" if before is not None else "/dev/null",
                _near(path),
                lineterm="",
            )
        )


def _near(path: Path) -> str:
    return os.path.relpath(path)


def _tell(
    json: bool, outcome: str, wants: Sequence[Grant], files: Sequence[Path], said: str, state: _State | None = None
) -> None:
    if json:
        listed = [{"setting": grant.setting, "what": grant.what, "place": grant.place.origin} for grant in wants]
        kept = None if state is None else {"folder": str(state.folder), **state.holds}
        as_json({"outcome": outcome, "wants": listed, "files": [str(path) for path in files], "state": kept})
    else:
        progress(said)
