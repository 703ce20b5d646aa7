"""``pointsman trust``: show what a folder's files want beyond what the user allows, and allow it."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options
from ..io.output import as_json, line, progress, result, visible
from ..io.target import DEFAULT, code_of, target_file

if TYPE_CHECKING:
    from ...configs.loading.grants import Grant
    from ...configs.loading.trust import TrustStore

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("trust")(trust)


def trust(
    yes: Annotated[bool, typer.Option("--yes", help="Trust them without asking.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Stop trusting this folder's files.")] = False,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Show what this folder's files ask for beyond your own configuration, with what has changed, and trust them.

    The files are its configuration and desk.py, which runs where no target is named. After a change it asks again.
    """
    from ...configs.errors import ConfigError
    from ...configs.loading.loader import environment, review
    from ...configs.loading.trust import TrustStore

    environ = environment()
    wants, texts = review(environ=environ, config_dir=config)
    files = {**texts, **_default_target()}
    store = TrustStore(environ)
    if forget:
        gone = [path for path in files if store.forget(path)]
        _tell(json, "forgotten", wants, gone, "nothing in this folder is trusted any more")
        return
    new = [path for path, text in files.items() if not store.knows(path, text)]
    asked = [path for path in new if path not in texts or any(_of(grant, path) for grant in wants)]
    if not asked:
        _tell(json, "nothing to allow", wants, [], "nothing in this folder waits for your trust")
        return
    if not json:
        result("\n".join(_shown(wants, asked, files, store)))
    elif not yes:
        _tell(json, "asked", wants, asked, "")
    if not yes and not (sys.stdin.isatty() and typer.confirm("\nTrust these files as they are now?", err=True)):
        raise ConfigError("nothing was trusted: read the above, then run 'pointsman trust --yes'")
    for path in new:
        store.keep(path, files[path])
    _tell(json, "trusted", wants, new, f"trusted as they are now: {', '.join(map(_near, new))}")


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


def _tell(json: bool, outcome: str, wants: Sequence[Grant], files: Sequence[Path], said: str) -> None:
    if json:
        listed = [{"setting": grant.setting, "what": grant.what, "place": grant.place.origin} for grant in wants]
        as_json({"outcome": outcome, "wants": listed, "files": [str(path) for path in files]})
    else:
        progress(said)
