"""Make the settings and the runtime of a command out of its options and the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .io.reading import readable
from .io.simulated import heed

if TYPE_CHECKING:
    from ..agents.runtime import Runtime
    from ..configs.schema import Settings

__all__ = ["OFFLINE", "TRUST", "opened", "settings_of"]

TRUST: ContextVar[bool] = ContextVar("trust", default=False)
"""Whether ``--trust`` was given to the command that runs."""
OFFLINE: ContextVar[bool] = ContextVar("offline", default=False)
"""Whether ``--offline`` was."""

_OFFLINE = "POINTSMAN_OFFLINE"


def settings_of(
    config: Path | None,
    *,
    offline: bool = False,
    overrides: Sequence[str] | None = None,
    trust: bool = False,
    sandbox: str | None = None,
) -> Settings:
    """Load the settings: built in < user < project < environment < options.

    Args:
        config: The folder with models.yaml and its siblings; that of the project in the working directory when None.
        offline: ``--offline`` was given.
        overrides: What ``--set`` was given, each ``key=value`` with a dotted key.
        trust: The files are the user's will, as with ``--trust``.
        sandbox: What ``--sandbox`` was given, or stands for it.

    Raises:
        ConfigError: On a folder that does not exist, an override without ``=``, or any mistake in a file.
    """
    from ..configs.errors import ConfigError
    from ..configs.loading.loader import environment, load

    if config is not None and not config.is_dir():
        raise ConfigError("--config must name a folder that exists", file=config)
    flags: dict[str, Any] = {"offline": True} if offline or OFFLINE.get() else {}
    if sandbox is not None:
        flags["sandbox.mode"] = sandbox
    for override in overrides or ():
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {override!r} must have the form key=value, such as routing.strategy=quality")
        flags[key.strip()] = value
    chosen = trust or TRUST.get() or None
    settings = load(Path.cwd(), environ=environment(), flags=flags, config_dir=config, trust=chosen)
    heed(settings)
    return settings


@contextmanager
def opened(
    config: Path | None,
    *,
    offline: bool = False,
    overrides: Sequence[str] | None = None,
    workspace: Path | None = None,
    sandbox: str | None = None,
    attended: bool | None = False,
    reads: bool = False,
) -> Iterator[Runtime]:
    """Give the runtime of a command, closed at its end; arguments as `settings_of`.

    Args:
        workspace: Folder for the file and shell tools; the project itself when None.
        attended: A person is there to be asked about commands that cannot be confined, unless the configuration says
            that they must be; None where that depends on whether the command stands at a terminal.
        reads: The command only reads, so that it works where nothing may be written, too, and calls no tool.
    """
    from ..agents.runtime import Runtime
    from ..configs.errors import ConfigError
    from .io.approval import at_terminal

    if workspace is not None and not workspace.is_dir():
        raise ConfigError("--workspace must name a folder that exists", file=workspace)
    settings = settings_of(config, offline=offline, overrides=overrides, sandbox=sandbox)
    asks = at_terminal() if attended is None else attended or reads
    if asks and "sandbox.mode" not in settings.origins:
        settings = settings.model_copy(update={"sandbox": settings.sandbox.model_copy(update={"mode": "ask"})})
    with readable(settings) if reads else nullcontext(settings) as usable:
        runtime = Runtime(usable, workspace=workspace.resolve() if workspace else None)
        try:
            with _everywhere(offline or OFFLINE.get()):
                yield runtime
        finally:
            runtime.close()


@contextmanager
def _everywhere(offline: bool) -> Iterator[None]:
    """Let ``--offline`` hold for what the user's own code runs on the default runtime, too."""
    before = os.environ.get(_OFFLINE)
    if offline:
        os.environ[_OFFLINE] = "1"
    try:
        yield
    finally:
        if offline and before is None:
            del os.environ[_OFFLINE]
        elif before is not None:
            os.environ[_OFFLINE] = before
